//! Aligned memory, reserved fallibly and reused.
//!
//! Each thread keeps the last few blocks that it gave back, so that a step, or the next call of a
//! training loop, neither allocates nor touches fresh pages. The blocks are the thread's own: a
//! fork finds nothing locked.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::error::{Error, Result};
use crate::simd::{Element, LINE};

/// A cache line; panels that start off one cost 10 to 15 % of a product's speed.
const ALIGN: usize = LINE;
/// A huge page. Blocks of two and more ask for them: the first touch of each small page costs as
/// much as hundreds of fused multiply-adds, and large weights miss in a small table of pages.
const HUGE: usize = 2 << 20;
/// Bytes that a thread keeps at most.
const KEEP_BYTES: usize = 256 << 20;
/// Blocks that a thread keeps at most. A direction of a layer in training has a dozen; with room for
/// 32 in all, two bidirectional layers of 128 units spent a tenth of their time on fresh pages.
const KEEP_BLOCKS: usize = 512;

/// Memory from the allocator, aligned to a cache line, or to a huge page if it is large.
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `allocate` made the block with this layout, whose size is above zero.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { blocks: Vec::new(), bytes: 0 }) };
}

impl Block {
    fn allocate(bytes: usize) -> Option<Self> {
        let align = if bytes < 2 * HUGE { ALIGN } else { HUGE };
        let layout = Layout::from_size_align(bytes, align).ok().filter(|_| bytes > 0)?;
        // SAFETY: the layout has a size above zero.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        if align == HUGE {
            ask_for_huge_pages(start, bytes);
        }
        Some(Self { start, layout })
    }

    /// A kept block that is large enough and about twice as large at most.
    fn reuse(bytes: usize) -> Option<Self> {
        KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.take(bytes)).ok().flatten()
    }

    /// Gives the block back: to this thread, or to the allocator.
    fn give_back(self) {
        if self.layout.size() > KEEP_BYTES {
            return; // freed, and not in exchange for all that is kept
        }
        // While a thread ends there is nobody to keep blocks: they are freed.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                kept.put(self);
            }
        });
    }
}

/// Blocks that a thread gave back, the latest last.
struct Kept {
    blocks: Vec<Block>,
    bytes: usize,
}

impl Kept {
    /// The one that fits best: one that is too large may be missed by who comes next.
    fn take(&mut self, bytes: usize) -> Option<Block> {
        let mut best: Option<(usize, usize)> = None;
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let size = block.layout.size();
            if size >= bytes && size / 2 <= bytes && best.is_none_or(|(_, least)| size < least) {
                best = Some((i, size));
            }
            if size == bytes {
                break; // a step after a step finds its own at once
            }
        }
        let (i, size) = best?;
        self.bytes -= size;
        Some(self.blocks.remove(i))
    }

    fn put(&mut self, block: Block) {
        if self.blocks.try_reserve(1).is_err() {
            return;
        }
        self.bytes += block.layout.size();
        self.blocks.push(block);
        while self.blocks.len() > KEEP_BLOCKS || self.bytes > KEEP_BYTES {
            self.bytes -= self.blocks.remove(0).layout.size();
        }
    }
}

/// Asks; a system that has none goes on with small pages.
fn ask_for_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the block is mapped, and advice about pages changes no content.
    unsafe {
        libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

/// Uninitialised memory for `len` elements, aligned to a cache line.
///
/// It hands out raw pointers only: whoever reads an element has written it before.
pub struct Buffer<T> {
    block: Option<Block>,
    len: usize,
    elements: PhantomData<T>,
}

// SAFETY: a buffer owns its memory, and its elements are plain numbers.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: a shared buffer gives out pointers; their users say how they share them.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// Reserves `len` elements; `purpose` is named when there is no memory for them.
    pub fn new(len: usize, purpose: &'static str) -> Result<Self> {
        let bytes =
            len.checked_mul(size_of::<T>()).ok_or(Error::Memory { purpose, bytes: None })?;
        let block = match bytes {
            0 => None,
            _ => Block::reuse(bytes).or_else(|| Block::allocate(bytes)),
        };
        if block.is_none() && bytes > 0 {
            return Err(Error::Memory { purpose, bytes: Some(bytes) });
        }
        Ok(Self { block, len, elements: PhantomData })
    }

    /// The first element.
    pub fn ptr(&self) -> *mut T {
        let dangling = std::ptr::without_provenance_mut(ALIGN);
        self.block.as_ref().map_or(dangling, |block| block.start.as_ptr().cast())
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
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            block.give_back();
        }
    }
}

/// Multiplies sizes; `None` where the product does not fit.
pub fn size(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &f| product.checked_mul(f))
}

/// Runs `f` with `len` elements of uninitialised memory, aligned to a cache line.
pub fn with_workspace<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> Result<R> {
    Buffer::new(len, "a workspace").map(|buffer| f(buffer.ptr()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_reused() {
        let first = Buffer::<f32>::new(1000, "a test").unwrap().ptr();
        assert_eq!(first.align_offset(ALIGN), 0);
        assert_eq!(Buffer::<f64>::new(450, "a test").unwrap().ptr().addr(), first.addr());
    }

    #[test]
    fn all_that_a_stack_of_layers_needs_is_kept() {
        let blocks = || -> Vec<_> {
            let all = (1..200).map(|n| Buffer::<f32>::new(64 * n, "a test").unwrap());
            let mut places: Vec<_> = all.collect::<Vec<_>>().iter().map(|b| b.ptr()).collect();
            places.sort_unstable();
            places
        };
        let first = blocks();
        // What the allocator got back, if anything, goes to somebody else.
        let _others: Vec<_> = (1..200).map(|n| Block::allocate(256 * n)).collect();
        assert_eq!(blocks(), first);
    }

    #[test]
    fn a_block_too_large_to_keep_leaves_the_others() {
        let kept = Buffer::<f32>::new(3 << 20, "a test").unwrap().ptr();
        drop(Buffer::<f32>::new(KEEP_BYTES / 4 + 1, "a test").unwrap());
        assert_eq!(Buffer::<f32>::new(3 << 20, "a test").unwrap().ptr().addr(), kept.addr());
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let purpose = "a test";
        let bytes = |n| match Buffer::<f64>::new(n, purpose) {
            Err(Error::Memory { bytes, .. }) => bytes,
            _ => panic!("{n} elements were reserved"),
        };
        assert_eq!(bytes(usize::MAX), None);
        assert_eq!(bytes(usize::MAX / 8), Some(usize::MAX / 8 * 8));
        assert_eq!(size(&[usize::MAX, 2]), None);
    }

    #[test]
    fn parts_are_measured_as_they_are_cut() {
        let cut = |parts: &mut Parts<f32>| {
            [parts.take(5), parts.take(0), parts.take(16)].map(|p| p.addr())
        };
        let mut measured = Parts::measure();
        let offsets = cut(&mut measured);
        let buffer = Buffer::<f32>::new(measured.used(), "a test").unwrap();
        let places = cut(&mut Parts::of(buffer.ptr()));
        for (offset, place) in offsets.iter().zip(places) {
            assert_eq!(place - buffer.ptr().addr(), *offset);
            assert_eq!(place % ALIGN, 0);
        }
    }
}
