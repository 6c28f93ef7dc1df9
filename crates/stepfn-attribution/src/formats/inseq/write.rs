//! Ours as theirs.

use serde_json::{Map, Value, json};
use stepfn_models::tokenizer::Token;

use super::{DELTAS, MODULE, tensor};
use crate::{Attribution, AttributionError, Axis, MERGED, Scores};

/// The text of a file that `inseq.FeatureAttributionOutput.load` reads. What is said about the whole file (`info`) is taken from the
/// first text.
///
/// # Errors
/// [`AttributionError::Format`] if there is no text, or its parts don't fit each other.
pub fn write(attributions: &[Attribution]) -> Result<String, AttributionError> {
    let first = attributions.first().ok_or_else(|| AttributionError::Format {
        what: "output".to_owned(),
        expected: "at least one text".to_owned(),
        found: "none".to_owned(),
    })?;
    // The format has one column for each token of the target.
    let by_token: Vec<Attribution> = attributions.iter().map(Attribution::spans_as_tokens).collect();
    let sequences: Vec<Value> = by_token.iter().map(sequence).collect::<Result<_, _>>()?;
    let file = instance(
        "FeatureAttributionOutput",
        json!({ "info": info(first, &by_token), "sequence_attributions": sequences, "step_attributions": null }),
    );
    Ok(file.to_string())
}

fn instance(class: &str, attributes: Value) -> Value {
    json!({ "__instance_type__": [MODULE, class], "attributes": attributes })
}

fn sequence(attribution: &Attribution) -> Result<Value, AttributionError> {
    attribution.check()?;
    let causal = attribution.source.is_empty();
    let prompt = &attribution.target[..attribution.steps.start];
    let encode = |what: &str, scores: &Option<Scores>| match scores {
        Some(scores) => tensor::encode(what, scores.shape(), scores.values()).map(Value::String),
        None => Ok(Value::Null),
    };
    let deltas = attribution.deltas.iter().map(|deltas| (DELTAS, deltas));
    let mut step_scores = Map::new();
    for (name, values) in attribution.step_scores.iter().map(|(name, values)| (name.as_str(), values)).chain(deltas) {
        step_scores.insert(name.to_owned(), tensor::encode(name, &[values.len()], values)?.into());
    }
    let scores = attribution.source_scores.as_ref().or(attribution.target_scores.as_ref());
    let axes = scores.map_or(&[][..], |scores| &scores.axes()[2..]);
    let class = match axes {
        [] => "CoarseFeatureAttributionSequenceOutput",
        [.., Axis::Hidden] => "GranularFeatureAttributionSequenceOutput",
        _ => "MultiDimensionalFeatureAttributionSequenceOutput",
    };
    Ok(instance(
        class,
        json!({
            "source": tokens(if causal { prompt } else { &attribution.source }),
            "target": tokens(&attribution.target),
            "source_attributions": encode("source_attributions", &attribution.source_scores)?,
            "target_attributions": encode("target_attributions", &attribution.target_scores)?,
            "step_scores": step_scores,
            "sequence_scores": {},
            "attr_pos_start": attribution.steps.start,
            "attr_pos_end": attribution.steps.end,
        }),
    ))
}

fn tokens(tokens: &[Token]) -> Vec<Value> {
    let value = |token: &Token| {
        let id = if token.id == MERGED { -1 } else { i64::from(token.id) };
        json!({
            "__instance_type__": ["inseq.utils.typing", "TokenWithId"],
            "attributes": { "id": id, "token": token.surface.replace(' ', "▁") },
        })
    };
    tokens.iter().map(value).collect()
}

/// What their format has no place for: what its user calls the text, and the user's own fields.
fn own(of: &Attribution) -> Value {
    json!({ "id": of.id, "fields": of.fields, "source_text": of.source_text, "target_text": of.target_text })
}

fn info(first: &Attribution, all: &[Attribution]) -> Value {
    let about = &first.about;
    let causal = first.source.is_empty();
    let text = |tokens: &[Token]| -> String {
        tokens.iter().filter(|token| !token.special).map(|token| token.surface.as_str()).collect()
    };
    // Tokens alone don't say what stands between them.
    let generated = |of: &Attribution| of.target_text.clone().unwrap_or_else(|| text(&of.target));
    let input = |of: &Attribution| match (causal, &of.source_text, &of.target_text) {
        (false, Some(source), _) => source.clone(),
        (true, _, Some(target)) => {
            let end = of.target[..of.steps.start].last().map_or(0, |token| token.span.end);
            target.get(..end).unwrap_or_default().to_owned()
        }
        (true, ..) => text(&of.target[..of.steps.start]),
        (false, ..) => text(&of.source),
    };
    let (functions, arguments): (Map<String, Value>, Map<String, Value>) =
        about.parameters.clone().into_iter().partition(|(name, value)| {
            value.is_object() && (name == "attributed_fn" || first.step_scores.contains_key(name))
        });
    let empty = || Value::Object(Map::new());
    let attributed_fn_args = functions.get("attributed_fn").cloned().unwrap_or_else(empty);
    let step_scores_args: Map<String, Value> =
        functions.into_iter().filter(|(name, _)| name != "attributed_fn").collect();
    json!({
        "attr_pos_start": first.steps.start,
        "attr_pos_end": all.iter().map(|of| of.steps.end).max(),
        "attribute_target": !causal && first.target_scores.is_some(),
        "attributed_fn": about.attributed_fn,
        "attributed_fn_args": attributed_fn_args,
        "attribution_args": arguments,
        "attribution_method": about.method,
        "constrained_decoding": true,
        "exec_time": about.seconds,
        "generated_texts": all.iter().map(generated).collect::<Vec<_>>(),
        "generation_args": {},
        "include_eos_baseline": false,
        "input_texts": all.iter().map(input).collect::<Vec<_>>(),
        "model_class": about.family,
        "model_name": about.model,
        "output_step_attributions": false,
        "step_scores": first.step_scores.keys().collect::<Vec<_>>(),
        "step_scores_args": step_scores_args,
        "stepfn": about,
        "stepfn_texts": all.iter().map(own).collect::<Vec<_>>(),
        "tokenizer_class": "stepfn",
        "tokenizer_name": about.model,
    })
}
