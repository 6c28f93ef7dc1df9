//! An allocator that keeps freed memory. A pass over a model allocates and frees large blocks over and over, and every block that went back
//! to the operating system in between has to be mapped and cleared again, page by page.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;
//!
//! fn main() {
//!     // SAFETY: this is the first statement of `main`, so no other thread exists yet.
//!     unsafe { stepfn_cpu::allocator::keep_memory() };
//! }
//! ```

use core::ffi::{c_int, c_long};
use core::time::Duration;

pub use mimalloc::MiMalloc as Allocator;

/// From now on, the program keeps freed memory for an hour, so its size stays near its peak. Does nothing if the environment variable
/// `MIMALLOC_PURGE_DELAY` is set, which is the number of milliseconds after which memory goes back to the operating system.
///
/// `benches/README.md` shows how much time this saves.
///
/// # Safety
/// No other thread may allocate or free memory with [`Allocator`] during this call. It writes a plain variable of the allocator that other
/// threads would read at the same time, which is a data race. Call it first in `main`, before any thread is started.
#[allow(
    unsafe_code,
    reason = "the allocator's options can only be set through C functions, and the default clears pages all the time"
)]
pub unsafe fn keep_memory() {
    // SAFETY: the caller guarantees the same.
    unsafe { keep_memory_for(Duration::from_secs(3600)) }
}

/// The same for another time, in which no memory that was freed goes back: a library that is loaded into somebody's program keeps it while it
/// works, and not much longer.
///
/// # Safety
/// As for [`keep_memory`]. A library's own allocator is used by nobody until the library runs, so that loading it is early enough.
#[allow(
    unsafe_code,
    reason = "the allocator's options can only be set through C functions, and the default clears pages all the time"
)]
pub unsafe fn keep_memory_for(time: Duration) {
    /// `mi_option_purge_delay`, which the bindings don't name.
    const PURGE_DELAY: c_int = 15;
    let milliseconds = c_long::try_from(time.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the allocator ignores option numbers that it does not have. It stores the value in a variable without synchronization, and
    // the caller guarantees that no other thread uses the allocator at the same time.
    unsafe {
        mi_option_set_default(PURGE_DELAY, milliseconds);
    }
}

/// Returns freed memory to the operating system now.
pub fn give_memory_back() {
    // SAFETY: mimalloc allows this call at any time and on any thread; it only collects memory that is already free.
    #[allow(unsafe_code, reason = "the allocator's functions are C functions")]
    unsafe {
        mi_collect(true);
    }
}

// SAFETY: the declarations match mimalloc's header, where `mi_option_t` is a C enum of the size of `int`.
#[allow(unsafe_code, reason = "the allocator's functions are C functions")]
unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
    fn mi_collect(force: bool);
}
