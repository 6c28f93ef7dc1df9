//! `stepfn`: scores and attributions of language models from the shell.
//!
//! [`args`] defines the command line and [`commands`] implements it, one file per command. [`input`] reads texts, [`output`] writes results.
//! Everything in between is the crate `stepfn`.

mod args;
mod commands;
mod failure;
mod input;
mod memory;
mod output;
mod progress;
mod system;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use self::args::Cli;
use self::failure::Failure;

fn main() -> ExitCode {
    // SAFETY: this is the first statement of `main`, so no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        memory::keep();
    }
    system::take_no_file_limit_for_death();
    let done = match Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            system::check_output()
                .and_then(|()| error.print().map_err(|error| Failure::output("standard output", &error)))
        }
        // `stepfn` alone. Nothing was asked for, so this is wrong usage, and its answer is the help.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // If standard error can't be written, there is nowhere left to report it.
            drop(error.print());
            Err(Failure::usage("", ""))
        }
        Err(error) => {
            let first = std::env::args_os().nth(1).and_then(|first| first.into_string().ok());
            let known = Cli::command();
            let command = first.as_deref().filter(|first| known.find_subcommand(first).is_some());
            Err(Failure::arguments(&error, command))
        }
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    failure.report(&mut io::stderr());
    // If standard error can't be written, there is nowhere left to report it.
    drop(io::stderr().flush());
    ExitCode::from(failure.code)
}
