//! A language model: stacks and a head, loaded from a checkpoint.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Tensor, backend::Backend};
use serde_json::Value;
use stepfn_kernels::weight::Weight;

use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::config::{HeadConfig, TransformerConfig};
use crate::families;
use crate::json::shortened;
use crate::parameters::Parameters;
use crate::source::{Outline, TensorSource, Tensors};
use crate::transformer::{Forward, Gradients, Head, InRange, Part, Rule, Saved, Stack};

/// A transformer language model: causal, an encoder–decoder, or one of masked tokens.
#[derive(Debug)]
pub struct Model<B: Backend> {
    config: TransformerConfig,
    encoder: Option<Stack<B>>,
    decoder: Stack<B>,
    head: Head<B>,
}

impl<B: Backend> Model<B> {
    /// Loads a checkpoint folder, or a GGUF file, its parameters in `dtype`: f32, f16, bf16 or f64, as the backend has them.
    /// `I8` means f32, but for weights of linear layers and embeddings, which are rounded to 8 bits ([`Weight::in_int8`]).
    ///
    /// Weight files are memory-mapped. On the CPU, in f32, weights in blocks of GGUF stay there, and products expand a tile at a time; weights
    /// in half precision stay in half precision, in memory if they are laid out for products. So files must not be changed or truncated while the model exists.
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

    /// Loads an open checkpoint for its hidden states. An encoder that was saved without the head that predicts masked tokens (LaBSE, and other encoders of
    /// sentences) will do; its logits then mean nothing.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for a missing head.
    pub fn for_states(checkpoint: &Checkpoint, dtype: DType, device: &B::Device) -> Result<Self, ModelError> {
        Self::built(checkpoint.config(), checkpoint, (dtype, device), true)
    }

    /// Builds a model of tensors in memory, by the names that the family's checkpoints have. The model shares them, unless it lays weights
    /// out for products: on a backend with automatic differentiation, gradients of what it computes are gradients of these tensors.
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
        Self::built(config_json, source, (dtype, device), false)
    }

    /// Builds a model, which may lack its head if only hidden states are wanted.
    fn built(
        config_json: &Value,
        source: &dyn TensorSource<B>,
        (dtype, device): (DType, &B::Device),
        for_states: bool,
    ) -> Result<Self, ModelError> {
        if dtype == DType::I8 && !Weight::<B>::has_int8() {
            let expected = "a type that this backend and this machine compute with";
            return Err(ModelError::input(expected, "8 bits, for which they have no instructions"));
        }
        let family = families::of(config_json)?;
        let mut config = family.configure(config_json)?;
        let experts = config.decoder.experts.as_ref().map_or(0, |experts| experts.count);
        let mut parameters =
            Parameters::new(source, family, family.names(&config), dtype, device).with_experts(experts);
        if for_states && config.head.transform.is_some() && !parameters.has("head.transform.weight") {
            // The embeddings stand in for it.
            config.head = HeadConfig { transform: None, tied: true, bias: false, ..config.head };
            parameters = Parameters::new(source, family, family.names(&config), dtype, device).with_experts(experts);
        }
        let encoder = match &config.encoder {
            Some(stack) => Some(Stack::load(
                &parameters,
                "encoder",
                [config.source_vocab_size(), config.hidden_size],
                stack,
                false,
            )?),
            None => None,
        };
        let decoder = Stack::load(
            &parameters,
            "decoder",
            [config.vocab_size, config.hidden_size],
            &config.decoder,
            encoder.is_some(),
        )?;
        if config.head.transform.is_some() && !parameters.has("head.transform.weight") {
            // Training for another task, or saving the encoder alone, loses the head.
            let expected =
                "a model that predicts masked tokens (…ForMaskedLM), with the weights of its head; this one has none";
            let found = config_json.get("architectures").map_or_else(|| "nothing".to_owned(), shortened);
            return Err(ModelError::config("architectures", expected, found));
        }
        let width = config.decoder.embedding_size.unwrap_or(config.hidden_size);
        let head = Head::load(&parameters, [config.hidden_size, width, config.vocab_size], &config.head)?;
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

    /// The decoder, or the only stack.
    pub fn decoder(&self) -> &Stack<B> {
        &self.decoder
    }

    /// Logits from the decoder's last hidden states. Vocabularies are large: take only the rows that you need.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]` (`[rows, embedding]` where embeddings have a width of their own and hidden states are projected to it)
    /// - result: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        self.head.forward(hidden, &())
    }

    /// Pulls cotangents of [`logits`](Self::logits) back to the hidden states. They may be in single precision where the model is in half
    /// precision, and the result is.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`, and the baseline's under [`Rule::DeepLift`]
    /// - `grad`: `[rows, vocab]`
    /// - result: `[rows, hidden]`
    ///
    /// # Errors
    /// [`ModelError::NoRule`] if the head has no such rule; [`ModelError::Overflow`] if half precision is too short.
    pub fn logits_backward(
        &self,
        hidden: &Tensor<B, 2>,
        rule: Rule<&Tensor<B, 2>>,
        grad: Tensor<B, 2>,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let rows = grad.dims()[0];
        let (grad, inverse) = InRange::of(grad, hidden.dtype(), core::iter::repeat_n(1, rows)).split();
        let to_hidden = self.head.backward(Saved::new(hidden, rule), &(), Gradients::of_rows(grad))?;
        inverse.restored(to_hidden.everywhere().0)
    }
}
