//! Progress and messages on standard error: a bar on a terminal, and no bar in a pipe.

use core::ops::ControlFlow;
use core::time::Duration;
use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use stepfn::writers::{number, printable};
use stepfn::{Download, Progress};

use crate::args::DestinationArgs;

/// How much there is to do.
#[derive(Clone)]
pub(crate) enum Extent {
    /// This many texts.
    Texts(usize),
    /// The texts of a file of this many bytes.
    Bytes(u64, Ends),
    /// Nobody knows.
    Unknown,
}

/// What several threads have, for one of them. If another one ended in the middle of a change, it is as that one left it.
pub(crate) fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where each text that was read ends in its files, in bytes. Forgets those before the last one that was asked for.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Recent>>);

#[derive(Default)]
struct Recent {
    ends: VecDeque<u64>,
    /// Texts before the first end.
    before: usize,
}

impl Ends {
    /// Adds the end of the next text.
    pub(crate) fn push(&self, end: u64) {
        locked(&self.0).ends.push_back(end);
    }

    /// The end of a text, counted from 1.
    fn of(&self, text: usize) -> u64 {
        let Recent { ends, before } = &mut *locked(&self.0);
        let passed = text.saturating_sub(1).saturating_sub(*before).min(ends.len());
        if passed < ends.len() {
            ends.drain(..passed);
            *before += passed;
        }
        if text > *before { ends.get(text - *before - 1).copied().unwrap_or(0) } else { 0 }
    }
}

/// Writes progress, warnings and notes to standard error.
#[derive(Clone)]
pub(crate) struct Teller {
    bar: Arc<Bar>,
    quiet: bool,
    verbose: bool,
    /// Warnings that came early, and will come again with their results.
    early: Arc<Mutex<HashSet<String>>>,
}

