//! Work that all cores share.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How often a thread that is done looks whether the others are, before it sleeps: some tens of microseconds.
const LOOKS: usize = 1000;

/// Calls `task` with each item, on all cores: each takes the next as soon as it is done with one. This thread takes part from the start; the others join as they wake,
/// which takes as long as some hundred thousand multiplications.
pub(crate) fn on_all_cores<I>(items: I, task: impl Fn(I::Item) + Sync)
where
    I: Iterator + Send,
{
    on_all_cores_with(items, || (), |(), item| task(item));
}

/// The same with something of each thread's own.
pub(crate) fn on_all_cores_with<I, T>(items: I, own: impl Fn() -> T + Sync, task: impl Fn(&mut T, I::Item) + Sync)
where
    I: Iterator + Send,
{
    let others = (rayon::current_num_threads() - 1).min(items.size_hint().0.saturating_sub(1));
    if others == 0 {
        let mut own = own();
        return items.for_each(|item| task(&mut own, item));
    }
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut made = None;
        while let Some(item) = next() {
            task(made.get_or_insert_with(&own), item);
        }
    };
    let running = AtomicUsize::new(0);
    rayon::in_place_scope(|scope| {
        for _ in 0..others {
            scope.spawn(|_| {
                running.fetch_add(1, Ordering::Relaxed);
                work();
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        work();
        // The others are about to be done. Who sleeps until they are wakes later.
        for _ in 0..LOOKS {
            if running.load(Ordering::Relaxed) == 0 {
                break;
            }
            core::hint::spin_loop();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_item_is_done_once_wherever_the_call_comes_from() {
        let run = || {
            let mut done = vec![0; 1000];
            let made = AtomicUsize::new(0);
            let own = || made.fetch_add(1, Ordering::Relaxed);
            on_all_cores_with(done.iter_mut().enumerate(), own, |_, (number, done)| *done += number);
            assert!(done.iter().enumerate().all(|(number, &done)| done == number));
            assert!((1..=rayon::current_num_threads()).contains(&made.into_inner()));
        };
        run();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        pool.install(run);
        pool.install(|| on_all_cores(0..4, |_| run()));
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread").install(run);
        on_all_cores(core::iter::empty::<usize>(), |_| panic!("there is nothing to do"));
    }

    #[test]
    #[should_panic]
    fn a_panic_goes_on() {
        on_all_cores(0..100, |number| assert!(number != 60));
    }
}
