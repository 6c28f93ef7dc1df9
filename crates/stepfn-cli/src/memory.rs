//! What the program does with freed memory.

#[cfg(all(feature = "cpu", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// From now on, the program keeps freed memory for reuse.
///
/// # Safety
/// No other thread may be running.
#[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
pub(crate) unsafe fn keep() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    // SAFETY: the caller guarantees that no other thread is running.
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
}

/// Gives freed memory back to the operating system.
pub(crate) fn give_back() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    stepfn_cpu::allocator::give_memory_back();
}
