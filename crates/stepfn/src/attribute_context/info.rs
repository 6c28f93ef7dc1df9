//! What was asked, for the record.

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::reliance::RelianceInfo;
use stepfn_core::StepScore;

use super::{Asked, AttributeContextTask};
use crate::{Input, LanguageModel};

impl<B: Backend> AttributeContextTask<B> {
    /// Parameters of the method and of both functions, for the record.
    pub(super) fn parameters(&self, model: &LanguageModel<B>) -> Map<String, Value> {
        let mut parameters = self.method.parameters();
        for function in [&self.metric, &self.function] {
            if !function.parameters().is_empty() {
                parameters.insert(function.name().to_owned(), function.parameters().into());
            }
        }
        parameters.extend(self.options.parameters(model.config()));
        parameters
    }

    /// Everything that was asked.
    pub(super) fn info(
        &self,
        model: &LanguageModel<B>,
        asked: &Asked,
        input: &Input,
        cti_threshold: f64,
    ) -> RelianceInfo {
        RelianceInfo {
            model_name_or_path: model.name().to_owned(),
            attribution_method: self.method.name().to_owned(),
            attribution_kwargs: self.method.parameters(),
            attributed_fn: self.method.is_of_function().then(|| self.function.name().to_owned()),
            attribution_aggregators: self
                .aggregate
                .iter()
                .flat_map(|pipeline| &pipeline.0)
                .map(ToString::to_string)
                .collect(),
            context_sensitivity_metric: self.metric.name().to_owned(),
            input_current_text: asked.input_current.clone(),
            input_context_text: asked.input_context.clone(),
            input_template: asked.input_template.clone(),
            output_current_text: asked.output_current.clone(),
            output_context_text: asked.output_context.clone(),
            output_template: asked.output_template.clone(),
            contextless_input_current_text: self.contextless_input.clone(),
            contextless_output_current_text: self.contextless_output.clone(),
            contextless_output_next_tokens: input.contextless_output_next_tokens.clone(),
            handle_output_context_strategy: self.output_context.name().to_owned(),
            special_tokens_to_keep: self.special_tokens_to_keep.clone(),
            decoder_input_output_separator: self.separator.clone(),
            context_sensitivity_std_threshold: self.context_sensitivity.std_threshold,
            context_sensitivity_topk: self.context_sensitivity.topk,
            attribution_std_threshold: self.cues.std_threshold,
            attribution_topk: self.cues.topk,
            cti_threshold,
        }
    }
}
