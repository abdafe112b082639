//! What every target does: calls its entry point in `sluice::fuzzing` and watches the memory.
//!
//! A counting allocator makes "memory stays bounded" a property: what an input makes the
//! process hold at once may not exceed a fixed amount plus so much a byte of the input.
//!
//! Not here: the entry points and their other properties.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that any input may cost.
const ANY: usize = 64 << 20;
/// Bytes more for each byte of the input.
const EACH: usize = 8 << 10;

#[global_allocator]
static COUNTING: Counting = Counting;
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is handed to the system's allocator; the counters change nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

/// Feeds one input to the entry point `name`.
pub fn run(name: &str, data: &[u8]) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let _ = sluice::fuzzing::run(name, data);
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    let most = ANY + EACH * data.len();
    assert!(peak <= most, "{} bytes of input held {peak} bytes", data.len());
}
