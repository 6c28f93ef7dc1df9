//! Freed memory stays with the process until it is given back. Without a test harness, so that no other thread is running.

use stepfn_cpu::allocator::{Allocator, give_memory_back, keep_memory};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const MIB: usize = 1 << 20;

#[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
fn main() {
    // SAFETY: this is the first statement of `main`, so no other thread exists yet.
    unsafe { keep_memory() };
    if cfg!(not(target_os = "linux")) || std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    drop(core::hint::black_box(vec![1u8; 256 * MIB]));
    std::thread::sleep(std::time::Duration::from_millis(50));
    // Another allocation makes the allocator look for memory to return.
    drop(core::hint::black_box(vec![1u8; MIB]));
    assert!(resident() > 200 * MIB, "{} bytes are resident", resident());
    give_memory_back();
    assert!(resident() < 200 * MIB, "{} bytes are resident", resident());
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the status has a line VmRSS");
    let kilobytes = line.trim().strip_suffix("kB").expect("VmRSS is in kB");
    kilobytes.trim().parse::<usize>().expect("VmRSS is a number") * 1024
}
