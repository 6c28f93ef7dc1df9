//! A bar on a terminal, and nothing in a pipe.

use core::time::Duration;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::DestinationArgs;

/// What is told on standard error while the program works.
pub(crate) struct Teller {
    bar: ProgressBar,
    quiet: bool,
    verbose: bool,
}

impl Teller {
    /// A bar of so many texts, or of as many as come.
    pub(crate) fn new(args: &DestinationArgs, texts: Option<usize>) -> Self {
        Self::counting(args, texts, "texts")
    }

    /// A bar of so many things of a name, or of as many as come.
    pub(crate) fn counting(args: &DestinationArgs, all: Option<usize>, name: &str) -> Self {
        let bar = match all {
            _ if args.quiet || !io::stderr().is_terminal() => ProgressBar::hidden(),
            // Over before a bar would be seen.
            Some(1) => ProgressBar::hidden(),
            Some(all) => {
                let template = format!("{{bar:30}} {{pos}} of {{len}} {name}, {{eta}} left");
                ProgressBar::new(all as u64).with_style(style(&template))
            }
            None => ProgressBar::new_spinner().with_style(style(&format!("{{spinner}} {{pos}} {name}, {{per_sec}}"))),
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, quiet: args.quiet, verbose: args.verbose }
    }

    /// So many are done.
    pub(crate) fn done(&self, number: usize) {
        self.bar.set_position(number as u64);
    }

    /// Something that a person should know.
    pub(crate) fn warn(&self, message: &str) {
        if !self.quiet {
            self.tell(&format!("warning: {message}"));
        }
    }

    /// Something that a person might want to know.
    pub(crate) fn note(&self, message: impl FnOnce() -> String) {
        if self.verbose {
            self.tell(&message());
        }
    }

    /// Runs something that writes, with the bar out of its way.
    pub(crate) fn suspended<T>(&self, run: impl FnOnce() -> T) -> T {
        self.bar.suspend(run)
    }

    fn tell(&self, message: &str) {
        // Nothing can be done about an error of standard error.
        self.suspended(|| drop(writeln!(io::stderr(), "{message}")));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
