//! The commands, one file each.

mod attribute;
mod attribute_context;
mod bench;
mod compare;
mod completions;
mod context;
mod evaluate;
mod generate;
mod list;
mod loading;
mod parameters;
#[cfg(test)]
mod recipe;
mod score;
mod sharding;
mod show;
mod similarity;
mod unused;
mod verify;
mod view;

use crate::args::{Cli, Command};
use crate::failure::Failure;

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Attribute(args) => attribute::run(&args),
        Command::AttributeContext(args) => attribute_context::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Similarity(args) => similarity::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::List(args) => list::run(&args),
        Command::Completions { shell } => completions::run(shell),
    }
}
