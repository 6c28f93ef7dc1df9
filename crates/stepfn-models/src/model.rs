//! A language model: stacks and a head, loaded from a checkpoint.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Tensor, backend::Backend};
use serde_json::Value;

use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::config::{HeadConfig, TransformerConfig};
use crate::families;
use crate::parameters::Parameters;
use crate::source::{Outline, TensorSource, Tensors};
use crate::transformer::{Linear, Rule, Stack, slope};

/// A transformer language model, causal or encoder–decoder.
#[derive(Debug)]
pub struct Model<B: Backend> {
    config: TransformerConfig,
    encoder: Option<Stack<B>>,
    decoder: Stack<B>,
    head: Linear<B>,
}

impl<B: Backend> Model<B> {
    /// Loads a checkpoint folder, or a GGUF file, its parameters in `dtype` (f32, f16, bf16 or f64, as the backend has them).
    ///
    /// # Errors
    /// If the family or one of its options is not supported, a file is missing or broken, or a tensor is missing, of another shape, or of no use.
    pub fn load(folder: impl AsRef<Path>, dtype: DType, device: &B::Device) -> Result<Self, ModelError> {
        Self::from_checkpoint(&Checkpoint::open(folder)?, dtype, device)
    }

    /// Loads an open checkpoint.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_checkpoint(checkpoint: &Checkpoint, dtype: DType, device: &B::Device) -> Result<Self, ModelError> {
        Self::from_source(checkpoint.config(), checkpoint, dtype, device)
    }

    /// Builds a model of tensors in memory, by the names that the family's checkpoints have. The model shares them: on a backend with automatic
    /// differentiation, gradients of what it computes are gradients of these tensors.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_tensors(config_json: &Value, tensors: &Tensors<B>, device: &B::Device) -> Result<Self, ModelError> {
        Self::from_source(config_json, tensors, DType::F32, device)
    }

    /// Builds a model of what a source has, read in `dtype`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_source(
        config_json: &Value,
        source: &dyn TensorSource<B>,
        dtype: DType,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let family = families::of(config_json)?;
        let config = family.configure(config_json)?;
        let parameters = Parameters::new(source, family, family.names(&config), dtype, device);
        let sizes = [config.vocab_size, config.hidden_size];
        let encoder = match &config.encoder {
            Some(stack) => Some(Stack::load(&parameters, "encoder", sizes, stack, false)?),
            None => None,
        };
        let decoder = Stack::load(&parameters, "decoder", sizes, &config.decoder, encoder.is_some())?;
        let width = config.decoder.embedding_size.unwrap_or(config.hidden_size);
        // Files saved without the head, or before it had a bias, mean zeros.
        let head_bias = config.head.bias && parameters.has("head.bias");
        let head = Linear::load(&parameters, "head", [width, config.vocab_size], head_bias, None)?;
        parameters.check_all_used()?;
        Ok(Self { config, encoder, decoder, head })
    }

    /// Names and shapes of the tensors that a checkpoint of this configuration has. Where a family knows several names for a parameter,
    /// `is_stored` says which of them are used: with tied embeddings, for instance, all but `lm_head.weight`.
    ///
    /// # Errors
    /// If the family or one of its options is not supported, or `is_stored` leaves a parameter without a name.
    pub fn outline(
        config_json: &Value,
        is_stored: impl Fn(&str) -> bool,
        device: &B::Device,
    ) -> Result<BTreeMap<String, Vec<usize>>, ModelError> {
        let outline = Outline { is_stored, shapes: RefCell::default() };
        Self::from_source(config_json, &outline, DType::F32, device)?;
        Ok(outline.shapes.into_inner())
    }

    /// What distinguishes this model.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// The encoder of an encoder–decoder.
    pub fn encoder(&self) -> Option<&Stack<B>> {
        self.encoder.as_ref()
    }

    /// The decoder, or the only stack of a causal model.
    pub fn decoder(&self) -> &Stack<B> {
        &self.decoder
    }

    /// Logits from the decoder's last hidden states; from as few of them as are needed, for vocabularies are large.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]` (`[rows, embedding]` where embeddings have a width of their own)
    /// - result: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let scale = self.config.head.scale;
        let hidden = if scale == 1.0 { hidden } else { hidden.mul_scalar(scale) };
        let logits = self.head.forward(hidden);
        match self.config.head.soft_cap {
            Some(cap) => logits.mul_scalar(cap.recip()).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    /// Pulls cotangents of [`logits`](Self::logits) back to the hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`, and the baseline's under [`Rule::DeepLift`]
    /// - `grad`: `[rows, vocab]`
    /// - result: `[rows, hidden]`
    pub fn logits_backward(
        &self,
        hidden: &Tensor<B, 2>,
        rule: Rule<&Tensor<B, 2>>,
        grad: Tensor<B, 2>,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let HeadConfig { scale, soft_cap, .. } = self.config.head;
        let uncapped = |hidden: &Tensor<B, 2>| self.head.forward(hidden.clone().mul_scalar(scale));
        let grad = match (soft_cap, rule) {
            (None, _) => grad,
            (Some(cap), rule) => {
                let capped = |x: Tensor<B, 2>| x.div_scalar(cap).tanh();
                let derivative = |x: Tensor<B, 2>| capped(x).powi_scalar(2).neg().add_scalar(1);
                let here = uncapped(hidden);
                grad * match rule {
                    Rule::Gradient => derivative(here),
                    Rule::DeepLift { baseline } => {
                        slope(here, uncapped(baseline), |x| capped(x).mul_scalar(cap), derivative)
                    }
                    // Relevance passes unchanged: the ratio of output and input.
                    Rule::AttnLrp => {
                        let tiny = here.clone().abs().lower_elem(1e-6);
                        let ratio = capped(here.clone()).mul_scalar(cap) / here.mask_fill(tiny.clone(), 1.0);
                        ratio.mask_fill(tiny, 1.0)
                    }
                }
            }
        };
        let grad = self.head.backward(grad);
        Ok(if scale == 1.0 { grad } else { grad.mul_scalar(scale) })
    }
}
