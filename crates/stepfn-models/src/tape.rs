//! One forward pass of a model, and the way back through it for any number of cotangents at once.
//!
//! Teacher forcing makes all steps of a text rows of one pass. [`Model::record`] runs it and keeps a [`Tape`]; [`Model::pull_back`] takes the
//! derivatives of one number per step with respect to the hidden state that predicts it, and returns those with respect to the input
//! embeddings, for all steps together: every linear layer is one product over all (step, position) pairs.

use std::cell::RefCell;

use burn::tensor::{Tensor, backend::Backend};

use crate::transformer::{
    Dropout, Entry, Inside, Keep, Origin, Pass, Places, Rule, StackTape, TokenBatch, WeightGradients,
};
use crate::{Model, ModelError};

/// What one stack reads.
#[derive(Debug, Clone)]
pub struct StackInput<'a, B: Backend> {
    /// The tokens; their ids matter only where embeddings are looked up.
    pub batch: &'a TokenBatch,
    /// Embeddings, `[texts · width, embedding]`, or what enters a block.
    pub hidden: Tensor<B, 2>,
    /// Which of the two.
    pub entry: Entry,
}

impl<'a, B: Backend> StackInput<'a, B> {
    /// Embeddings of a batch.
    pub fn embedded(batch: &'a TokenBatch, embeddings: Tensor<B, 2>) -> Self {
        Self { batch, hidden: embeddings, entry: Entry::Embeddings }
    }
}

/// What a model reads.
#[derive(Debug, Clone)]
pub struct ModelInput<'a, B: Backend> {
    /// The encoder's, of an encoder–decoder.
    pub source: Option<StackInput<'a, B>>,
    /// The decoder's.
    pub target: StackInput<'a, B>,
    /// Whether neurons are dropped.
    pub dropout: &'a Dropout,
}

/// What a pass leaves behind.
#[derive(Debug, Clone)]
pub struct Tape<B: Backend> {
    encoder: Option<StackTape<B>>,
    decoder: StackTape<B>,
    hidden: Tensor<B, 2>,
}

impl<B: Backend> Tape<B> {
    /// The decoder's last hidden states, `[texts · width, hidden]`.
    pub fn hidden(&self) -> &Tensor<B, 2> {
        &self.hidden
    }

    /// What a pass over the first `places` of each target would have left behind. Cotangents of steps that see no others cost less there.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn first(&self, places: usize) -> Self {
        let first = self.decoder.places(places);
        Self { encoder: self.encoder.clone(), decoder: self.decoder.first(&first), hidden: first.of(&self.hidden) }
    }

    /// The decoder's residual stream before a block, or behind the last one, `[texts · width, hidden]`.
    ///
    /// # Panics
    /// If the pass began behind it.
    pub fn residual(&self, layer: usize) -> Tensor<B, 2> {
        self.decoder.residual(layer)
    }

    /// The encoder's, where there is one.
    ///
    /// # Panics
    /// If the pass began behind it.
    pub fn encoder_residual(&self, layer: usize) -> Option<Tensor<B, 2>> {
        Some(self.encoder.as_ref()?.residual(layer))
    }
}

/// Derivatives with respect to what a model read.
#[derive(Debug, Clone)]
pub struct InputGradients<B: Backend> {
    /// With respect to what the encoder read, `[texts · cotangents · source width, size]`.
    pub source: Option<Tensor<B, 2>>,
    /// With respect to what the decoder read, `[texts · cotangents · width, size]`.
    pub target: Tensor<B, 2>,
}

impl<B: Backend> Model<B> {
    /// The decoder's last hidden states, `[texts · width, hidden]`.
    ///
    /// # Errors
    /// As [`Stack::forward`](crate::transformer::Stack::forward), and if there is a source and no encoder, or the reverse.
    pub fn hidden(&self, input: ModelInput<B>) -> Result<Tensor<B, 2>, ModelError> {
        let ModelInput { source, target, dropout } = input;
        let pass = |input: &StackInput<'_, B>| input.entry;
        let memory = match (self.encoder(), source) {
            (Some(encoder), Some(source)) => {
                let entry = pass(&source);
                let through = Pass::new(source.batch).from(entry).with_dropout(dropout);
                Some((encoder.forward(source.hidden, through)?.last, source.batch))
            }
            (None, None) => None,
            (encoder, _) => return Err(mismatch(encoder.is_some())),
        };
        let mut through = Pass::new(target.batch).from(target.entry).with_dropout(dropout);
        if let Some((hidden, source)) = &memory {
            through = through.with_memory(hidden, source);
        }
        Ok(self.decoder().forward(target.hidden, through)?.last)
    }

    /// Runs the model without dropout and shows the inside of each block on the way, the encoder's first; the decoder's last hidden states,
    /// `[texts · width, hidden]`, are the result.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn look_inside(
        &self,
        input: ModelInput<B>,
        each: &mut dyn FnMut(Inside<'_, B>),
    ) -> Result<Tensor<B, 2>, ModelError> {
        let ModelInput { source, target, .. } = input;
        let memory = match (self.encoder(), source) {
            (Some(encoder), Some(source)) => {
                let through = Pass::new(source.batch).from(source.entry);
                Some((encoder.look_inside(source.hidden, through, each)?, source.batch))
            }
            (None, None) => None,
            (encoder, _) => return Err(mismatch(encoder.is_some())),
        };
        let mut through = Pass::new(target.batch).from(target.entry);
        if let Some((hidden, source)) = &memory {
            through = through.with_memory(hidden, source);
        }
        self.decoder().look_inside(target.hidden, through, each)
    }

