//! Ends a pass before it is done, if whoever runs the model wants that.

use crate::ModelError;

/// Checks that the work is to go on: see [`interruptible`](crate::interruptible).
///
/// # Errors
/// [`ModelError::Cancelled`] if not.
pub fn check_interrupted() -> Result<(), ModelError> {
    if stepfn_kernels::is_interrupted() { Err(ModelError::Cancelled) } else { Ok(()) }
}