/// A bar that is cleared when it is dropped.
struct Bar {
    bar: ProgressBar,
    extent: Extent,
    /// What is counted: texts, rows.
    name: &'static str,
    started: Instant,
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Teller {
    /// A bar for texts.
    pub(crate) fn new(args: &DestinationArgs, extent: Extent) -> Self {
        Self::counting(args, extent, "texts")
    }

    /// A bar for items called `name`.
    pub(crate) fn counting(args: &DestinationArgs, extent: Extent, name: &'static str) -> Self {
        let bar = match &extent {
            _ if args.quiet || !io::stderr().is_terminal() => ProgressBar::hidden(),
            // Its parts are shown as soon as they are known.
            Extent::Texts(1) => ProgressBar::new(1).with_style(style("{spinner} {elapsed}")),
            Extent::Texts(all) => ProgressBar::new(*all as u64).with_style(style(KNOWN)),
            Extent::Bytes(all, _) => ProgressBar::new(*all).with_style(style(KNOWN)),
            Extent::Unknown => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        let bar = Bar { bar, extent, name, started: Instant::now() };
        Self { bar: Arc::new(bar), quiet: args.quiet, verbose: args.verbose, early: Arc::default() }
    }

    /// Sets how many are done.
    pub(crate) fn done(&self, number: usize) {
        let Bar { bar, extent, name, started } = &*self.bar;
        bar.set_message(done(extent, name, number, started.elapsed()));
        bar.set_position(match extent {
            Extent::Bytes(_, ends) => ends.of(number),
            _ => number as u64,
        });
    }

    /// Shows how far the work is, and lets it go on.
    pub(crate) fn progress(&self) -> impl Fn(Progress) -> ControlFlow<()> + use<> {
        let teller = self.clone();
        move |progress| {
            teller.within(&progress);
            ControlFlow::Continue(())
        }
    }

    /// Shows how many texts are done, and lets the work go on.
    pub(crate) fn progress_of_texts(&self) -> impl Fn(Progress) -> ControlFlow<()> + use<> {
        let teller = self.clone();
        move |progress| {
            teller.done(progress.texts_done);
            ControlFlow::Continue(())
        }
    }

    /// Sets how far the work on the only text is.
    pub(crate) fn within(&self, progress: &Progress) {
        let Bar { bar, extent: Extent::Texts(1), .. } = &*self.bar else { return };
        if progress.pieces > 1 {
            bar.set_style(style("{bar:30} {percent} %, {eta} left"));
            bar.set_length(progress.pieces as u64);
            bar.set_position(progress.pieces_done as u64);
        }
    }

    /// Prints a warning of a text before it runs; [`warn`](Self::warn) doesn't repeat it.
    pub(crate) fn warn_early(&self, message: String) {
        self.warn(&message);
        locked(&self.early).insert(message);
    }

    /// Prints a warning, unless `--quiet` or it came early.
    pub(crate) fn warn(&self, message: &str) {
        if !locked(&self.early).remove(message) && !self.quiet {
            self.tell(&format!("warning: {message}"));
        }
    }

    /// Prints a note with `--verbose`.
    pub(crate) fn note(&self, message: impl FnOnce() -> String) {
        if self.verbose {
            self.tell(&message());
        }
    }

    /// Hides the bar while `run` writes.
    pub(crate) fn suspended<T>(&self, run: impl FnOnce() -> T) -> T {
        self.bar.bar.suspend(run)
    }

    fn tell(&self, message: &str) {
        // If standard error can't be written, there is nowhere left to report it.
        self.suspended(|| drop(writeln!(io::stderr(), "{}", printable(message))));
    }
}

/// A bar for the download of a model. It appears when files come, and is cleared when it is dropped.
pub(crate) struct DownloadBar {
    bar: OnceCell<ProgressBar>,
    quiet: bool,
}

impl DownloadBar {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { bar: OnceCell::new(), quiet }
    }

    /// Sets how much has come.
    pub(crate) fn set(&self, download: &Download) {
        let bar = self.bar.get_or_init(|| match self.quiet || !io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::no_length(),
        });
        match download.bytes {
            Some(bytes) => {
                bar.set_style(style(BYTES));
                bar.set_length(bytes);
            }
            None => bar.set_style(style(SOME_BYTES)),
        }
        bar.set_position(download.bytes_done);
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

/// What a download's bar shows.
const BYTES: &str = "downloading {bar:30} {percent} % of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
/// The same, if nobody knows how much there is to come.
const SOME_BYTES: &str = "downloading {spinner} {decimal_bytes}, {decimal_bytes_per_sec}";

/// What a bar shows if its end is known.
const KNOWN: &str = "{bar:30} {percent} %, {msg}, {eta} left";

/// How many are done, of how many if that is known, and how fast.
fn done(extent: &Extent, name: &str, done: usize, elapsed: Duration) -> String {
    let of = match extent {
        Extent::Texts(all) => format!(" of {all}"),
        _ => String::new(),
    };
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    format!("{done}{of} {name}, {} per second", number(rate))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_many_how_fast_and_of_how_many_if_known() {
        let after = Duration::from_secs(2);
        assert_eq!(done(&Extent::Texts(900), "texts", 291, after), "291 of 900 texts, 145.5 per second");
        assert_eq!(done(&Extent::Unknown, "texts", 3, after), "3 texts, 1.500 per second");
        assert_eq!(done(&Extent::Bytes(10, Ends::default()), "texts", 0, after), "0 texts, 0 per second");
    }

    #[test]
    fn a_file_is_as_far_as_its_last_finished_text() {
        let ends = Ends::default();
        [4, 9].into_iter().for_each(|end| ends.push(end));
        assert_eq!([0, 1, 2, 3].map(|text| ends.of(text)), [0, 4, 9, 0]);
        (10..1000).for_each(|end| ends.push(end));
        assert_eq!([900, 901].map(|text| ends.of(text)), [907, 908]);
        assert!(locked(&ends.0).ends.len() < 100);
    }

    #[test]
    fn every_template_is_one() {
        for template in
            [KNOWN, BYTES, SOME_BYTES, "{spinner} {msg}", "{spinner} {elapsed}", "{bar:30} {percent} %, {eta} left"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
