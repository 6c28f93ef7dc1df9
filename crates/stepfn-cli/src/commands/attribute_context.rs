//! `stepfn attribute-context`: shows which tokens of an output depend on context, and on what in it.

use std::time::Instant;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::extend::{Need, StepScore};
use stepfn::writers::{WriterOptions, reliances};
use stepfn::{AttributeContextTask, Input, Registry, RunOptions, Selection, Value};

use super::loading::{dispatch, load, note_loaded, with_aligner};
use super::parameters::{Owner, assigned, function, method};
use super::{unused, view};
use crate::args::{AttributeContextArgs, Threshold};
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Shows what texts depend on.
pub(super) fn run(args: &AttributeContextArgs) -> Result<(), Failure> {
    dispatch(&args.model, AttributeContext(args))
}

struct AttributeContext<'a>(&'a AttributeContextArgs);

impl OnBackend for AttributeContext<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        // Report typing errors before a model is loaded.
        let task = task::<D::Backend>(args)?;
        unused::check_once("--keep", &args.lines.keep, String::clone)?;
        let given = args.output_current_text.as_ref().filter(|_| args.output_template.is_none());
        unused::check_written(given.map(|_| "--output-current-text"), &args.generation)?;
        let inputs = Inputs::reliances(&args.lines, input(args))?;
        let places = output::places(inputs.paths(), &args.model);
        let texts = inputs.len();
        let single = texts == Some(1);
        let fields = columns(&args.format, &args.lines, None)?;
        let options = WriterOptions { single, fields, terminal: view::terminal(&args.to) };
        let teller = Teller::new(&args.to, inputs.extent());
        let forms = |format: &str| reliances(format, &options);
        let results = output::results(&args.to, (&args.format, args.html.as_deref()), forms, places, &teller, single)?;
        let results = Results { watch: inputs.watch(), ..results };
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.to.quiet)?;
        let model = with_aligner::<D>(model, &args.aligner, &args.model, args.to.quiet)?;
        note_loaded(&model, started, &teller);
        let started = Instant::now();
        let warn = output::early(&teller, single);
        let found = model.attribute_context_all(inputs, &task).on_progress(teller.progress()).on_warning(warn);
        let done = results.write_all(found);
        teller.note(|| format!("attributed in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

/// What the command line asks.
fn input(args: &AttributeContextArgs) -> Input {
    Input {
        source: args.input_current_text.clone(),
        target: args.output_current_text.clone(),
        input_context: args.input_context_text.clone(),
        output_context: args.output_context_text.clone(),
        contextless_output_next_tokens: args.contextless_output_next_tokens.clone(),
        ..Input::default()
    }
}

/// The task that runs on every text.
fn task<B: Backend>(args: &AttributeContextArgs) -> Result<AttributeContextTask<B>, Failure> {
    let registry = Registry::<B>::default();
    let metric = args.context_sensitivity_metric.as_str();
    // Report unknown names before their parameters.
    let needs = function(&registry, metric, Value::Null)?.needs();
    if needs.contrast == Need::Unused {
        let what = format!("--context-sensitivity-metric {metric}: it compares no two runs");
        return Err(Failure::usage(what, "choose one that does, such as kl_divergence, pcxmi or contrast_prob_diff"));
    }
    let is_of_function = method(&registry, &args.attribution_method, Value::Null)?.is_of_function();
    if let Some(name) = args.attributed_fn.as_ref().filter(|_| !is_of_function) {
        let of = &args.attribution_method;
        let what =
            format!("--attributed-fn {name}: {of} looks inside the model, and its scores are of no step function");
        return Err(Failure::usage(what, "leave it out"));
    }
    let attributed = args.attributed_fn.as_deref().unwrap_or("contrast_prob_diff");
    function(&registry, attributed, Value::Null)?;
    let mut owners = vec![Owner::of_function(&registry, metric), Owner::of_method(&registry, &args.attribution_method)];
    owners.extend((is_of_function && attributed != metric).then(|| Owner::of_function(&registry, attributed)));
    let add = |name: &str| format!("choose it with --context-sensitivity-metric {name} or --attributed-fn {name}");
    let assigned = assigned(&owners, &args.set, ("the metric, the method and the function", add))?;
    let parameters = |at: usize| assigned.get(at).cloned().map_or(Value::Null, Value::Object);
    let selection = |Threshold(std_threshold), topk| Selection { std_threshold, topk };
    let task = AttributeContextTask {
        metric: function(&registry, metric, parameters(0))?,
        method: method(&registry, &args.attribution_method, parameters(1))?,
        function: function(&registry, attributed, parameters(if attributed == metric { 0 } else { 2 }))?,
        input_template: args.input_template.clone(),
        output_template: args.output_template.clone(),
        contextless_input: args.contextless_input_current_text.clone(),
        contextless_output: args.contextless_output_current_text.clone(),
        separator: args.decoder_input_output_separator.clone(),
        special_tokens_to_keep: args.special_tokens_to_keep.clone(),
        output_context: args.handle_output_context_strategy.strategy(),
        context_sensitivity: selection(args.context_sensitivity_std_threshold, args.context_sensitivity_topk),
        cues: selection(args.attribution_std_threshold, args.attribution_topk),
        aggregate: view::parsed(args.aggregate.as_deref())?,
        options: RunOptions { seed: args.model.seed, memory: args.model.memory, ..RunOptions::default() },
    };
    task.check().map_err(|error| Failure::usage(error.what().to_owned(), error.hint().to_owned()))?;
    Ok(task)
}
