//! From a product's sums to a cell's registers and back to memory.

use crate::cells::{After, Backward, Before, Cell, Downstream, Forward, MAX_GATES, Upstream};
use crate::kernel::panel_width;
use crate::simd::{Element, Lanes, Pair};

/// Sums of consecutive groups of units: rows of `gates` panels a group.
#[derive(Clone, Copy)]
pub(super) struct Sums<T> {
    /// Row 0 of the first group.
    pub start: *mut T,
    /// Elements from a row to the next.
    pub row: usize,
    /// Rows.
    pub rows: usize,
    /// Panels of a group.
    pub gates: usize,
    /// The first unit of the first group.
    pub first_unit: usize,
    /// The units after the last of these groups.
    pub end_unit: usize,
}

impl<T: Element> Sums<T> {
    /// The first units of all panels.
    pub fn units<L: Lanes<T>>(&self, _: L) -> impl Iterator<Item = usize> {
        (self.first_unit..self.end_unit).step_by(panel_width(L::N))
    }

    /// The sums of the panel of units that starts at `unit`, of the first gate of row `r`.
    #[inline(always)]
    pub fn place(&self, r: usize, unit: usize) -> *mut T {
        self.start.wrapping_add(r * self.row + (unit - self.first_unit) * self.gates)
    }

    /// The sums of the group's gates at a place.
    #[inline(always)]
    unsafe fn load<L: Lanes<T>>(&self, l: Pair<L>, place: *const T) -> [[L::V; 2]; MAX_GATES] {
        let mut sums = [l.splat(T::default()); MAX_GATES];
        for (gate, sum) in sums.iter_mut().enumerate().take(self.gates) {
            // SAFETY: the row holds `gates` whole panels of this group.
            *sum = unsafe { l.load(place.add(gate * panel_width(L::N))) };
        }
        sums
    }
}

/// The rows that a forward stage reads and writes; pointers are of row 0, unit 0.
#[derive(Clone, Copy)]
pub(super) struct ForwardRows<T> {
    /// Projected input, in its own layout: the place of the first group's first panel.
    pub input: *const T,
    pub input_row: usize,
    /// Elements from a group to the next in `input`.
    pub input_group: usize,
    pub h_before: *const T,
    pub h_after: *mut T,
    pub h_row: usize,
    pub c_before: *const T,
    pub c_after: *mut T,
    pub auxiliary: *mut T,
    pub hidden: usize,
    pub kept: *mut T,
    pub kept_row: usize,
    pub keeps_gates: bool,
}

impl<T: Element> ForwardRows<T> {
    /// Runs the cell's arithmetic of `stage` on every sum.
    ///
    /// # Safety
    /// All rows of `sums` exist behind every pointer that the stage uses, and nobody else touches
    /// them.
    #[inline(always)]
    pub unsafe fn run<C: Cell<T>, L: Lanes<T>>(
        &self, l: L, cell: C, stage: usize, spec: &Forward, sums: &Sums<T>,
    ) {
        for r in 0..sums.rows {
            for unit in sums.units(l) {
                // SAFETY: as the caller says.
                unsafe { self.panel(l, cell, stage, spec, sums, r, unit) };
            }
        }
    }

    /// One row and one panel of units.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "two loops of `run` and what they run")]
    unsafe fn panel<C: Cell<T>, L: Lanes<T>>(
        &self, l: L, cell: C, stage: usize, spec: &Forward, sums: &Sums<T>, r: usize, unit: usize,
    ) {
        let (l, width) = (Pair(l), panel_width(L::N));
        let (n, zero) = (sums.end_unit - unit, l.splat(T::default()));
        let (state, out) = (r * self.hidden + unit, r * self.h_row + unit);
        let kept = self.kept.wrapping_add(r * self.kept_row + unit);
        // SAFETY: n units of row r from `unit` on exist, as the caller says.
        unsafe {
            let before = sums.load(l, sums.place(r, unit));
            let mut u = Before { sums: before, input: zero, h: zero, c: zero, kept: [zero; 4] };
            if C::APART.is_some() {
                let group = (unit - sums.first_unit) / width * self.input_group;
                u.input = l.load(self.input.add(r * self.input_row + group));
            }
            if C::CARRY {
                u.h = l.load_up_to(self.h_before.add(out), n);
            }
            if spec.gives_c {
                u.c = l.load_up_to(self.c_before.add(state), n);
            }
            for &i in spec.reads_kept {
                u.kept[i] = l.load_up_to(kept.add(i * self.hidden), n);
            }
            let After { h, c, auxiliary, kept: values } = cell.forward(l, stage, &u);
            if spec.gives_h {
                l.store_up_to(self.h_after.add(out), h, n);
            }
            if spec.gives_c {
                l.store_up_to(self.c_after.add(state), c, n);
            }
            if spec.gives_auxiliary {
                l.store_up_to(self.auxiliary.add(state), auxiliary, n);
            }
            if self.keeps_gates {
                for &i in spec.gives_kept {
                    l.store_up_to(kept.add(i * self.hidden), values[i], n);
                }
            }
        }
    }
}

/// How many elements after the places of a block those lie that the next block reads. Its values
/// are asked for a block ahead: rows and gates lie too far apart for the processor to guess them.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub kept: isize,
    pub state: isize,
    pub dy: isize,
}

impl Ahead {
    /// In the same step, from one unit to another.
    pub fn units(from: usize, to: usize) -> Self {
        let units = to as isize - from as isize;
        Self { kept: units, state: units, dy: units }
    }
}

