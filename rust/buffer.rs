//! Aligned memory, reserved fallibly, and one workspace per thread that calls reuse.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;

use crate::error::{Error, Result};
use crate::simd::Element;

/// A cache line; panels that start off one cost 10 to 15 % of a product's speed.
const ALIGN: usize = 64;

/// Uninitialised memory for `len` elements, aligned to a cache line.
///
/// It hands out raw pointers only: whoever reads an element has written it before.
pub struct Buffer<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a buffer owns its memory, and its elements are plain numbers.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: a shared buffer gives out pointers; their users say how they share them.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// Reserves `len` elements; `purpose` is named when there is no memory for them.
    pub fn new(len: usize, purpose: &'static str) -> Result<Self> {
        let layout = Self::layout(len).ok_or(Error::Memory { purpose, bytes: None })?;
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        // SAFETY: the layout has a size above zero.
        let start = NonNull::new(unsafe { alloc(layout) }.cast());
        let start = start.ok_or(Error::Memory { purpose, bytes: Some(layout.size()) })?;
        Ok(Self { start, len })
    }

    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.checked_mul(size_of::<T>())?;
        Layout::from_size_align(bytes, ALIGN).ok()
    }

    /// The first element.
    pub fn ptr(&self) -> *mut T {
        self.start.as_ptr()
    }

    /// Elements reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Writes zero everywhere.
    pub fn zeroed(self) -> Self {
        // SAFETY: the buffer owns `len` elements, and all bits zero is the number zero.
        unsafe { self.ptr().write_bytes(0, self.len) };
        self
    }

    /// The elements, once all of them have been written.
    ///
    /// # Safety
    /// Every element was written, and nobody writes while the slice lives.
    pub unsafe fn written(&self) -> &[T] {
        // SAFETY: the buffer owns `len` elements; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len) }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes > 0 {
            // SAFETY: this is the layout that `new` allocated with.
            unsafe { dealloc(self.start.as_ptr().cast(), Layout::from_size_align_unchecked(bytes, ALIGN)) };
        }
    }
}

/// Multiplies sizes; `None` where the product does not fit.
pub fn size(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &f| product.checked_mul(f))
}

/// What a thread keeps for the next call; more than this goes back to the allocator.
const KEEP_BYTES: usize = 16 << 20;

thread_local! {
    static WORKSPACE: Cell<Option<Buffer<f64>>> = const { Cell::new(None) };
}

/// Runs `f` with `len` elements of uninitialised memory, aligned to a cache line.
///
/// The memory is the thread's own and is reused by its next call, so nothing is allocated per
/// step, and a fork finds nothing locked.
pub fn with_workspace<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> Result<R> {
    let purpose = "a workspace";
    let bytes = len.checked_mul(size_of::<T>()).ok_or(Error::Memory { purpose, bytes: None })?;
    let words = bytes.div_ceil(size_of::<f64>());
    let kept = WORKSPACE.take().filter(|buffer| buffer.len() >= words);
    let buffer = match kept {
        Some(buffer) => buffer,
        None => Buffer::<f64>::new(words, purpose)?,
    };
    let result = f(buffer.ptr().cast());
    if buffer.len() * size_of::<f64>() <= KEEP_BYTES {
        WORKSPACE.set(Some(buffer));
    }
    Ok(result)
}

/// Cuts one workspace into aligned parts, first to measure it and then to hand out pointers.
///
/// Run the same calls on `Parts::measure()` and on `Parts::of(start)`.
pub struct Parts<T> {
    start: *mut T,
    used: usize,
}

impl<T: Element> Parts<T> {
    /// Parts of memory at `start`, which is aligned to a cache line.
    pub fn of(start: *mut T) -> Self {
        Self { start, used: 0 }
    }

    /// Only counts.
    pub fn measure() -> Self {
        Self::of(std::ptr::null_mut())
    }

    /// The next part, of `len` elements, starting on a cache line.
    pub fn take(&mut self, len: usize) -> *mut T {
        let part = self.start.wrapping_add(self.used);
        let line = ALIGN / size_of::<T>();
        // One line more than needed: equal powers of two apart would meet in one cache set.
        self.used = self.used.saturating_add(len.saturating_add(2 * line - 1) / line * line);
        part
    }

    /// Elements used so far.
    pub fn used(&self) -> usize {
        self.used
    }
}
