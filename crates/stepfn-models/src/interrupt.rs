//! Lets whoever runs a model end a pass before it is done.

use core::cell::RefCell;
use std::rc::Rc;

use crate::ModelError;

/// Says whether to end.
type Asked = Rc<dyn Fn() -> bool>;

thread_local! {
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

/// Does work that ends early when `asked` says so: it is called on this thread before each block of a model, forward and backward. Passes
/// then fail with [`ModelError::Cancelled`].
///
/// ```
/// use stepfn_models::interruptible;
///
/// // Until a second has passed.
/// let start = std::time::Instant::now();
/// let done = interruptible(move || start.elapsed().as_secs() >= 1, || 2 + 2);
/// assert_eq!(done, 4);
/// ```
pub fn interruptible<R>(asked: impl Fn() -> bool + 'static, work: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<Asked>);

    impl Drop for Restore {
        fn drop(&mut self) {
            ASKED.set(self.0.take());
        }
    }

    let _restore = Restore(ASKED.replace(Some(Rc::new(asked))));
    work()
}

/// Checks that the pass is to go on.
///
/// # Errors
/// [`ModelError::Cancelled`] if not.
pub(crate) fn check() -> Result<(), ModelError> {
    let asked = ASKED.with_borrow(Clone::clone);
    if asked.is_some_and(|asked| asked()) { Err(ModelError::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_question_is_asked_and_the_outer_one_afterwards() {
        assert_eq!(check(), Ok(()));
        interruptible(
            || true,
            || {
                assert_eq!(check(), Err(ModelError::Cancelled));
                interruptible(|| false, || assert_eq!(check(), Ok(())));
                assert_eq!(check(), Err(ModelError::Cancelled));
            },
        );
        assert_eq!(check(), Ok(()));
    }
}