    /// Runs the model and keeps what [`pull_back`](Self::pull_back) needs.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn record(&self, input: ModelInput<B>, keep: Keep) -> Result<Tape<B>, ModelError> {
        let ModelInput { source, target, dropout } = input;
        let encoded = match (self.encoder(), source) {
            (Some(encoder), Some(source)) => {
                let through = Pass::new(source.batch).from(source.entry).with_dropout(dropout);
                let (hidden, tape) = encoder.record(source.hidden, through, keep)?;
                Some((hidden, source.batch, tape))
            }
            (None, None) => None,
            (encoder, _) => return Err(mismatch(encoder.is_some())),
        };
        let mut through = Pass::new(target.batch).from(target.entry).with_dropout(dropout);
        if let Some((hidden, source, _)) = &encoded {
            through = through.with_memory(hidden, source);
        }
        let (hidden, decoder) = self.decoder().record(target.hidden, through, keep)?;
        Ok(Tape { encoder: encoded.map(|(_, _, tape)| tape), decoder, hidden })
    }

    /// Pulls cotangents back from the last hidden states at `places`, one each, to what the model read. Under [`Rule::DeepLift`] the baseline's
    /// tape has as many texts and places.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents, hidden]`, the cotangents at the same places in all texts
    ///
    /// # Panics
    /// If shapes don't fit the tape.
    pub fn pull_back(
        &self,
        tape: &Tape<B>,
        rule: Rule<&Tape<B>>,
        grad: Tensor<B, 2>,
        starts: &Starts,
    ) -> Result<InputGradients<B>, ModelError> {
        let places = &starts.0[..];
        let decoder = rule.map(|tape| &tape.decoder);
        let (target, memory) = self.decoder().pull_back(&tape.decoder, decoder, grad, Origin::Places(places));
        let source = self.encoder().zip(tape.encoder.as_ref()).zip(memory).map(|((encoder, encoder_tape), grad)| {
            // A baseline of the same model has an encoder's tape too.
            let rule = rule.map(|tape| tape.encoder.as_ref().unwrap_or(encoder_tape));
            encoder.pull_back(encoder_tape, rule, grad, Origin::Everywhere { cotangents: places.len() }).0
        });
        Ok(InputGradients { source, target })
    }

    /// Pulls cotangents back from the last hidden states at `places` through the decoder by the gradient, and shows them at each of its
    /// attentions, from the last block to the first.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents, hidden]`, the cotangents at the same places in all texts
    ///
    /// # Panics
    /// If shapes don't fit the tape.
    pub fn weight_gradients(
        &self,
        tape: &Tape<B>,
        grad: Tensor<B, 2>,
        starts: &Starts,
        each: &mut dyn FnMut(WeightGradients<'_, B>),
    ) -> Result<(), ModelError> {
        let places = &starts.0[..];
        let each = RefCell::new(each);
        let watch = |gradients: WeightGradients<'_, B>| (each.borrow_mut())(gradients);
        let origin = Origin::Places(places);
        self.decoder().pull_back_watched(&tape.decoder, Rule::Gradient, grad, origin, Some(&watch));
        Ok(())
    }
}

fn mismatch(has_encoder: bool) -> ModelError {
    let (expected, found) = match has_encoder {
        true => ("a source for the encoder", "none"),
        false => ("no source, for the model is causal", "one"),
    };
    ModelError::Input { text: 0, expected: expected.to_owned(), found: found.to_owned() }
}

/// What the encoder said of the sources; nothing for a causal model.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    memory: Option<(Tensor<B, 2>, TokenBatch)>,
}

impl<B: Backend> Context<B> {
    /// copies
    pub fn repeated(&self, times: usize) -> Self {
        Self { memory: self.memory.as_ref().map(|(hidden, batch)| (hidden.clone(), batch.repeated(times))) }
    }
}

/// Where cotangents start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starts(Vec<usize>);

impl Starts {
    /// one place each
    pub fn one_each(places: &[usize]) -> Self {
        Self(places.to_vec())
    }
}

impl<B: Backend> Model<B> {
    /// encode
    pub fn encode(&self, source: Option<StackInput<'_, B>>, dropout: &Dropout) -> Result<Context<B>, ModelError> {
        let memory = match (self.encoder(), source) {
            (Some(encoder), Some(source)) => {
                let through = Pass::new(source.batch).from(source.entry).with_dropout(dropout);
                Some((encoder.forward(source.hidden, through)?.last, source.batch.clone()))
            }
            (None, None) => None,
            (encoder, _) => return Err(mismatch(encoder.is_some())),
        };
        Ok(Context { memory })
    }

    /// decode
    pub fn decode(
        &self,
        context: &Context<B>,
        target: StackInput<'_, B>,
        dropout: &Dropout,
        cache: Option<&mut crate::transformer::Cache<B>>,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let mut through = Pass::new(target.batch).from(target.entry).with_dropout(dropout);
        if let Some((hidden, source)) = &context.memory {
            through = through.with_memory(hidden, source);
        }
        Ok(self.decoder().forward(target.hidden, Pass { cache, ..through })?.last)
    }
}
