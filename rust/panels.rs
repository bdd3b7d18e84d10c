//! Packing a right factor into panels: see `kernel`.

use crate::buffer::{Buffer, size};
use crate::error::{Error, Result};
use crate::kernel::panel_width;
use crate::simd::Element;

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

    /// Panels whose column `j` (0 .. `2 N`) of panel `p` is a line of memory: `source(p, j)` is its
    /// element for `k = 0`, the next are `step` apart; `None` gives a column of zeros.
    ///
    /// # Safety
    /// Every place that `source` names is valid for reading `k` elements at that step.
    pub unsafe fn pack_columns(
        lanes: usize, k: usize, count: usize, step: isize,
        source: impl Fn(usize, usize) -> Option<*const T>,
    ) -> Result<Self> {
        let panels = Self::new(lanes, k, count)?;
        let width = panel_width(lanes);
        for p in 0..count {
            let panel = panels.memory.ptr().wrapping_add(p * panels.stride);
            for j in 0..width {
                let to = panel.wrapping_add(j);
                // SAFETY: the panel owns k rows of `width` elements; the caller vouches for `from`.
                unsafe {
                    match source(p, j) {
                        Some(from) => (0..k).for_each(|i| {
                            *to.add(i * width) = *from.offset(i as isize * step);
                        }),
                        None => (0..k).for_each(|i| *to.add(i * width) = T::default()),
                    }
                }
            }
        }
        Ok(panels)
    }

    /// Panels whose row `i` is the line of memory of `columns` elements, `step` apart, that starts
    /// at `source(i)`; the last panel is filled up with zeros.
    ///
    /// # Safety
    /// Every place that `source` names is valid for reading `columns` elements at that step.
    pub unsafe fn pack_rows(
        lanes: usize, k: usize, columns: usize, step: isize,
        source: impl Fn(usize) -> *const T,
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
