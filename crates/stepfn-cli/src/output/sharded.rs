//! Results in a folder of shards, to which a run can return.

use core::ops::Range;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};

use stepfn::writers::{Record, plain};
use stepfn::{Input, Outcome};
use stepfn_corpus::{Folder, Job, Reader, failpoint};

use super::MOST_REPORTED;
use super::encoder::Encoder;
use crate::failure::Failure;
use crate::input::{Files, Lines};
use crate::progress::{Teller, locked};

/// A run over the shards of a folder.
pub(crate) struct Sharded {
    pub(crate) folder: Folder,
    pub(crate) files: Files,
    pub(crate) job: Job,
    /// What all texts have in common.
    pub(crate) common: Input,
    pub(crate) teller: Teller,
}

/// The records of a file that can be read once, some at a time.
type Shared = Arc<Mutex<core::iter::Peekable<Reader>>>;

/// What is done with each result.
pub(crate) type Each<'a, T> = dyn FnMut(Outcome<T>) -> Result<(), Failure> + Send + 'a;

/// What came of it.
#[derive(Default)]
struct Tally {
    texts: usize,
    failed: usize,
    done: usize,
    found: usize,
    warned: HashSet<String>,
}

/// What a thread returned.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Sharded {
    /// What a shard says about itself.
    pub(crate) fn about(&self) -> Vec<(String, String)> {
        let run = serde_json::to_string(&self.folder.manifest().run).unwrap_or_default();
        vec![("stepfn".to_owned(), run)]
    }

    /// Does all shards of this job that are not finished. `encoder` makes an empty file, and `texts` hands the results of some texts, of which
    /// the first has this number, to a function.
    pub(crate) fn run<T: Record>(
        &self,
        encoder: impl Fn() -> Result<Box<dyn Encoder<T>>, Failure>,
        mut texts: impl FnMut(Lines, usize, &mut Each<'_, T>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let shards = self.folder.shards();
        let finished = self.folder.finished(self.job)?;
        for shard in &finished.damaged {
            let file = self.folder.file(*shard);
            self.teller.warn(&format!("{file} doesn't have the length that it was written with, and is done again"));
        }
        let mut tally = Tally::default();
        let once: Option<Shared> = match shards.count() {
            Some(_) => None,
            None => Some(Arc::new(Mutex::new(self.files.reader(&[], 0)?.peekable()))),
        };
        // The last shard is synced to the disk while the next is computed.
        thread::scope(|scope| {
            let mut last: Option<ScopedJoinHandle<'_, Result<(), Failure>>> = None;
            for shard in 0.. {
                let records = shards.records_of(shard);
                let is_over = match (&once, shards.count()) {
                    (Some(reader), _) => shard > 0 && locked(reader).peek().is_none(),
                    (None, count) => count.is_some_and(|count| shard >= count),
                };
                if is_over {
                    break;
                }
                let is_finished = finished.shards.contains(&shard);
                tally.found += usize::from(is_finished);
                let file = match self.job.does(shard) && !is_finished {
                    true => self.folder.begin(shard, finished.damaged.contains(&shard))?,
                    false => None,
                };
                let Some(mut file) = file else {
                    if let Some(reader) = &once {
                        locked(reader).by_ref().take(records.len()).for_each(drop);
                    }
                    continue;
                };
                let lines = self.records(once.as_ref(), records.clone())?;
                let watch = lines.watch();
                let (mut encoder, mut count) = (encoder()?, 0);
                texts(lines, records.start, &mut |outcome| {
                    count += 1;
                    self.report(&outcome, &mut tally);
                    let bytes = encoder.encode(&outcome)?;
                    if !bytes.is_empty() {
                        self.folder.write(shard, &mut file, &bytes)?;
                    }
                    Ok(())
                })?;
                if once.is_none() && count != records.len() {
                    let what = format!("{count} texts were read where {} were counted", records.len());
                    return Err(Failure::work(what, "the input has changed: write to a new folder"));
                }
                last.take().map_or(Ok(()), joined)?;
                last = Some(scope.spawn(move || {
                    self.folder.write(shard, &mut file, &encoder.end()?)?;
                    Ok(self.folder.finish(shard, file)?)
                }));
                // What is wrong with every shard is said once.
                let warnings = watch.warnings().into_iter();
                warnings
                    .filter(|warning| tally.warned.insert(warning.clone()))
                    .for_each(|warning| self.teller.warn(&warning));
                tally.done += 1;
            }
            last.take().map_or(Ok(()), joined)
        })?;
        self.tell(&tally);
        Ok(())
    }

    /// The records of a shard: the next of a file that can be read once, or those with these numbers.
    fn records(&self, once: Option<&Shared>, records: Range<usize>) -> Result<Lines, Failure> {
        let common = self.common.clone();
        Ok(match once {
            Some(reader) => {
                let reader = reader.clone();
                let next = core::iter::from_fn(move || locked(&reader).next());
                self.files.lines(next.take(records.len()), common)
            }
            None => {
                let reader = self.files.reader(&self.folder.manifest().extents, records.start)?;
                self.files.lines(reader.take(records.len()), common)
            }
        })
    }

    /// Reports the failure of a text, which is in its shard, too.
    fn report<T: Record>(&self, outcome: &Outcome<T>, tally: &mut Tally) {
        tally.texts += 1;
        if let Err(error) = &outcome.result {
            tally.failed += 1;
            if tally.failed <= MOST_REPORTED {
                self.teller.suspended(|| Failure::from(error.clone()).report(&mut io::stderr()));
            }
        }
        for warning in outcome.result.iter().flat_map(Record::warnings) {
            self.teller.warn(&format!("text {}: {warning}", plain(&outcome.id)));
        }
    }

    fn tell(&self, tally: &Tally) {
        if tally.failed > 0 {
            let (failed, texts) = (tally.failed, tally.texts);
            self.teller.warn(&format!("{failed} of {texts} texts failed; their shards say why"));
        }
        self.teller.note(|| format!("{} shards written, {} were there", tally.done, tally.found));
    }

    /// A place where a test can kill the program.
    pub(crate) fn scored(&self) {
        failpoint::reach("score");
    }
}