/// The rows that a backward stage reads and writes; pointers are of row 0, unit 0.
#[derive(Clone, Copy)]
pub(super) struct BackwardRows<T> {
    pub h_before: *const T,
    pub h_after: *const T,
    pub h_row: usize,
    pub c_before: *const T,
    pub c_after: *const T,
    pub hidden: usize,
    pub kept: *const T,
    /// Gradient columns of this step.
    pub gradients: *mut T,
    pub gradient_row: usize,
    /// `dh` of the projected LSTM.
    pub projected: *mut T,
    pub dc: *mut T,
    pub carry: *mut T,
    pub ahead: Ahead,
}

impl<T: Element> BackwardRows<T> {
    /// Runs the cell's backward arithmetic of `stage` on every sum. `dy(row)` is the place and step
    /// of the incoming gradient, in the first stage.
    ///
    /// # Safety
    /// As for `ForwardRows::run`; `dy` names a row of units.
    #[inline(always)]
    pub unsafe fn run<C: Cell<T>, L: Lanes<T>>(
        &self, l: L, cell: C, stage: usize, spec: &Backward, sums: &Sums<T>,
        dy: impl Fn(usize) -> Option<(*const T, isize)>,
    ) {
        for r in 0..sums.rows {
            let dy = if stage == 0 { dy(r) } else { None };
            for unit in sums.units(l) {
                let dy = dy.map(|(row, step)| (row.wrapping_offset(unit as isize * step), step));
                // SAFETY: as the caller says.
                unsafe { self.panel(l, cell, stage, spec, sums, (r, unit), dy) };
            }
        }
    }

    /// One row and one panel of units.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "two loops of `run` and what they run")]
    unsafe fn panel<C: Cell<T>, L: Lanes<T>>(
        &self, l: L, cell: C, stage: usize, spec: &Backward, sums: &Sums<T>,
        (r, unit): (usize, usize), dy: Option<(*const T, isize)>,
    ) {
        let l = Pair(l);
        let (n, zero) = (sums.end_unit - unit, l.splat(T::default()));
        let (state, out, ahead) = (r * self.hidden + unit, r * self.h_row + unit, self.ahead);
        let kept = self.kept.wrapping_add(r * C::KEPT * self.hidden + unit);
        // SAFETY: n units of row r from `unit` on exist, as the caller says.
        unsafe {
            let dh = l.load_up_to(sums.place(r, unit), n);
            let (dc, carry, h, h_prev, c, c_prev) = (zero, zero, zero, zero, zero, zero);
            let mut u = Upstream { dh, dc, carry, h, h_prev, c, c_prev, kept: [zero; 4] };
            if C::CARRY {
                u.carry = l.load_up_to(self.carry.add(state), n);
                l.prefetch(self.h_before.add(out).wrapping_offset(ahead.state));
                u.h_prev = l.load_up_to(self.h_before.add(out), n);
            }
            if let Some((dy, _)) = dy {
                l.prefetch(dy.wrapping_offset(ahead.dy));
            }
            if stage == 0 {
                u.dh = incoming(l, if C::CARRY { l.add(u.dh, u.carry) } else { u.dh }, dy, n);
            }
            if spec.gives.is_empty() {
                return l.store_up_to(self.projected.add(out), u.dh, n);
            }
            if C::KEPT == 0 {
                l.prefetch(self.h_after.add(out).wrapping_offset(ahead.state));
                u.h = l.load_up_to(self.h_after.add(out), n);
            }
            for i in 0..C::KEPT {
                let place = kept.add(i * self.hidden);
                l.prefetch(place.wrapping_offset(ahead.kept));
                u.kept[i] = l.load_up_to(place, n);
            }
            if spec.cell_state {
                l.prefetch(self.c_before.add(state).wrapping_offset(ahead.state));
                u.dc = l.load_up_to(self.dc.add(state), n);
                u.c = l.load_up_to(self.c_after.add(state), n);
                u.c_prev = l.load_up_to(self.c_before.add(state), n);
            }
            let Downstream { gradients, dc, carry } = cell.backward(l, stage, &u);
            let row = self.gradients.add(r * self.gradient_row + unit);
            for &i in spec.gives {
                l.store_up_to(row.add(i * self.hidden), without_tiny(l, gradients[i]), n);
            }
            if spec.cell_state {
                l.store_up_to(self.dc.add(state), without_tiny(l, dc), n);
            }
            if C::CARRY {
                l.store_up_to(self.carry.add(state), without_tiny(l, carry), n);
            }
        }
    }
}

/// `dh + dy`
#[inline(always)]
unsafe fn incoming<T: Element, L: Lanes<T>>(
    l: L, dh: L::V, dy: Option<(*const T, isize)>, n: usize,
) -> L::V {
    match dy {
        // SAFETY: the caller vouches for n elements.
        Some((p, 1)) => l.add(dh, unsafe { l.load_up_to(p, n) }),
        Some((p, step)) => {
            // The widest pair of registers has 32 lanes.
            let mut line = [T::default(); 32];
            for (i, x) in line.iter_mut().enumerate().take(n.min(L::N)) {
                // SAFETY: as above.
                *x = unsafe { *p.offset(i as isize * step) };
            }
            // SAFETY: the array holds a register.
            l.add(dh, unsafe { l.load(line.as_ptr()) })
        }
        None => dh,
    }
}

/// Vanishing gradients would become subnormal, and a hundred times slower. Carried gradients
/// below `TINY` (2^-96, float64: 2^-960) become zero, on every instruction set alike.
#[inline(always)]
fn without_tiny<T: Element, L: Lanes<T>>(l: L, d: L::V) -> L::V {
    l.select_lt(l.abs(d), l.splat(T::TINY), l.splat(T::default()), d)
}
