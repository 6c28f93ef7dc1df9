//! `stepfn evaluate`: which methods are faithful.

use std::io;
use std::time::Instant;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::writers::{WriterOptions, evaluations};
use stepfn::{EvaluateTask, Evaluated, Input, Map, Measures, Metric, Outcome, Registry, RunOptions, Value};

use super::loading::{dispatch, load, note_loaded, with_aligner};
use super::parameters::{Owner, assigned, function, method};
use super::unused;
use crate::args::{EvaluateArgs, MaskingName, OperatorName};
use crate::failure::Failure;
use crate::input::Inputs;
use crate::output;
use crate::progress::Teller;

/// Evaluates methods.
pub(super) fn run(args: &EvaluateArgs) -> Result<(), Failure> {
    dispatch(&args.model, Evaluate(args))
}

struct Evaluate<'a>(&'a EvaluateArgs);

impl OnBackend for Evaluate<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        // Report typing errors before a model is loaded.
        let task = task::<D::Backend>(args)?;
        unused::check_texts(&args.texts)?;
        unused::check_writing(&args.texts, &args.generation)?;
        if !args.texts.lines.keep.is_empty() {
            let what = "--keep: the results are of all texts together, which have no fields of yours";
            return Err(Failure::usage(what, "leave it out"));
        }
        let needs = unused::needs(task.functions.iter());
        unused::check_comparing(&args.texts, &args.contrast, (None, args.contrast_force_inputs), needs)?;
        let inputs = unused::without_contrasts(Inputs::new(&args.texts, &args.contrast)?, needs);
        let places = output::places(inputs.paths(), &args.model);
        let (single, extent, watch) = (inputs.len() == Some(1), inputs.extent(), inputs.watch());
        let options = WriterOptions { single: true, ..WriterOptions::default() };
        let teller = Teller::new(&args.to_file, extent);
        let forms = |format: &str| evaluations(format, &options);
        let results =
            output::results(&args.to_file, (&args.format, args.html.as_deref()), forms, places, &teller, true)?;
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.to_file.quiet)?;
        let model = with_aligner::<D>(model, &args.contrast.aligner, &args.model, args.to_file.quiet)?;
        note_loaded(&model, started, &teller);
        unused::check_writing_of(&model, &args.texts, &args.generation)?;
        let narrowed = inputs.map(|named| named.map(|input| Input { from: args.from, to: args.to, ..input }));
        let warn = output::early(&teller, single);
        let (mut texts, mut failed, mut all) = (Vec::new(), 0_usize, 0_usize);
        let started = Instant::now();
        for outcome in model.evaluate_all(narrowed, &task).on_progress(teller.progress()).on_warning(warn) {
            all += 1;
            match outcome.result {
                Ok(text) => texts.push(text),
                Err(error) if single => return Err(error.into()),
                Err(error) => {
                    failed += 1;
                    if failed <= output::MOST_REPORTED {
                        teller.suspended(|| Failure::from(error).report(&mut io::stderr()));
                    }
                }
            }
            teller.done(all);
        }
        watch.warnings().iter().for_each(|warning| teller.warn(warning));
        if texts.is_empty() && failed > 0 {
            return Err(Failure::work(format!("all {all} texts failed, as reported above"), "correct these texts"));
        }
        let result = Evaluated::of(&model, &task, &texts, started.elapsed().as_secs_f64())?;
        teller.note(|| format!("evaluated in {:.2} s", started.elapsed().as_secs_f64()));
        results.write_all(core::iter::once(Outcome {
            id: 1.into(),
            number: 0,
            fields: Map::new(),
            result: Ok(result),
        }))?;
        match failed {
            0 => Ok(()),
            failed => {
                let what = format!("{failed} of {all} texts failed, as reported above");
                Err(Failure::work(what, "correct these texts; the results are of the others"))
            }
        }
    }
}

fn task<B: Backend>(args: &EvaluateArgs) -> Result<EvaluateTask<B>, Failure> {
    let registry = Registry::<B>::default();
    // Report unknown names before their parameters.
    for name in &args.method {
        method(&registry, name, Value::Null)?;
    }
    for name in &args.attributed_fn {
        function(&registry, name, Value::Null)?;
    }
    for (option, names) in
        [("--method", &args.method), ("--attributed-fn", &args.attributed_fn), ("--metric", &args.metric)]
    {
        unused::check_once(option, names, String::clone)?;
    }
    unused::check_once("--operator", &args.operator, |operator| operator.operator().name().to_owned())?;
    let mut owners: Vec<Owner> = args.method.iter().map(|name| Owner::of_method(&registry, name)).collect();
    owners.extend(args.attributed_fn.iter().map(|name| Owner::of_function(&registry, name)));
    let add = |name: &str| format!("add it with --method {name} or --attributed-fn {name}");
    let given = assigned(&owners, &args.set, ("the methods and the step functions", add))?;
    let mut given = given.into_iter().map(Value::Object);
    let mut next = || given.next().unwrap_or_default();
    let methods = args.method.iter().map(|name| method(&registry, name, next())).collect::<Result<Vec<_>, _>>()?;
    let functions =
        args.attributed_fn.iter().map(|name| function(&registry, name, next())).collect::<Result<Vec<_>, _>>()?;
    let mut measures = Measures {
        operators: args.operator.iter().copied().map(OperatorName::operator).collect(),
        special: args.special.choices(),
        ranking: args.ranking.ranking(),
        ..Measures::default()
    };
    if !args.metric.is_empty() {
        measures.metrics = args.metric.iter().filter_map(|name| Metric::named(name)).collect();
    }
    let is_asked = |known: &[&str]| measures.metrics.iter().any(|metric| known.contains(&metric.name()));
    let (of_sets, soft) = (["infidelity", "lds"], ["soft_nc", "soft_ns"]);
    for (option, given, of) in [
        ("--random-sets", args.random_sets.is_some(), of_sets),
        ("--soft-share", args.soft_share.is_some(), soft),
        ("--soft-draws", args.soft_draws.is_some(), soft),
    ] {
        if given && !is_asked(&of) {
            let what = format!("{option}: no metric asked for reads it");
            return Err(Failure::usage(what, format!("leave it out, or add --metric {}", of.join(","))));
        }
    }
    measures.orders = args.random_orders.unwrap_or(measures.orders);
    measures.sets = args.random_sets.unwrap_or(measures.sets);
    measures.soft_share = args.soft_share.unwrap_or(measures.soft_share);
    measures.soft_draws = args.soft_draws.unwrap_or(measures.soft_draws);
    let (seed, masking) = (args.model.seed, args.masking.map(MaskingName::masking));
    let options = RunOptions { seed, memory: args.model.memory, masking, ..RunOptions::default() };
    let (unit, contrast_force_inputs) = (args.unit.unit(), args.contrast_force_inputs);
    let task = EvaluateTask { functions, unit, contrast_force_inputs, measures, options, ..EvaluateTask::new(methods) };
    task.check().map_err(|error| Failure::usage(error.what().to_owned(), error.hint().to_owned()))?;
    Ok(task)
}
