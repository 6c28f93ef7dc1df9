//! A bar on a terminal, and nothing in a pipe.

use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::DestinationArgs;

/// What the program says on standard error while it works.
#[derive(Clone)]
pub(crate) struct Teller {
    bar: Rc<Bar>,
    quiet: bool,
    verbose: bool,
}

/// The bar is taken away when nobody needs it any more.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
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
        Self { bar: Rc::new(Bar(bar)), quiet: args.quiet, verbose: args.verbose }
    }

    /// So many are done.
    pub(crate) fn done(&self, number: usize) {
        self.bar.0.set_position(number as u64);
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
        self.bar.0.suspend(run)
    }

    fn tell(&self, message: &str) {
        // Nothing can be done about an error of standard error.
        self.suspended(|| drop(writeln!(io::stderr(), "{message}")));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
