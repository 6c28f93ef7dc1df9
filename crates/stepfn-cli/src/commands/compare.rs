//! `stepfn compare`: which of several texts a model prefers.

use std::time::Instant;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::extend::Need;
use stepfn::writers::{WriterOptions, comparisons};
use stepfn::{CompareTask, Input, RunOptions, Variant};

use super::loading::{dispatch, load, note_loaded, run_options};
use super::parameters::functions;
use super::unused;
use crate::args::{CompareArgs, ContrastArgs, GenerationArgs};
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Compares texts.
pub(super) fn run(args: &CompareArgs) -> Result<(), Failure> {
    dispatch(&args.model, Compare(args))
}

struct Compare<'a>(&'a CompareArgs);

impl OnBackend for Compare<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        let task = task::<D::Backend>(args)?;
        let needs = unused::needs(task.functions.iter().map(AsRef::as_ref));
        unused::check(&ContrastArgs::default(), args.parameters.dropout, needs)?;
        if needs.contrast == Need::Required {
            return Err(Failure::usage(
                "--step-fn: a function asked for compares with a contrast, and the texts have none",
                "leave it out; `stepfn score --input` reads contrasts",
            ));
        }
        unused::check_once("--keep", &args.lines.keep, String::clone)?;
        unused::check_once("--columns", &args.columns, String::clone)?;
        if args.columns.len() == 1 {
            return Err(Failure::usage(
                "--columns: one text has nothing to be compared with",
                "name two fields or more",
            ));
        }
        let given =
            (1..).zip(&args.text).map(|(number, text): (usize, &String)| Variant::new(number.to_string(), text));
        let one = Input { source: args.source.clone(), variants: given.collect(), ..Input::default() };
        let fields = columns(&args.output.format, &args.lines, None)?;
        // Groups are read from fields that travel along.
        let inputs = Inputs::comparisons(&args.lines, one, &args.columns, args.group_by.as_ref())?;
        let single = inputs.len() == Some(1);
        let options = WriterOptions { single, fields, ..WriterOptions::default() };
        let forms = |format: &str| comparisons(format, &options, args.summary);
        let places = output::places(inputs.paths(), &args.model);
        let teller = Teller::new(&args.output.to, inputs.extent());
        let results = output::results(&args.output.to, (&args.output.format, None), forms, places, &teller, single)?;
        let results = Results { watch: inputs.watch(), ..results };
        let started = Instant::now();
        let model = load::<D>(&args.model, &GenerationArgs::default(), args.output.to.quiet)?;
        note_loaded(&model, started, &teller);
        let started = Instant::now();
        let warn = output::early(&teller, single);
        let compared = model.compare_all(inputs, &task).on_progress(teller.progress_of_texts()).on_warning(warn);
        let done = results.write_all(compared);
        teller.note(|| format!("compared in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

fn task<B: Backend>(args: &CompareArgs) -> Result<CompareTask<B>, Failure> {
    let batch_tokens = args.batches.batch_tokens;
    let task = CompareTask {
        criterion: args.criterion()?,
        group_by: args.group_by.clone(),
        long: args.reading.long,
        start_token: args.reading.start(),
        options: RunOptions { batch_tokens, ..run_options(&args.model, &args.parameters) },
        ..CompareTask::default()
    };
    Ok(task.with(functions::<B>(&args.step_fn, &args.parameters.set)?))
}
