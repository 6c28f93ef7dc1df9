//! `stepfn attribute`: which input tokens predictions came from.

use std::time::Instant;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{
    About, AttributedFn, Attribution, AttributionOptions, ContrastText, Features, Method, Prepared, Registries,
    attribute, methods,
};
use stepfn_core::{Alignment, StepFunction};

use super::parameters::{Owner, assigned, everywhere, of_function};
use super::view::Views;
use crate::args::{AttributeArgs, Unit};
use crate::backend::{OnBackend, Place, dispatch};
use crate::failure::Failure;
use crate::input::{Asked, Spans, Typed};
use crate::model::Loaded;
use crate::progress::Teller;

/// Attributes texts.
pub(super) fn run(args: &AttributeArgs) -> Result<(), Failure> {
    dispatch(&args.model, Attribute(args))
}

struct Attribute<'a>(&'a AttributeArgs);

/// What is asked of every text.
struct Question<B: Backend> {
    method: Method,
    function: AttributedFn<B>,
    step_scores: Vec<Box<dyn StepFunction<B>>>,
    /// All that were given, for the record.
    parameters: Map<String, Value>,
}

impl<B: Backend> Question<B> {
    fn new(args: &AttributeArgs) -> Result<Self, Failure> {
        let registries = Registries::<B>::default();
        let none = Map::new();
        // Unknown names are answered before their parameters are looked at.
        Method::make(&args.method, &none)?;
        for name in core::iter::once(&args.attributed_fn).chain(&args.step_scores) {
            registries.plain().make(name, &none)?;
        }
        let of_method = methods().into_iter().find(|method| method.name == args.method);
        let known = of_method.into_iter().flat_map(|method| method.parameters.into_iter().map(|(name, _)| name));
        let mut owners = vec![
            Owner { name: args.method.clone(), known: known.collect() },
            of_function(registries.plain(), &args.attributed_fn),
        ];
        owners.extend(args.step_scores.iter().map(|name| of_function(registries.plain(), name)));
        let add = |name: &str| format!("add it with --step-scores {name}");
        let assigned = assigned(&owners, &args.parameters.set, ("the method and the step functions", add))?;
        let method = Method::make(&args.method, &assigned[0])?;
        if args.features == Unit::Words && !method.hides_tokens() {
            return Err(hides_nothing("--features words", &method));
        }
        let function = registries.attributed(&args.attributed_fn, &assigned[1])?;
        let step_scores = args.step_scores.iter().zip(&assigned[2..]);
        let step_scores =
            step_scores.map(|(name, own)| registries.plain().make(name, own)).collect::<Result<_, _>>()?;
        let mut parameters = method.parameters();
        let others = owners[1..].iter().zip(&assigned[1..]).filter(|(_, own)| !own.is_empty());
        parameters.extend(others.map(|(owner, own)| (owner.name.clone(), Value::Object(own.clone()))));
        if args.features == Unit::Words {
            parameters.insert("features".to_owned(), Value::from("words"));
        }
        Ok(Self { method, function, step_scores, parameters })
    }
}

impl OnBackend for Attribute<'_> {
    fn run<B: Backend>(self, place: Place<B>) -> Result<(), Failure> {
        let args = self.0;
        // What is typed wrong shows before a model is loaded.
        let question = Question::<B>::new(args)?;
        let pipeline = Views::pipeline(&args.view)?;
        let typed = Typed::new(&args.texts, &args.contrast)?;
        let started = Instant::now();
        let loaded = Loaded::load(&args.model, &args.generation, &place)?;
        let config = loaded.model.config();
        let mut inputs = typed.read_by(config.is_encoder_decoder())?;
        let (texts, single) = (inputs.len(), inputs.is_single());
        let teller = Teller::new(&args.view.to, texts);
        teller.note(|| format!("{} ({}) on {}: {}", loaded.name, config.family, place.backend, place.about));
        teller.note(|| format!("loaded in {:.2} s", started.elapsed().as_secs_f64()));
        let preparer = loaded.preparer();
        let raw = args.view.raw || pipeline.as_ref().is_some_and(|pipeline| pipeline.needs_raw());
        let mut views = Views::open(&args.view, pipeline, teller, texts)?;
        let started = Instant::now();
        loop {
            let window = inputs.next_window()?;
            if window.is_empty() {
                break;
            }
            for Asked { request, spans, place: line } in window {
                let number = views.results().all;
                let options = AttributionOptions {
                    seed: args.model.seed,
                    rates: args.parameters.dropout.map(everywhere),
                    first_number: number as u32,
                    memory: args.model.memory.unwrap_or_else(|| place.memory()),
                    attribute_target: args.target_side,
                    raw,
                    baseline: preparer.baseline(),
                    contrast_force_inputs: args.contrast_force_inputs,
                    features: &[],
                    progress: None,
                };
                let answer = request.and_then(|request| {
                    let mut prepared = preparer.prepare(&request, number)?;
                    narrow(&mut prepared, args.from, args.to)?;
                    let features = features(args.features, &spans, &question.method, &prepared, number)?;
                    let options = AttributionOptions { features: core::slice::from_ref(&features), ..options };
                    let about = About {
                        parameters: spans.told_in(question.parameters.clone()),
                        model: loaded.name.clone(),
                        backend: format!("{} {}", place.backend, place.dtype.name()),
                        ..About::default()
                    };
                    answered(&loaded, &question, &prepared, &options, about)
                });
                let answer = answer.map_err(|failure| match &line {
                    Some(line) if !single => failure.at(line),
                    _ => failure,
                });
                views.write(answer)?;
            }
        }
        let all = views.results().all;
        views.results().teller.note(|| format!("{all} texts in {:.2} s", started.elapsed().as_secs_f64()));
        views.finish()
    }
}

