//! Lets whoever runs a model end a pass before it is done.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

/// Says whether to end.
type Asked = Rc<dyn Fn() -> bool>;

thread_local! {
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
    /// Whether the question has been answered by yes: then it stays so.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Does work that ends early when `asked` says so: it is called on this thread before each block of a model, forward and backward, and a few
/// times a second within operations on long texts. Once it has said yes, it isn't asked again, and what is computed from then on is incomplete:
/// passes of a model fail.
///
/// ```
/// use stepfn_kernels::interruptible;
///
/// // Until a second has passed.
/// let start = std::time::Instant::now();
/// let done = interruptible(move || start.elapsed().as_secs() >= 1, || 2 + 2);
/// assert_eq!(done, 4);
/// ```
pub fn interruptible<R>(asked: impl Fn() -> bool + 'static, work: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<Asked>, bool);

    impl Drop for Restore {
        fn drop(&mut self) {
            ASKED.set(self.0.take());
            ENDED.set(self.1);
        }
    }

    let _restore = Restore(ASKED.replace(Some(Rc::new(asked))), ENDED.replace(false));
    work()
}

/// Whether the work is to end.
pub fn is_interrupted() -> bool {
    let asked = ASKED.with_borrow(Clone::clone);
    let ends = asked.is_some_and(|asked| ENDED.get() || asked());
    ENDED.set(ends);
    ends
}

/// Whether anybody wants to be asked.
#[cfg(feature = "flex")]
pub(crate) fn is_asked() -> bool {
    ASKED.with_borrow(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_question_is_asked_and_the_outer_one_afterwards() {
        assert!(!is_interrupted());
        interruptible(
            || true,
            || {
                assert!(is_interrupted());
                interruptible(|| false, || assert!(!is_interrupted()));
                assert!(is_interrupted());
            },
        );
        assert!(!is_interrupted());
    }

    #[test]
    fn a_yes_is_not_taken_back() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let once = move || count.replace(count.get() + 1) == 0;
        interruptible(once, || assert!(is_interrupted() && is_interrupted()));
        assert_eq!(asked.get(), 1);
    }
}
