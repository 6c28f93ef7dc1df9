//! Long operations, which can be ended.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread;

use crate::interrupt::{is_asked, is_interrupted};

/// From so many multiplications on, an operation takes long enough that somebody may want to end it: some hundredths of a second on one core.
const LONG: usize = 1 << 29;
/// How often it is asked whether to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether an operation is to end: its tasks look before each part.
#[derive(Debug, Default)]
pub(crate) struct Ends(AtomicBool);

impl Ends {
    /// Ends it.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the result will not be used, so that there is nothing more to compute.
    #[inline]
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether an operation need not run, because it is long and its result will not be used.
pub(crate) fn is_moot(multiplications: usize) -> bool {
    multiplications >= LONG / 8 && is_interrupted()
}

/// Does work. If it is long, and somebody may want to end it ([`interruptible`](crate::interruptible)), another thread does it, and this one asks.
pub(crate) fn watched<R: Send>(multiplications: usize, work: impl FnOnce(&Ends) -> R + Send) -> R {
    /// Wakes who waits, also after a panic.
    struct Wake<'a>(thread::Thread, &'a AtomicBool);

    impl Drop for Wake<'_> {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Release);
            self.0.unpark();
        }
    }

    let ends = Ends::default();
    if multiplications < LONG || !is_asked() {
        return work(&ends);
    }
    let (done, waits) = (AtomicBool::new(false), thread::current());
    thread::scope(|scope| {
        let (ends, done) = (&ends, &done);
        let working = scope.spawn(move || {
            let _wake = Wake(waits, done);
            work(ends)
        });
        while !done.load(Ordering::Acquire) {
            if is_interrupted() {
                ends.end();
            }
            thread::park_timeout(PAUSE);
        }
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::interruptible;

    #[test]
    fn long_work_learns_that_it_is_to_end_and_short_work_stays_on_its_thread() {
        let here = thread::current().id();
        let start = Instant::now();
        let ended = move || start.elapsed() > Duration::from_millis(50);
        let until_the_end = |ends: &Ends| {
            while !ends.now() && start.elapsed() < Duration::from_secs(10) {
                thread::yield_now();
            }
            thread::current().id()
        };
        let there = interruptible(ended, || watched(LONG, until_the_end));
        assert!(there != here && start.elapsed() < Duration::from_secs(5));
        let this = |_: &Ends| thread::current().id();
        assert_eq!(watched(LONG, this), here, "nobody asks");
        assert_eq!(interruptible(|| false, || watched(LONG - 1, this)), here, "short");
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_goes_on() {
        interruptible(|| false, || watched(LONG, |_| panic!("as it was")));
    }
}
