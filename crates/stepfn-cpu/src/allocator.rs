//! An allocator that keeps what it has: a pass over a model asks for large blocks and gives them back, over and over, and each that the
//! operating system took meanwhile comes back a page at a time, cleared.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;
//!
//! fn main() {
//!     stepfn_cpu::allocator::keep_memory();
//! }
//! ```

use core::ffi::{c_int, c_long};

pub use mimalloc::MiMalloc as Allocator;

/// From now on, memory that was freed stays with the program for an hour, so that it is as large as it ever was. Does nothing where
/// `MIMALLOC_PURGE_DELAY` is set, which says after how many milliseconds memory goes back to the operating system.
///
/// Call it first thing. `benches/README.md` has what it saves.
pub fn keep_memory() {
    /// `mi_option_purge_delay`, which the bindings don't name.
    const PURGE_DELAY: c_int = 15;
    const MILLISECONDS: c_long = 3_600_000;
    // SAFETY: the option exists since version 2 of the allocator.
    #[allow(
        unsafe_code,
        reason = "the allocator's options are reached through C functions, and without this one pages are cleared all the time"
    )]
    unsafe {
        mi_option_set_default(PURGE_DELAY, MILLISECONDS);
    }
}

/// Gives memory that was freed back to the operating system now.
pub fn give_memory_back() {
    // SAFETY: it may be called at any time, on any thread.
    #[allow(unsafe_code, reason = "the allocator's functions are C functions")]
    unsafe {
        mi_collect(true);
    }
}

#[allow(unsafe_code, reason = "as the allocator declares them")]
unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
    fn mi_collect(force: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    #[test]
    #[cfg(target_os = "linux")]
    fn freed_memory_stays_until_it_is_given_back() {
        const MIB: usize = 1 << 20;
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().strip_suffix("kB").unwrap().trim().parse::<usize>().unwrap() * 1024
        };
        keep_memory();
        drop(core::hint::black_box(vec![1u8; 256 * MIB]));
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Whatever else is allocated now has the allocator look for memory to give back.
        drop(core::hint::black_box(vec![1u8; MIB]));
        assert!(resident() > 200 * MIB, "{} bytes are resident", resident());
        give_memory_back();
        assert!(resident() < 200 * MIB, "{} bytes are resident", resident());
    }
}
