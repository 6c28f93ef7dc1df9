//! Which tokens of an output depend on context, and which tokens of the context they depend on.
//!
//! PECoRe (Sarti et al. 2024, *Quantifying the plausibility of context reliance in neural machine translation*, arXiv 2310.01188) has two steps.
//! The identification of context-sensitive tokens (CTI) compares the predictions with and without context at each token; a [`Selection`] of them
//! is context-sensitive. The imputation of contextual cues (CCI) attributes the prediction of each of these to the tokens of the context.

mod selection;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Provenance;
use crate::number::Number;

pub use selection::Selection;

/// Which tokens of an output depend on context, and on what in it. As JSON it has the fields of inseq's `AttributeContextOutput`, and `id`, `fields`
/// and `about` beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContextReliance {
    /// What its user calls the text.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub id: Value,
    /// Fields of its user's own that travel with the text.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The context of what the model read.
    pub input_context: Option<String>,
    /// Its tokens, which have scores.
    pub input_context_tokens: Option<Vec<String>>,
    /// The context of what the model wrote.
    pub output_context: Option<String>,
    /// Its tokens, which have scores.
    pub output_context_tokens: Option<Vec<String>>,
    /// What the model wrote, or was to write.
    pub output_current: String,
    /// Its tokens.
    pub output_current_tokens: Vec<String>,
    /// How much each of them depends on context, in the unit of the metric; NaN (`null`) where the runs with and without context have different
    /// tokens.
    #[serde(serialize_with = "numbers")]
    pub cti_scores: Vec<f32>,
    /// The tokens that do, the most dependent first.
    pub cci_scores: Vec<Cues>,
    /// Everything that was asked.
    pub info: RelianceInfo,
    /// How it was made.
    pub about: Provenance,
}

/// What one token depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cues {
    /// The number of the token among those of the current output.
    pub cti_idx: usize,
    /// The token.
    pub cti_token: String,
    /// How much it depends on context.
    #[serde(serialize_with = "number")]
    pub cti_score: f32,
    /// The output with context, up to and including the token; of a causal model with its prompt.
    pub contextual_output: String,
    /// The token that the run without context prefers, if it was compared with one.
    pub contrast_token: Option<String>,
    /// The output without context, up to and including that token.
    pub contextless_output: Option<String>,
    /// A score for each token of the input context.
    #[serde(serialize_with = "optional_numbers")]
    pub input_context_scores: Option<Vec<f32>>,
    /// A score for each token of the output context.
    #[serde(serialize_with = "optional_numbers")]
    pub output_context_scores: Option<Vec<f32>>,
}

/// What was asked: texts, templates, functions, method and selections. The names are those of the arguments of inseq's `attribute-context`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RelianceInfo {
    /// The model as its user named it.
    pub model_name_or_path: String,
    /// The method of the second step.
    pub attribution_method: String,
    /// Its parameters.
    pub attribution_kwargs: Map<String, Value>,
    /// The step function that it attributes; `null` for methods that look inside the model instead.
    pub attributed_fn: Option<String>,
    /// The stages that its scores went through.
    pub attribution_aggregators: Vec<String>,
    /// The step function of the first step.
    pub context_sensitivity_metric: String,
    /// What the model reads.
    pub input_current_text: String,
    /// Its context.
    pub input_context_text: Option<String>,
    /// How the two are put together.
    pub input_template: String,
    /// What the model writes.
    pub output_current_text: String,
    /// Its context.
    pub output_context_text: Option<String>,
    /// How the two are put together.
    pub output_template: String,
    /// What the model reads in the run without context.
    pub contextless_input_current_text: String,
    /// What it writes there.
    pub contextless_output_current_text: String,
    /// Tokens that the run without context was made to prefer.
    pub contextless_output_next_tokens: Vec<String>,
    /// How an output context that was not given is told from what follows it.
    pub handle_output_context_strategy: String,
    /// Special tokens that count as text.
    pub special_tokens_to_keep: Vec<String>,
    /// What is between the input and the output of a causal model.
    pub decoder_input_output_separator: String,
    /// The selection of the first step.
    pub context_sensitivity_std_threshold: Option<f64>,
    /// The selection of the first step.
    pub context_sensitivity_topk: Option<usize>,
    /// The selection of what is shown of the second.
    pub attribution_std_threshold: Option<f64>,
    /// The selection of what is shown of the second.
    pub attribution_topk: Option<usize>,
    /// What the scores of the first step had to reach.
    pub cti_threshold: f64,
}

impl RelianceInfo {
    /// The selection of context-sensitive tokens.
    pub fn context_sensitivity(&self) -> Selection {
        Selection { std_threshold: self.context_sensitivity_std_threshold, topk: self.context_sensitivity_topk }
    }

    /// The selection of the cues that are shown.
    pub fn cues(&self) -> Selection {
        Selection { std_threshold: self.attribution_std_threshold, topk: self.attribution_topk }
    }
}

impl Cues {
    /// The scores of both contexts.
    fn all(&self) -> impl Iterator<Item = f32> {
        [&self.input_context_scores, &self.output_context_scores].into_iter().flatten().flatten().copied()
    }

    /// What a score has to reach to be shown. Both contexts have one threshold.
    pub fn threshold(&self, selection: &Selection) -> f64 {
        selection.threshold(&self.all().collect::<Vec<f32>>())
    }

    /// The numbers of the tokens of the input context that are shown, and of the output context; the greatest first.
    pub fn shown(&self, selection: &Selection) -> [Vec<usize>; 2] {
        let threshold = self.threshold(selection);
        [&self.input_context_scores, &self.output_context_scores]
            .map(|scores| scores.as_ref().map_or_else(Vec::new, |scores| selection.above(scores, threshold)))
    }
}

fn number<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

fn numbers<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(values.len()))?;
    values.iter().try_for_each(|&value| list.serialize_element(&Number(value)))?;
    list.end()
}

fn optional_numbers<S: Serializer>(values: &Option<Vec<f32>>, serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        Some(values) => numbers(values, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn cues(input: Option<Vec<f32>>, output: Option<Vec<f32>>) -> Cues {
        Cues {
            cti_idx: 2,
            cti_token: " fine".to_owned(),
            cti_score: 1.5,
            contextual_output: "He was fine".to_owned(),
            contrast_token: None,
            contextless_output: None,
            input_context_scores: input,
            output_context_scores: output,
        }
    }

    #[test]
    fn both_contexts_share_a_threshold() {
        let of_mean = Selection { std_threshold: Some(0.0), topk: None };
        let cues = cues(Some(vec![1.0, 5.0]), Some(vec![3.0, 7.0]));
        assert_eq!(cues.threshold(&of_mean), 4.0);
        assert_eq!(cues.shown(&of_mean), [vec![1], vec![1]]);
        assert_eq!(cues.shown(&Selection { std_threshold: None, topk: Some(1) }), [vec![1], vec![1]]);
    }

    #[test]
    fn numbers_that_are_none_are_null() {
        let json = serde_json::to_value(cues(Some(vec![0.25, f32::NAN]), None)).unwrap();
        assert_eq!(json["input_context_scores"], serde_json::json!([0.25, null]));
        assert_eq!((&json["output_context_scores"], &json["cti_score"]), (&Value::Null, &serde_json::json!(1.5)));
    }
}
