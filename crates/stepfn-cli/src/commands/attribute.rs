//! `stepfn attribute`: shows which input tokens predictions came from.

use std::time::Instant;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::extend::{Needs, StepScore};
use stepfn::writers::{WriterOptions, answers};
use stepfn::{Answer, AttributeTask, DOCUMENT_MARK, Input, Outcome, Registry, TargetUnit, Unit, Value, json};
use stepfn_corpus::Format;

use super::loading::{dispatch, load, note_loaded, run_options, with_aligner};
use super::parameters::{Owner, assigned, function, method};
use super::sharding::{self, Place};
use super::{unused, view};
use crate::args::{AttributeArgs, UnitName};
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Encoder, Results, Table};
use crate::progress::Teller;

/// Attributes texts.
pub(super) fn run(args: &AttributeArgs) -> Result<(), Failure> {
    dispatch(&args.model, Attribute(args))
}

struct Attribute<'a>(&'a AttributeArgs);

impl OnBackend for Attribute<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        // Report typing errors before a model is loaded.
        let task = task::<D::Backend>(args)?;
        let needs = unused::needs(task.step_scores.iter().map(AsRef::as_ref));
        let needs = task.function.as_ref().map_or(needs, |function| needs.union(function.needs()));
        unused::check_texts(&args.texts)?;
        unused::check_writing(&args.texts, &args.generation)?;
        unused::check_once("--keep", &args.texts.lines.keep, String::clone)?;
        let passes = (args.parameters.dropout, args.contrast_force_inputs);
        unused::check_comparing(&args.texts, &args.contrast, passes, needs)?;
        sharding::check(&args.shards, &args.view.format, &["jsonl", "csv"], None)?;
        if args.shards.is_given() {
            return shards::<D>(args, task, needs);
        }
        let inputs = unused::without_contrasts(Inputs::new(&args.texts, &args.contrast)?, needs);
        let places = output::places(inputs.paths(), &args.model);
        let fields = columns(&args.view.format, &args.texts.lines, Some(&args.texts.columns))?;
        let texts = inputs.len();
        let teller = Teller::new(&args.view.to, inputs.extent());
        let results = view::results(&args.view, fields, teller.clone(), texts, places)?;
        let results = Results { watch: inputs.watch(), ..results };
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.view.to.quiet)?;
        let model = with_aligner::<D>(model, &args.contrast.aligner, &args.model, args.view.to.quiet)?;
        note_loaded(&model, started, &teller);
        unused::check_writing_of(&model, &args.texts, &args.generation)?;
        let narrowed = inputs.map(|named| named.map(|input| Input { from: args.from, to: args.to, ..input }));
        let started = Instant::now();
        let warn = output::early(&teller, texts == Some(1));
        let attributed = model.attribute_all(narrowed, &task).on_progress(teller.progress()).on_warning(warn);
        let done = results.write_all(attributed);
        teller.note(|| format!("attributed in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

/// Attributes texts in shards.
fn shards<D: Devices>(args: &AttributeArgs, mut task: AttributeTask<D::Backend>, needs: Needs) -> Result<(), Failure> {
    if let Some((option, _)) =
        [("--html", &args.view.html), ("--svg", &args.view.svg)].into_iter().find(|(_, path)| path.is_some())
    {
        return Err(Failure::usage(format!("{option}: shards are files of lines"), "leave it out"));
    }
    let place = Place {
        texts: &args.texts,
        contrast: &args.contrast,
        shards: &args.shards,
        generation: &args.generation,
        model: &args.model,
        to: &args.view.to,
    };
    let given = json!({
        "command": "attribute",
        "method": args.method,
        "attributed_fn": args.attributed_fn,
        "step_scores": args.step_scores,
        "set": args.parameters.set,
        "dropout": args.parameters.dropout,
        "masking": args.parameters.masking.map(|masking| format!("{masking:?}")),
        "top": args.top,
        "target_side": args.target_side,
        "unit": task.unit.name(),
        "unit_mean": args.unit_mean,
        "prompt_only": args.prompt_only,
        "features": task.features.name(),
        "document_mark": args.document_mark,
        "contrast_force_inputs": args.contrast_force_inputs,
        "from": args.from,
        "to": args.to,
        "raw": args.view.raw,
        "aggregate": args.view.aggregate,
    });
    let format = sharding::format(&args.view.format);
    let fields = columns(&args.view.format, &args.texts.lines, Some(&args.texts.columns))?;
    let (sharded, model) = place.open::<D>(format, given, Vec::new(), &task.options)?;
    let writer = || {
        Ok(match format {
            Format::Csv => Box::new(Table::new(format, fields.clone())) as Box<dyn Encoder<_>>,
            _ => Box::new(answers("jsonl", &WriterOptions::default())?),
        })
    };
    sharded.run(writer, |lines, first, each| {
        task.options.first_number = first;
        let inputs = unused::without_contrasts(Inputs::lines(lines), needs);
        let narrowed = inputs.map(|named| named.map(|input| Input { from: args.from, to: args.to, ..input }));
        let progress = sharding::progress(&sharded, first);
        let warn = output::early(&sharded.teller, false);
        let outcomes = model.attribute_all(narrowed, &task).on_progress(progress).on_warning(warn);
        // No clock in a shard: it would be another file the next time.
        outcomes.map(without_clock).try_for_each(each)
    })
}

/// The same, whenever it was computed.
fn without_clock(mut outcome: Outcome<Answer>) -> Outcome<Answer> {
    if let Ok(answer) = &mut outcome.result {
        answer.0.about.seconds = 0.0;
    }
    outcome
}

/// The task that runs on every text.
fn task<B: Backend>(args: &AttributeArgs) -> Result<AttributeTask<B>, Failure> {
    let registry = Registry::<B>::default();
    // Report unknown names before their parameters.
    let is_of_function = method(&registry, &args.method, Value::Null)?.is_of_function();
    for name in args.attributed_fn.iter().chain(&args.step_scores) {
        function(&registry, name, Value::Null)?;
    }
    if let Some(name) = args.attributed_fn.as_ref().filter(|_| !is_of_function) {
        return Err(Failure::usage(
            format!(
                "--attributed-fn {name}: {} looks inside the model, and its scores are of no step function",
                args.method
            ),
            format!("leave it out, or compute the function beside the scores with --step-scores {name}"),
        ));
    }
    let attributed_fn = args.attributed_fn.as_deref().unwrap_or("probability");
    unused::check_once("--step-scores", &args.step_scores, String::clone)?;
    let mut owners = vec![Owner::of_method(&registry, &args.method)];
    owners.extend(is_of_function.then(|| Owner::of_function(&registry, attributed_fn)));
    owners.extend(args.step_scores.iter().map(|name| Owner::of_function(&registry, name)));
    let add = |name: &str| format!("add it with --step-scores {name}");
    let assigned = assigned(&owners, &args.parameters.set, ("the method and the step functions", add))?;
    let mut assigned = assigned.into_iter().map(Value::Object);
    let mut next = || assigned.next().unwrap_or_default();
    let chosen = method(&registry, &args.method, next())?;
    let parameters = if is_of_function { next() } else { Value::Null };
    let is_chosen = args.attributed_fn.is_some() || parameters.as_object().is_some_and(|given| !given.is_empty());
    let attributed = match is_of_function && is_chosen {
        true => Some(function(&registry, attributed_fn, parameters)?),
        false => None,
    };
    let step_scores = args.step_scores.iter().map(|name| Ok(Box::new(function(&registry, name, next())?) as _));
    let task = AttributeTask {
        step_scores: step_scores.collect::<Result<_, Failure>>()?,
        alternatives: args.top.unwrap_or(0),
        target_side: args.target_side,
        unit: args.unit.unit(),
        unit_mean: args.unit_mean,
        prompt_only: args.prompt_only,
        features: match args.features {
            UnitName::Tokens => Unit::Tokens,
            UnitName::Words => Unit::Words,
            UnitName::Sentences => Unit::Sentences,
            UnitName::Lines => Unit::Lines,
            UnitName::Messages => Unit::Messages,
            UnitName::Documents => Unit::Documents,
        },
        document_mark: args.document_mark.clone().unwrap_or_else(|| DOCUMENT_MARK.to_owned()),
        contrast_force_inputs: args.contrast_force_inputs,
        raw: args.view.raw,
        aggregate: view::pipeline(&args.view)?,
        options: run_options(&args.model, &args.parameters),
        function: attributed,
        ..AttributeTask::new(chosen)
    };
    if task.unit != TargetUnit::Token && !task.method.takes_spans() {
        return Err(Failure::usage(
            format!(
                "--unit {}: {} attributes no step function whose values could be added up",
                task.unit.name(),
                args.method
            ),
            "use a method that does, such as saliency, or merge steps with --aggregate subwords or --aggregate sentences",
        ));
    }
    if task.unit_mean && task.unit == TargetUnit::Token && args.texts.lines.input.is_empty() {
        return Err(Failure::usage(
            "--unit-mean: every token is a unit by itself, so there is no mean to take",
            "leave it out, or say what is a unit with --unit",
        ));
    }
    if args.document_mark.is_some() && task.features != Unit::Documents {
        let what = "--document-mark: documents are not what is hidden";
        return Err(Failure::usage(what, "leave it out, or add --features documents"));
    }
    if task.check().is_err() {
        let hiding = registry.methods_that_hide_tokens().join(", ");
        return Err(Failure::usage(
            format!("--features {}: {} does not hide tokens", task.features.name(), args.method),
            format!(
                "use a method that does ({hiding}), or merge scores with --aggregate subwords or --aggregate messages"
            ),
        ));
    }
    Ok(task)
}
