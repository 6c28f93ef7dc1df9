//! `stepfn score`: computes step functions of texts.

use std::time::Instant;

use core::ops::ControlFlow;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::writers::{WriterOptions, records};
use stepfn::{Registry, RunOptions, ScoreTask};

use super::loading::{dispatch, load, note_loaded, run_options, with_aligner};
use super::parameters::{Owner, assigned, function};
use super::unused;
use crate::args::{ParameterArgs, ScoreArgs};
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Scores texts.
pub(super) fn run(args: &ScoreArgs) -> Result<(), Failure> {
    dispatch(&args.model, Score(args))
}

struct Score<'a>(&'a ScoreArgs);

impl OnBackend for Score<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        // Report typing errors before a model is loaded.
        let task = task::<D::Backend>(args)?;
        let needs = unused::needs(task.functions.iter().map(AsRef::as_ref));
        unused::check(&args.contrast, args.parameters.dropout, needs)?;
        unused::check_texts(&args.texts)?;
        unused::check_writing(&args.texts, &args.generation)?;
        unused::check_once("--keep", &args.texts.lines.keep, String::clone)?;
        unused::check_missing(&args.texts, &args.contrast, needs)?;
        let inputs = unused::without_contrasts(Inputs::new(&args.texts, &args.contrast)?, needs);
        let single = inputs.len() == Some(1);
        let options = WriterOptions {
            single,
            fields: columns(&args.output.format, &args.texts.lines)?,
            ..WriterOptions::default()
        };
        let writer = records(&args.output.format, &options)?;
        let mut places = output::places(args.texts.lines.input.as_deref(), &args.model);
        let destination = output::open(&args.output.to, writer.way(), &mut places)?;
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.output.to.quiet)?;
        let model = with_aligner::<D>(model, &args.contrast.aligner, &args.model, args.output.to.quiet)?;
        let teller = Teller::new(&args.output.to, inputs.extent());
        note_loaded(&model, started, &teller);
        unused::check_writing_of(&model, &args.texts, &args.generation)?;
        let watch = inputs.watch();
        if let Some(function) = task.drops_nothing(&model) {
            teller.warn(&format!(
                "`{function}` runs the model with dropout, and all dropout rates are 0: give a rate with --dropout"
            ));
        }
        let results =
            Results { destination, writer, extras: Vec::new(), places, teller: teller.clone(), single, watch };
        let progress = |progress: stepfn::Progress| {
            teller.done(progress.texts_done);
            ControlFlow::Continue(())
        };
        let started = Instant::now();
        let scored = model.score_all(inputs, &task).on_progress(progress).on_warning(output::early(&teller, single));
        let done = results.write_all(scored);
        teller.note(|| format!("scored in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

/// The chosen step functions, with their parameters.
fn task<B: Backend>(args: &ScoreArgs) -> Result<ScoreTask<B>, Failure> {
    let (names, ParameterArgs { set, .. }) = (&args.step_fn, &args.parameters);
    let registry = Registry::<B>::default();
    for name in names {
        // Report unknown names before their parameters.
        function(&registry, name, stepfn::Value::Null)?;
    }
    unused::check_once("--step-fn", names, String::clone)?;
    let owners: Vec<Owner> = names.iter().map(|name| Owner::of_function(&registry, name)).collect();
    let add = |function: &str| format!("add it with --step-fn {function}");
    let parameters = assigned(&owners, set, ("the step functions", add))?;
    let functions: Vec<_> = names
        .iter()
        .zip(parameters)
        .map(|(name, own)| function(&registry, name, own.into()))
        .collect::<Result<_, _>>()?;
    let alternatives = args.top.unwrap_or(0);
    let batch_tokens = args.batches.batch_tokens;
    let options = RunOptions { batch_tokens, ..run_options(&args.model, &args.parameters) };
    Ok(ScoreTask { alternatives, options, ..ScoreTask::new(functions) })
}
