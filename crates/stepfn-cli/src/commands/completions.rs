//! `stepfn completions`: completion scripts for shells.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::failure::Failure;

/// Prints a completion script.
pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "stepfn", &mut script);
    let mut out = io::stdout();
    let done = out.write_all(&script).and_then(|()| out.flush());
    done.map_err(|error| Failure::output("standard output", &error))
}
