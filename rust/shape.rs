//! Every shape check, before any work.

use ndarray::{ArrayView1, ArrayView2, ArrayView3};

use crate::chunks::reserved;
use crate::error::{Error, Result};
use crate::sequence::{CellKind, Parameters};

/// The sizes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// I, input features.
    pub input: usize,
    /// H, hidden units.
    pub hidden: usize,
    /// The width of `h` and `y`: P for the projected LSTM, else H.
    pub output: usize,
    /// There is a `w_hr`.
    pub projected: bool,
}

impl Sizes {
    /// Elements from a row of `h` to the next.
    pub(crate) fn h_row<T>(&self) -> usize {
        crate::kernel::apart::<T>(self.output)
    }
}

/// An argument error.
pub(crate) fn refuse(
    operation: &'static str, argument: &'static str, expected: impl Into<String>,
    got: impl Into<String>,
) -> Error {
    Error::Argument { operation, argument, expected: expected.into(), got: got.into() }
}

/// A shape as Python writes it.
pub(crate) fn show(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// `got == expected`, where `letters` says what the expected numbers mean.
pub(crate) fn equal(
    operation: &'static str, argument: &'static str, letters: &str, expected: &[usize],
    got: &[usize],
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let expected = format!("shape {letters} = {}", show(expected));
    Err(refuse(operation, argument, expected, show(got)))
}

/// `4*H`, or `H` where there is one gate.
pub(crate) fn gate_rows(kind: CellKind) -> String {
    match kind.gates() {
        1 => "H".to_owned(),
        gates => format!("{gates}*H"),
    }
}

/// A place for a result that there is not.
pub(crate) fn absent(operation: &'static str, argument: &'static str, given: bool) -> Result<()> {
    match given {
        true => Err(refuse(operation, argument, "None for this cell", "an array")),
        false => Ok(()),
    }
}

/// The sizes that the parameters agree on.
pub(crate) fn parameters<T>(
    operation: &'static str, kind: CellKind, p: &Parameters<'_, T>,
) -> Result<Sizes> {
    let (gates, letters) = (kind.gates(), gate_rows(kind));
    let (rows, input) = p.w_ih.dim();
    let unfit = |condition: &str| {
        let expected = format!("shape ({letters}, I) with {condition}");
        Err(refuse(operation, "w_ih", expected, show(p.w_ih.shape())))
    };
    if rows == 0 || !rows.is_multiple_of(gates) {
        return unfit("H >= 1");
    }
    if input == 0 {
        return unfit("I >= 1");
    }
    let hidden = rows / gates;
    let output = projection(operation, kind, p.w_hr.as_ref(), hidden)?;
    let width = if p.w_hr.is_some() { "P" } else { "H" };
    let columns = format!("({letters}, {width})");
    equal(operation, "w_hh", &columns, &[rows, output], p.w_hh.shape())?;
    for (name, b) in [("b_ih", &p.b_ih), ("b_hh", &p.b_hh)] {
        if let Some(b) = b {
            equal(operation, name, &format!("({letters},)"), &[rows], b.shape())?;
        }
    }
    Ok(Sizes { input, hidden, output, projected: p.w_hr.is_some() })
}

fn projection<T>(
    operation: &'static str, kind: CellKind, w_hr: Option<&ArrayView2<'_, T>>, hidden: usize,
) -> Result<usize> {
    let Some(w_hr) = w_hr else { return Ok(hidden) };
    if kind != CellKind::Lstm {
        return Err(refuse(operation, "w_hr", "None for this cell", "an array"));
    }
    let output = w_hr.nrows();
    if output == 0 {
        let got = show(w_hr.shape());
        return Err(refuse(operation, "w_hr", "shape (P, H) with P >= 1", got));
    }
    equal(operation, "w_hr", "(P, H)", &[output, hidden], w_hr.shape())?;
    Ok(output)
}

/// `x (B, T, I)` and the initial states.
pub(crate) fn sequence<T>(
    operation: &'static str, kind: CellKind, sizes: Sizes, x: &ArrayView3<'_, T>,
    h0: Option<&ArrayView2<'_, T>>, c0: Option<&ArrayView2<'_, T>>,
) -> Result<()> {
    let (rows, steps, _) = x.dim();
    equal(operation, "x", "(B, T, I)", &[rows, steps, sizes.input], x.shape())?;
    states(operation, kind, sizes, rows, ["h0", "c0"], h0, c0)
}

/// A pair of states, or of their gradients.
pub(crate) fn states<T>(
    operation: &'static str, kind: CellKind, sizes: Sizes, rows: usize, names: [&'static str; 2],
    h: Option<&ArrayView2<'_, T>>, c: Option<&ArrayView2<'_, T>>,
) -> Result<()> {
    if let Some(h) = h {
        let letters = if sizes.projected { "(B, P)" } else { "(B, H)" };
        equal(operation, names[0], letters, &[rows, sizes.output], h.shape())?;
    }
    match c {
        Some(_) if kind != CellKind::Lstm => absent(operation, names[1], true),
        Some(c) => equal(operation, names[1], "(B, H)", &[rows, sizes.hidden], c.shape()),
        None => Ok(()),
    }
}

/// `lengths (B,)`, each from 0 to T; all T where there are none.
pub(crate) fn lengths(
    operation: &'static str, lengths: Option<ArrayView1<'_, i64>>, rows: usize, steps: usize,
) -> Result<Vec<usize>> {
    let mut checked = reserved(rows, "the lengths of the rows")?;
    let Some(lengths) = lengths else {
        checked.resize(rows, steps);
        return Ok(checked);
    };
    equal(operation, "lengths", "(B,)", &[rows], lengths.shape())?;
    for (row, &length) in lengths.iter().enumerate() {
        match usize::try_from(length) {
            Ok(n) if n <= steps => checked.push(n),
            _ => {
                let expected = format!("integers from 0 to T = {steps}");
                return Err(refuse(
                    operation,
                    "lengths",
                    expected,
                    format!("{length} in row {row}"),
                ));
            }
        }
    }
    Ok(checked)
}
