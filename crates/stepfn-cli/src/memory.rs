//! What the program does with memory that was freed.

#[cfg(all(feature = "cpu", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// From now on, memory that was freed stays with the program, which will ask for it again.
pub(crate) fn keep() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    stepfn_cpu::allocator::keep_memory();
}

/// Gives memory that was freed back to the operating system.
pub(crate) fn give_back() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    stepfn_cpu::allocator::give_memory_back();
}
