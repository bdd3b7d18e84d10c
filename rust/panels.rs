//! Packing a right factor into panels: see `kernel`.

use crate::buffer::{Buffer, size};
use crate::error::{Error, Result};
use crate::kernel::panel_width;
use crate::simd::{Element, Isa, Kernel, Lanes};

/// A packed right factor.
pub struct Panels<T> {
    memory: Buffer<T>,
    /// Length of the sums.
    pub k: usize,
    /// Number of panels.
    pub count: usize,
    /// Elements from a panel to the next.
    pub stride: usize,
}

impl<T: Element> Panels<T> {
    // A line between panels, so that six of them do not meet in one cache set, changed nothing.
    fn new(lanes: usize, k: usize, count: usize) -> Result<Self> {
        let purpose = "packed weights";
        let len = size(&[k, panel_width(lanes), count]);
        let len = len.ok_or(Error::Memory { purpose, bytes: None })?;
        Ok(Self { memory: Buffer::new(len, purpose)?, k, count, stride: k * panel_width(lanes) })
    }

    /// Where panel `p` starts.
    pub fn start(&self, p: usize) -> *const T {
        self.memory.ptr().wrapping_add(p * self.stride)
    }

    /// Panels whose columns are lines of memory, in *runs* of consecutive columns: `source(run)` is
    /// the first line's element for `k = 0` and the number of lines, at most a panel's width and
    /// zero for none; the rest of the panel is filled with zeros. Lines are `line` elements apart,
    /// elements of a line `step`.
    ///
    /// # Safety
    /// Every line that `source` names is valid for reading `k` elements.
    pub unsafe fn pack_columns(
        isa: Isa, k: usize, count: usize, line: isize, step: isize,
        source: impl Fn(usize) -> (*const T, usize),
    ) -> Result<Self> {
        let panels = Self::new(isa.lanes::<T>(), k, count)?;
        for p in 0..count {
            let to = panels.memory.ptr().wrapping_add(p * panels.stride);
            let (from, lines) = source(p);
            T::dispatch(isa, Columns { k, from, lines, line, step, to });
        }
        Ok(panels)
    }

    /// Panels whose row `i` is the line of memory of `columns` elements, `step` apart, that starts
    /// at `source(i)`; the last panel is filled up with zeros.
    ///
    /// # Safety
    /// Every place that `source` names is valid for reading `columns` elements at that step.
    pub unsafe fn pack_rows(
        lanes: usize, k: usize, columns: usize, step: isize, source: impl Fn(usize) -> *const T,
    ) -> Result<Self> {
        let width = panel_width(lanes);
        let panels = Self::new(lanes, k, columns.div_ceil(width))?;
        for i in 0..k {
            let row = panels.memory.ptr().wrapping_add(i * width);
            for p in 0..panels.count {
                let used = width.min(columns - p * width);
                let first = source(i).wrapping_offset((p * width) as isize * step);
                // SAFETY: row i of panel p owns `width` elements; the caller vouches for `first`.
                unsafe { pack_line(first, step, row.add(p * panels.stride), used, width) };
            }
        }
        Ok(panels)
    }
}

/// One panel whose columns are lines of memory.
pub struct Columns<T> {
    /// Elements of a line.
    pub k: usize,
    /// The first line.
    pub from: *const T,
    /// How many there are, at most a panel's width; zeros fill the rest.
    pub lines: usize,
    /// Elements from a line to the next.
    pub line: isize,
    /// From an element of a line to the next.
    pub step: isize,
    /// The panel.
    pub to: *mut T,
}

impl<T: Element> Kernel<T> for Columns<T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let Self { k, from, lines, line, step, to } = self;
        let width = panel_width(L::N);
        // Whole blocks are transposed in registers; what is left goes element by element.
        let whole = if step == 1 { lines / L::N * L::N } else { 0 };
        let blocks = k / L::N * L::N;
        // SAFETY: who made this vouches for all lines having k elements, and owns the panel.
        unsafe {
            for j in (0..whole).step_by(L::N) {
                for i in (0..blocks).step_by(L::N) {
                    let block = from.offset(j as isize * line).add(i);
                    l.transpose(block, line, to.add(i * width + j), width);
                }
            }
            for j in 0..width {
                let first = if j < whole { blocks } else { 0 };
                for i in first..k {
                    let x = match j < lines {
                        true => *from.offset(j as isize * line + i as isize * step),
                        false => T::default(),
                    };
                    *to.add(i * width + j) = x;
                }
            }
        }
    }
}

/// Copies `used` elements, `step` apart, and fills up with zeros to `width`.
///
/// # Safety
/// `from` is valid for reading `used` elements at that step, `to` for writing `width`.
#[inline(always)]
pub unsafe fn pack_line<T: Element>(
    from: *const T, step: isize, to: *mut T, used: usize, width: usize,
) {
    // SAFETY: the caller vouches for both.
    unsafe {
        if step == 1 {
            std::ptr::copy_nonoverlapping(from, to, used);
        } else {
            (0..used).for_each(|j| *to.add(j) = *from.offset(j as isize * step));
        }
        (used..width).for_each(|j| *to.add(j) = T::default());
    }
}
