//! An allocator that knows how much is allocated, and how much was at most.
//!
//! Unsafe, because an allocator is: every call is handed to the system's allocator unchanged, whose contract is therefore
//! kept exactly as far as the caller keeps it; the counters have no part in it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static BYTES: AtomicUsize = AtomicUsize::new(0);
static BYTES_PEAK: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Counting;

/// Runs `work`, and returns what it returns and how many bytes more than before were allocated at most meanwhile.
pub(crate) fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.load(Relaxed);
    BYTES_PEAK.store(before, Relaxed);
    let result = work();
    (result, BYTES_PEAK.load(Relaxed) - before)
}

fn grow(bytes: usize) {
    let now = BYTES.fetch_add(bytes, Relaxed) + bytes;
    BYTES_PEAK.fetch_max(now, Relaxed);
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The old block may be there until the new one is filled.
        grow(new_size);
        BYTES.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}
