//! Progress and messages on standard error: a bar on a terminal, and no bar in a pipe.

use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::DestinationArgs;

/// Writes progress, warnings and notes to standard error.
#[derive(Clone)]
pub(crate) struct Teller {
    bar: Rc<Bar>,
    quiet: bool,
    verbose: bool,
}

/// Clears the bar when it is dropped.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Teller {
    /// A bar for this many texts, or for an unknown number.
    pub(crate) fn new(args: &DestinationArgs, texts: Option<usize>) -> Self {
        Self::counting(args, texts, "texts")
    }

    /// A bar for this many items called `name`, or for an unknown number.
    pub(crate) fn counting(args: &DestinationArgs, all: Option<usize>, name: &str) -> Self {
        let bar = match all {
            _ if args.quiet || !io::stderr().is_terminal() => ProgressBar::hidden(),
            // One text is finished before a bar would be seen.
            Some(1) => ProgressBar::hidden(),
            Some(all) => {
                let template = format!("{{bar:30}} {{pos}} of {{len}} {name}, {{eta}} left");
                ProgressBar::new(all as u64).with_style(style(&template))
            }
            None => ProgressBar::new_spinner().with_style(style(&format!("{{spinner}} {{pos}} {name}, {{per_sec}}"))),
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar: Rc::new(Bar(bar)), quiet: args.quiet, verbose: args.verbose }
    }

    /// Sets how many are done.
    pub(crate) fn done(&self, number: usize) {
        self.bar.0.set_position(number as u64);
    }

    /// Prints a warning, unless `--quiet`.
    pub(crate) fn warn(&self, message: &str) {
        if !self.quiet {
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
        self.bar.0.suspend(run)
    }

    fn tell(&self, message: &str) {
        // If standard error can't be written, there is nowhere left to report it.
        self.suspended(|| drop(writeln!(io::stderr(), "{message}")));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
