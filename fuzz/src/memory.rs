//! How much memory a piece of work takes at most.
//!
//! libFuzzer's own limit on single allocations works with a sanitizer only, and would not see many small ones; an
//! allocator that counts sees both. What C code allots (zstd) is not counted: the limit on the whole process is for that.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Does `work`; panics if it held more than `most` bytes at any moment, beside what was there before.
///
/// The count is of the whole process: nothing else may run beside it.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let done = work();
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(held <= most, "{held} bytes of memory were held, where {most} are warranted");
    done
}
