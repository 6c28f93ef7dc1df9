//! Reading, computing and writing at the same time.

use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::backend::Backend;

use crate::texts::{Numbered, Outcomes, results};
use crate::{IntoInput, LanguageModel, Outcome};

/// Windows of texts that wait for the model, and windows of results that wait to be written.
const WAITING: usize = 1;

impl<B: Backend, I: Iterator<Item: IntoInput> + Send, T: Send> Outcomes<'_, B, I, T>
where
    LanguageModel<B>: Sync,
{
    /// Hands each result to a function, in the order of the texts. One thread reads and tokenizes texts and another one calls the function, while
    /// the model runs in this thread. The results are those of the iterator, to the last bit. Of the [largest windows](Self), five at most
    /// are in memory.
    ///
    /// It does not end while the next text is waited for, so take the iterator for texts that somebody types.
    ///
    /// # Errors
    /// The first error of the function, which is not called again.
    pub fn try_for_each_overlapped<E: Send>(
        self,
        mut each: impl FnMut(Outcome<T>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let Self { model, task, mut texts, told, .. } = self;
        let task = &*task;
        thread::scope(|scope| {
            let (read, windows) = sync_channel::<Vec<Numbered>>(WAITING);
            scope.spawn(move || {
                while let Some(mut window) = texts.read() {
                    task.prepare(model, &mut window);
                    // Nobody wants it if the work has ended.
                    if read.send(window).is_err() {
                        break;
                    }
                }
            });
            let (done, outcomes) = sync_channel::<Vec<Outcome<T>>>(WAITING);
            let written = scope.spawn(move || outcomes.into_iter().flatten().try_for_each(&mut each));
            for window in windows {
                let (outcomes, ended) = results(model, task, window, &told, &|| written.is_finished());
                if done.send(outcomes).is_err() || ended {
                    break;
                }
            }
            drop(done);
            written.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::{self, ThreadId};

    use stepfn_core::functions::{McDropoutProbAvg, Surprisal};

    use crate::{Input, LanguageModel, Outcome, RunOptions, ScoreTask, ScoredText};

    fn texts(count: usize) -> Vec<Input> {
        let words = ["Let there be light", "", "And the king", "In the beginning God created the heaven", "of"];
        // An empty text is an error in its place, and a prompt is continued by the model.
        let text = |n: usize| if n % 7 == 3 { Input::source("And God") } else { Input::text(words[n % 5]) };
        (0..count).map(text).collect()
    }

    #[test]
    fn overlapped_results_are_those_of_the_iterator() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let options = RunOptions { dropout: Some(0.2), seed: 5, first_number: 3, ..RunOptions::default() };
        let functions = (Surprisal::default(), McDropoutProbAvg::default());
        let task = ScoreTask { options, ..ScoreTask::new(functions) };
        let expected: Vec<Outcome<ScoredText>> = model.score_all(texts(60), &task).collect();
        let (mut found, mut threads) = (Vec::new(), Vec::<ThreadId>::new());
        let done = AtomicUsize::new(0);
        let progress = |progress: crate::Progress| {
            done.fetch_max(progress.texts_done, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        let each = |outcome| {
            threads.push(thread::current().id());
            found.push(outcome);
            Ok::<(), ()>(())
        };
        model.score_all(texts(60), &task).on_progress(progress).try_for_each_overlapped(each).unwrap();
        assert_eq!(found, expected);
        assert_eq!(done.into_inner(), 60);
        assert!(
            found.iter().any(|outcome| outcome.result.is_err()) && found.iter().any(|outcome| outcome.result.is_ok())
        );
        assert!(threads.iter().all(|&id| id != thread::current().id()));
    }

    #[test]
    fn an_error_ends_the_work_between_batches() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        // A batch for each text.
        let options = RunOptions { batch_tokens: 1, ..RunOptions::default() };
        let task = ScoreTask { options, ..ScoreTask::new([Surprisal::default()]) };
        let failed = AtomicUsize::new(usize::MAX);
        let done = AtomicUsize::new(0);
        let progress = |progress: crate::Progress| {
            done.store(progress.texts_done, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        let each = |_| {
            failed.store(done.load(Ordering::Relaxed), Ordering::Relaxed);
            Err("the disk is full")
        };
        let texts = (0..100_000).map(|_| "Let there be light");
        let scored = model.score_all(texts, &task).on_progress(progress).in_full_windows();
        assert_eq!(scored.try_for_each_overlapped(each), Err("the disk is full"));
        let (failed, done) = (failed.into_inner(), done.into_inner());
        assert!(done < failed + 256, "{done} texts were done, and {failed} when the disk was full");
    }

    #[test]
    fn an_error_or_a_break_ends_the_work() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let task = ScoreTask::new([Surprisal::default()]);
        let read = AtomicUsize::new(0);
        let endless = || {
            let text = |_| {
                read.fetch_add(1, Ordering::Relaxed);
                "light"
            };
            (0..).map(text)
        };
        let written = Mutex::new(0);
        let each = |_| {
            let mut written = written.lock().unwrap();
            *written += 1;
            if *written == 5 { Err("the disk is full") } else { Ok(()) }
        };
        assert_eq!(model.score_all(endless(), &task).try_for_each_overlapped(each), Err("the disk is full"));
        assert_eq!(*written.lock().unwrap(), 5);
        // 8, 16, 32, … texts are read at once.
        assert!(read.load(Ordering::Relaxed) <= 8 + 16 + 32 + 64 + 128 + 256, "{read:?}");
        let stop = |_| ControlFlow::Break(());
        let all = AtomicUsize::new(0);
        let each = |_| {
            all.fetch_add(1, Ordering::Relaxed);
            Ok::<(), ()>(())
        };
        model.score_all(endless(), &task).on_progress(stop).try_for_each_overlapped(each).unwrap();
        assert!(all.load(Ordering::Relaxed) <= 8);
    }
}
