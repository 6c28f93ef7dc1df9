//! Several downloads at once, and how far they are.

use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use super::content::Tell;
use super::failure::Failure;

/// How far the download of a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Download<'a> {
    /// The file of which more has come, by its path in the repository.
    pub file: &'a str,
    /// Bytes of all files that have come so far, those of an earlier, interrupted download included.
    pub done: u64,
    /// Bytes of all files, as far as they are known: the weights join when it is clear that they are needed. `None` if the hub doesn't
    /// say how long a file is.
    pub all: Option<u64>,
}

/// A file to download, and its length if that is known.
pub(super) struct Job {
    pub(super) file: String,
    pub(super) size: Option<u64>,
}

/// Bytes of the downloads so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) done: u64,
    /// Whether the length of each file was known.
    is_unknown: bool,
}

/// A worker's report: which file has how many bytes, of how many.
type Report = (usize, u64, Option<u64>);

/// Does every job on one of a few threads, and reports progress on this one. The first failure ends all.
pub(super) fn work(
    jobs: &[Job],
    sum: Sum,
    progress: &dyn Fn(&Download<'_>),
    run: &(dyn Fn(&str, Tell<'_>) -> Result<(), Failure> + Sync),
) -> Result<Sum, (String, Failure)> {
    const THREADS: usize = 4;
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let mut states: Vec<(u64, Option<u64>)> = jobs.iter().map(|job| (0, job.size)).collect();
    let sum_of = |states: &[(u64, Option<u64>)]| {
        let done = sum.done + states.iter().map(|(done, _)| done).sum::<u64>();
        let all = states.iter().map(|(_, size)| *size).sum::<Option<u64>>();
        (done, all.filter(|_| !sum.is_unknown).map(|all| sum.done + all))
    };
    thread::scope(|scope| {
        let (reports, received) = mpsc::channel::<Report>();
        let mut workers = Vec::new();
        let mut failure = None;
        for _ in 0..THREADS.min(jobs.len()) {
            let reports = reports.clone();
            let (next, stop) = (&next, &stop);
            let worker = move || {
                let result = take_jobs(jobs, next, stop, &reports, run);
                stop.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            };
            match thread::Builder::new().spawn_scoped(scope, worker) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    // Those that could be started do the work.
                    if workers.is_empty() {
                        failure =
                            Some((job_name(jobs), Failure::Refused(format!("no thread can be started: {error}"))));
                    }
                    break;
                }
            }
        }
        drop(reports);
        for (index, done, size) in received {
            if let (Some(state), Some(job)) = (states.get_mut(index), jobs.get(index)) {
                *state = (done, size);
                let (done, all) = sum_of(&states);
                progress(&Download { file: &job.file, done, all });
            }
        }
        for worker in workers {
            let result = worker.join().unwrap_or_else(|_| Err((job_name(jobs), Failure::Stopped)));
            if let Err(found) = result
                && failure.as_ref().is_none_or(|(_, failure)| matches!(failure, Failure::Stopped))
            {
                failure = Some(found);
            }
        }
        let (done, all) = sum_of(&states);
        failure.map_or(Ok(Sum { done, is_unknown: all.is_none() }), Err)
    })
}

fn job_name(jobs: &[Job]) -> String {
    jobs.first().map_or_else(String::new, |job| job.file.clone())
}

/// One thread: does the next job until there is none.
fn take_jobs(
    jobs: &[Job],
    next: &AtomicUsize,
    stop: &AtomicBool,
    reports: &Sender<Report>,
    run: &(dyn Fn(&str, Tell<'_>) -> Result<(), Failure> + Sync),
) -> Result<(), (String, Failure)> {
    /// The shortest time between two reports of a file.
    const OFTEN: Duration = Duration::from_millis(50);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(Job { file, .. }) = jobs.get(index) else { return Ok(()) };
        let last = core::cell::Cell::new(None::<Instant>);
        let tell = |done: u64, size: Option<u64>| {
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Stopped);
            }
            let is_due = last.get().is_none_or(|last| last.elapsed() >= OFTEN) || size == Some(done);
            if is_due {
                last.set(Some(Instant::now()));
                // Nobody listens any more only if all is over.
                let _ = reports.send((index, done, size));
            }
            Ok(())
        };
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        run(file, &tell).map_err(|failure| (file.clone(), failure))?;
    }
}
