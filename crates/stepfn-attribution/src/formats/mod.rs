//! Files that an [`Attribution`] is written to and read from.
//!
//! | module | format | read | written |
//! |---|---|---|---|
//! | [`json`] | our own JSON, JSON Lines | yes | yes |
//! | [`inseq`] | what Python's `inseq.FeatureAttributionOutput` loads and saves | yes | yes |
//! | [`csv`] | one line per number | | yes |

pub mod csv;
pub mod inseq;
pub mod json;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Attribution, AttributionError};

pub use json::Failed;

/// Reads a file of any readable format: our JSON, JSON Lines, or inseq's. Of a text that failed it says why.
///
/// # Errors
/// [`AttributionError::Format`] with what is wrong, and where.
pub fn read(text: &str) -> Result<Vec<Result<Attribution, Failed>>, AttributionError> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "__instance_type__")]
        _instance_type: IgnoredAny,
    }
    // A list of one element would pass for an object of one field.
    let is_object = text.trim_start().starts_with('{');
    match is_object && serde_json::from_str::<Probe>(text).is_ok() {
        true => Ok(inseq::read(text)?.into_iter().map(Ok).collect()),
        false => json::read(text),
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Outputs made by hand.

    use core::ops::Range;

    use proptest::prelude::*;
    use stepfn_models::tokenizer::Token;

    use crate::{Attribution, Axis, Provenance, Scores};

    pub(crate) fn token(id: u32, surface: &str, span: Range<usize>, special: bool) -> Token {
        Token { id, surface: surface.to_owned(), span, special }
    }

    /// "Hi there" → "Hallo du", both sides, two step scores.
    pub(crate) fn translation() -> Attribution {
        let source = vec![token(7, "Hi", 0..2, false), token(8, " there", 2..8, false), token(1, "</s>", 8..8, true)];
        let target = vec![
            token(0, "<pad>", 0..0, true),
            token(20, "Hallo", 0..5, false),
            token(21, " \"du\"", 5..10, false),
            token(1, "</s>", 10..10, true),
        ];
        let nan = f32::NAN;
        let mut attribution = Attribution::new(source, target, 1..4);
        attribution.source_scores =
            Scores::per_token(3, 3, vec![0.5, -0.25, 0.0, 0.125, 0.75, 0.1, 0.2, 0.1, 0.3]).ok();
        attribution.target_scores =
            Scores::per_token(4, 3, vec![0.1, 0.2, 0.3, nan, 0.4, 0.5, nan, nan, 0.6, nan, nan, nan]).ok();
        attribution.step_scores.insert("probability".to_owned(), vec![0.75, 0.5, nan]);
        attribution.deltas = Some(vec![0.0, 0.01, -0.02]);
        attribution.about = Provenance {
            method: "integrated_gradients".to_owned(),
            attributed_fn: "probability".to_owned(),
            parameters: serde_json::json!({"n_steps": 20, "attributed_fn": {"logprob": true}})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            model: "opus-mt-en-de".to_owned(),
            family: "marian".to_owned(),
            version: "0.1.0".to_owned(),
            seconds: 0.5,
            ..Provenance::default()
        };
        attribution
    }

    /// A causal text of four tokens, two of them steps; raw, with hidden units.
    pub(crate) fn causal() -> Attribution {
        let target = vec![
            token(5, "The", 0..3, false),
            token(6, " ma", 3..6, false),
            token(7, "nager", 6..11, false),
            token(8, " said", 11..16, false),
        ];
        let mut attribution = Attribution::new(Vec::new(), target, 2..4);
        attribution.target_scores = Some(Scores::filled(4, 2, &[(Axis::Hidden, 3)], |token, step, unit| {
            if token < step + 2 { token as f32 - unit as f32 * 0.5 + step as f32 } else { f32::NAN }
        }));
        attribution
    }

    /// Outputs of any size with any numbers in them.
    pub(crate) fn any_output() -> impl Strategy<Value = Attribution> {
        let finite = || any::<f32>().prop_filter("finite", |value| value.is_finite());
        let value = move || prop_oneof![6 => -1e3f32..1e3, 1 => Just(f32::NAN), 1 => finite()];
        let surfaces = |n| prop::collection::vec((".{0,6}", any::<u32>(), any::<bool>()), n);
        (0usize..4, 1usize..5, prop::option::of(1usize..3), any::<u64>())
            .prop_flat_map(move |(source, target, hidden, seed)| {
                let depth = hidden.unwrap_or(1);
                let steps = target - 1;
                (
                    (surfaces(source), surfaces(target), Just((hidden, seed)), 0u32..1000),
                    prop::collection::vec(value(), source * steps * depth),
                    prop::collection::vec(value(), target * steps * depth),
                    prop::collection::btree_map("[a-z_]{1,8}", prop::collection::vec(value(), steps), 0..3),
                    prop::option::of(prop::collection::vec(value(), steps)),
                )
            })
            .prop_map(
                |((source, target, (hidden, seed), seconds), source_values, target_values, step_scores, deltas)| {
                    let tokens = |tokens: Vec<(String, u32, bool)>| -> Vec<Token> {
                        (tokens.into_iter().enumerate())
                            .map(|(at, (surface, id, special))| token(id, &surface, at..at + 1, special))
                            .collect()
                    };
                    let axes: Vec<(Axis, usize)> = hidden.map(|size| (Axis::Hidden, size)).into_iter().collect();
                    let depth = hidden.unwrap_or(1);
                    let steps = target.len() - 1;
                    let scores = |tokens: usize, values: Vec<f32>| {
                        Scores::filled(tokens, steps, &axes, |token, step, unit| {
                            values[(token * steps + step) * depth + unit]
                        })
                    };
                    let (rows, target_rows) = (source.len(), target.len());
                    let mut attribution = Attribution::new(tokens(source), tokens(target), 1..target_rows);
                    attribution.source_scores = (rows > 0).then(|| scores(rows, source_values));
                    attribution.target_scores = Some(scores(target_rows, target_values));
                    attribution.step_scores = step_scores;
                    attribution.deltas = deltas;
                    attribution.about.seed = seed;
                    attribution.about.seconds = f64::from(seconds) / 8.0;
                    attribution
                },
            )
    }

    /// Equal, where NaN equals NaN.
    pub(crate) fn same(one: &Attribution, other: &Attribution) -> bool {
        let column = |one: &[f32], other: &[f32]| {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
        };
        let scores = |one: &Option<Scores>, other: &Option<Scores>| match (one, other) {
            (Some(one), Some(other)) => {
                one.axes() == other.axes() && one.shape() == other.shape() && column(one.values(), other.values())
            }
            (one, other) => one.is_none() && other.is_none(),
        };
        let without = |of: &Attribution| Attribution {
            source_scores: None,
            target_scores: None,
            step_scores: Default::default(),
            deltas: None,
            ..of.clone()
        };
        scores(&one.source_scores, &other.source_scores)
            && scores(&one.target_scores, &other.target_scores)
            && one.step_scores.keys().eq(other.step_scores.keys())
            && one.step_scores.values().zip(other.step_scores.values()).all(|(one, other)| column(one, other))
            && column(one.deltas.as_deref().unwrap_or(&[]), other.deltas.as_deref().unwrap_or(&[]))
            && one.deltas.is_some() == other.deltas.is_some()
            && without(one) == without(other)
    }
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use super::*;

    #[test]
    fn the_format_is_recognized() {
        let sample = samples::translation();
        let ours = json::write(from_ref(&sample));
        // A list of one, as a run over a file with one line writes it.
        for text in [ours.clone(), format!("[\n{ours}\n]\n")] {
            assert!(samples::same(read(&text).unwrap()[0].as_ref().unwrap(), &sample));
        }
        let theirs = inseq::write(&[sample]).unwrap();
        assert_eq!(read(&theirs).unwrap()[0].as_ref().unwrap().about.method, "integrated_gradients");
    }
}
