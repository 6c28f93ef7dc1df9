//! `stepfn completions`: completion scripts for shells.

use std::io::{self, Write};

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use stepfn::backend::DefaultBackend;
use stepfn::extend::{Need, StepScore};
use stepfn::{Description, Registry, Stage, Value};

use crate::args::Cli;
use crate::failure::Failure;
use crate::system;

/// Prints a completion script.
pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut with_names(Cli::command()), "stepfn", &mut script);
    system::check_output()?;
    let mut out = io::stdout();
    let done = out.write_all(&script).and_then(|()| out.flush());
    done.map_err(|error| Failure::output("standard output", &error))
}

/// The command line with the names that its options take. They are only completed; what the options really take, such as the path of a model,
/// is checked elsewhere.
fn with_names(command: Command) -> Command {
    let names = names();
    command.mut_subcommands(|command| {
        let own: Vec<String> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
        let taken = names.iter().filter(|(option, _)| own.iter().any(|own| own == option));
        taken.fold(command, |command, (option, names)| {
            command.mut_arg(*option, |argument| argument.value_parser(PossibleValuesParser::new(names.clone())))
        })
    })
}

/// Options with the names that they take.
fn names() -> [(&'static str, Vec<String>); 8] {
    let registry = Registry::<DefaultBackend>::default();
    let name = |description: &Description| description.name.clone();
    let functions: Vec<String> = registry.functions().map(name).collect();
    let methods: Vec<String> = registry.methods().map(name).collect();
    let compares = |name: &&String| {
        registry.function(name, &Value::Null).is_ok_and(|function| function.needs().contrast != Need::Unused)
    };
    [
        ("model", stepfn::models().into_iter().map(|[name, ..]| name).collect()),
        ("method", methods.clone()),
        ("attribution_method", methods),
        ("context_sensitivity_metric", functions.iter().filter(compares).cloned().collect()),
        ("attributed_fn", functions.clone()),
        ("step_fn", functions.clone()),
        ("step_scores", functions),
        ("aggregate", Stage::ABOUT.map(|(name, _)| name.to_owned()).into()),
    ]
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_name() {
        with_names(Cli::command()).debug_assert();
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            generate(*shell, &mut with_names(Cli::command()), "stepfn", &mut script);
            let script = String::from_utf8(script).unwrap();
            // Elvish and PowerShell complete options only.
            let completes_values = matches!(shell, Shell::Bash | Shell::Fish | Shell::Zsh);
            for (option, names) in names() {
                assert!(!names.is_empty(), "{option}");
                let missing = names.iter().find(|name| !script.contains(name.as_str()));
                assert!(!completes_values || missing.is_none(), "{shell}, {option}: {missing:?}");
            }
        }
    }
}
