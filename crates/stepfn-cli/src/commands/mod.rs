//! What the program does: one file a command.

mod attribute;
mod bench;
mod completions;
mod generate;
mod list;
mod parameters;
mod score;
mod show;
mod view;

use std::io;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::output::{Record, Sink};
use crate::progress::Teller;

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Attribute(args) => attribute::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::List(args) => list::run(&args),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Results on their way out. A text that fails is told at once, and counted; the others go on.
struct Results {
    sink: Sink,
    teller: Teller,
    single: bool,
    failed: usize,
    all: usize,
}

impl Results {
    fn new(sink: Sink, teller: Teller, single: bool) -> Self {
        Self { sink, teller, single, failed: 0, all: 0 }
    }

    /// Writes the result of a text, or why it has none; a text that is alone ends the program with it.
    fn write(&mut self, result: Result<impl Record, Failure>) -> Result<(), Failure> {
        self.all += 1;
        let sink = &mut self.sink;
        match result {
            Ok(record) => self.teller.suspended(|| sink.write(&record))?,
            Err(failure) if self.single => return Err(failure),
            Err(failure) => {
                self.failed += 1;
                self.teller.suspended(|| failure.report(&mut io::stderr()));
                sink.fail(&failure)?;
            }
        }
        self.teller.done(self.all);
        Ok(())
    }

    /// Counts the result of a text that is written with all others, or tells why it has none.
    fn count(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        self.all += 1;
        match result {
            Ok(()) => {}
            Err(failure) if self.single => return Err(failure),
            Err(failure) => {
                self.failed += 1;
                self.teller.suspended(|| failure.report(&mut io::stderr()));
            }
        }
        self.teller.done(self.all);
        Ok(())
    }

    /// Writes something that is whole by itself.
    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.sink.text(text)
    }

    fn finish(self) -> Result<(), Failure> {
        self.sink.finish()?;
        match self.failed {
            0 => Ok(()),
            failed => {
                let what = format!("{failed} of {} texts failed, as told above", self.all);
                Err(Failure::work(what, "mend these texts; the others have their results"))
            }
        }
    }
}