/// What is hidden and shown as one: on each side a text's own spans, or else what was asked for of all texts.
fn features(
    unit: Unit,
    spans: &Spans,
    method: &Method,
    prepared: &Prepared,
    number: usize,
) -> Result<Features, Failure> {
    let own = Features::spans(prepared, &spans.source, &spans.target, number)?;
    if !own.is_empty() && !method.hides_tokens() {
        return Err(hides_nothing("source_spans and target_spans", method));
    }
    if unit == Unit::Tokens {
        return Ok(own);
    }
    let words = Features::words(prepared);
    Ok(Features {
        source: if own.source.is_empty() { words.source } else { own.source },
        target: if own.target.is_empty() { words.target } else { own.target },
    })
}

/// Groups of tokens were asked of a method that has no use for them.
fn hides_nothing(asked: &str, method: &Method) -> Failure {
    let hiding = methods().into_iter().filter(|method| method.hides_tokens).map(|method| method.name);
    Failure::usage(
        format!("{asked}: {} hides no tokens", method.name()),
        format!(
            "take a method that does ({}), or merge the scores of words with --aggregate subwords",
            hiding.collect::<Vec<_>>().join(", ")
        ),
    )
}

/// Attributes one text.
fn answered<B: Backend>(
    loaded: &Loaded<B>,
    question: &Question<B>,
    prepared: &Prepared,
    options: &AttributionOptions<'_>,
    about: About,
) -> Result<Attribution, Failure> {
    let Question { method, function, step_scores, .. } = question;
    let started = Instant::now();
    let texts = core::slice::from_ref(&prepared.text);
    let attributed = attribute(&loaded.model, texts, method, function, step_scores, options)?;
    let attributed = attributed.into_iter().next().ok_or_else(|| Failure::work("no result", "try again"))??;
    let about = About {
        method: method.name().to_owned(),
        attributed_fn: if method.is_of_function() { function.name().to_owned() } else { String::new() },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: options.seed,
        seconds: started.elapsed().as_secs_f64(),
        ..about
    };
    Ok(loaded.preparer().answer(prepared, attributed, about)?)
}

/// Asks about some of the steps only.
fn narrow(prepared: &mut Prepared, from: Option<usize>, to: Option<usize>) -> Result<(), Failure> {
    let all = prepared.target.len();
    let steps = from.unwrap_or(prepared.text.steps.start)..to.unwrap_or(prepared.text.steps.end);
    if steps.start == 0 || steps.start >= steps.end || steps.end > all {
        let what = format!("--from {} --to {}: the target has tokens 1 to {}", steps.start, steps.end, all - 1);
        return Err(Failure::usage(
            what,
            "count tokens from 0, as `stepfn score` does; --to is the first that is left out",
        ));
    }
    if let Some(contrast) = &mut prepared.text.contrast {
        // Pairs are counted from the first step.
        let moved = steps.start as isize - prepared.text.steps.start as isize;
        if moved != 0 {
            contrast.alignment = shifted(contrast, prepared.text.steps.len(), moved, steps.len());
        }
    }
    prepared.text.steps = steps;
    Ok(())
}

/// The alignment of as many steps, counted from another first one.
fn shifted(contrast: &ContrastText, all: usize, moved: isize, steps: usize) -> Alignment {
    let others = contrast.target.len() - contrast.first;
    let partners = contrast.alignment.partners(all, others).unwrap_or_default();
    let pair = |step: usize| {
        let before = usize::try_from(step as isize + moved).ok()?;
        Some((step, (*partners.get(before)?)?))
    };
    Alignment::Pairs((0..steps).filter_map(pair).collect())
}
