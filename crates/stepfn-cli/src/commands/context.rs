//! `stepfn context`: shows which of its sources an answer came from.

use std::time::Instant;

use stepfn::backend::{Devices, OnBackend};
use stepfn::{ContextTask, Input, Map, RunOptions, Split, Value};

use super::loading::{dispatch, load, note_loaded};
use super::{unused, view};
use crate::args::{ContextArgs, ContextMethodName, SplitName};
use crate::failure::Failure;
use crate::input::{Inputs, columns, read_whole};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Scores the sources of answers.
pub(super) fn run(args: &ContextArgs) -> Result<(), Failure> {
    dispatch(&args.model, Context(args))
}

struct Context<'a>(&'a ContextArgs);

impl OnBackend for Context<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        let task = task(args)?;
        unused::check_once("--keep", &args.lines.keep, String::clone)?;
        if args.view.raw {
            return Err(Failure::usage("--raw: a source has one number for each statement", "leave it out"));
        }
        let inputs = Inputs::contexts(&args.lines, input(args)?)?;
        let mut places = output::places(inputs.paths(), &args.model);
        for file in &args.files {
            places.read("FILE", file);
        }
        let fields = columns(&args.view.format, &args.lines, None)?;
        let texts = inputs.len();
        let teller = Teller::new(&args.view.to, inputs.extent());
        let results = view::results(&args.view, fields, teller.clone(), texts, places)?;
        let results = Results { watch: inputs.watch(), ..results };
        let pipeline = view::pipeline(&args.view)?;
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.view.to.quiet)?;
        note_loaded(&model, started, &teller);
        let started = Instant::now();
        let warn = output::early(&teller, texts == Some(1));
        let scored = model.context_all(inputs, &task).on_progress(teller.progress()).on_warning(warn).map(|outcome| {
            let aggregated = |answer: stepfn::Answer| match &pipeline {
                Some(pipeline) => answer.through(pipeline),
                None => Ok(answer),
            };
            stepfn::Outcome { result: outcome.result.and_then(aggregated), ..outcome }
        });
        let done = results.write_all(scored);
        teller.note(|| format!("scored in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

/// What the command line asks.
fn input(args: &ContextArgs) -> Result<Input, Failure> {
    let file = |path: &std::path::PathBuf| {
        let failed =
            |error: std::io::Error| Failure::work(format!("{}: {error}", path.display()), "give a file of text");
        read_whole(path).map_err(failed)
    };
    let files = args.files.iter().map(file).collect::<Result<Vec<String>, Failure>>()?;
    Ok(Input {
        sources: files.into_iter().chain(args.source.iter().cloned()).collect(),
        question: args.question.clone(),
        target: args.answer.clone(),
        chat_template: args.chat_template.clone(),
        chat_variables: args.chat_set.iter().cloned().collect(),
        ..Input::default()
    })
}

fn task(args: &ContextArgs) -> Result<ContextTask, Failure> {
    use ContextMethodName::{ContextCite, Gradient, Hierarchical, KernelShap};
    let name = |method: &ContextMethodName| {
        clap::ValueEnum::to_possible_value(method).map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let samples = if args.method == KernelShap { "n_samples" } else { "n_ablations" };
    let given = [
        ("--ablations", samples, args.ablations.map(Value::from), &[ContextCite, KernelShap][..]),
        ("--alpha", "alpha", args.alpha.map(Value::from), &[ContextCite]),
        ("--expand", "expand", args.expand.map(Value::from), &[Hierarchical]),
        ("--prefilter", "prefilter", args.prefilter.map(Value::from), &[Gradient]),
    ];
    let mut parameters = Map::new();
    for (option, parameter, value, of) in given {
        let Some(value) = value else { continue };
        if !of.contains(&args.method) {
            let of: Vec<String> = of.iter().map(name).collect();
            let what = format!("{option}: {} does not read it", name(&args.method));
            return Err(Failure::usage(what, format!("leave it out, or use --method {}", of.join(" or "))));
        }
        parameters.insert(parameter.to_owned(), value);
    }
    let method = stepfn::context_method(&name(&args.method), &parameters)?;
    let task = ContextTask {
        method,
        operator: args.operator.operator(),
        split: match args.split {
            SplitName::None => Split::None,
            SplitName::Paragraphs => Split::Paragraphs,
            SplitName::Lines => Split::Lines,
            SplitName::Sentences => Split::Sentences,
        },
        statement: args.statement.unit(),
        template: args.template.clone(),
        separator: args.separator.clone().unwrap_or_else(|| "\n\n".to_owned()),
        plain: args.plain,
        checks: args.check,
        options: RunOptions { seed: args.model.seed, memory: args.model.memory, ..RunOptions::default() },
    };
    task.check().map_err(|error| Failure::usage(error.what().to_owned(), error.hint().to_owned()))?;
    Ok(task)
}
