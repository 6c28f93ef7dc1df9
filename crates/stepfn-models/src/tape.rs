//! One forward pass of a model, and the way back through it for any number of cotangents at once.
//!
//! Teacher forcing makes all steps of a text rows of one pass. [`Model::record`] runs it and keeps a [`Tape`]. [`Model::pull_back`] takes the
//! derivatives of one number per step, or per span of steps, with respect to the hidden states that predict it, and returns those with
//! respect to the input embeddings. It does so for all steps together: every linear layer is one product over all (step, place) pairs.

use std::cell::RefCell;

use burn::tensor::{Tensor, backend::Backend};

use crate::transformer::{
    Cache, Dropout, Entry, InRange, Inside, Keep, Pass, Rule, StackTape, Starts, TokenBatch, WeightGradients,
};
use crate::{Context, Model, ModelError};

/// What one stack reads.
#[derive(Debug, Clone)]
pub struct StackInput<'a, B: Backend> {
    /// The tokens; their ids matter only where embeddings are looked up.
    pub batch: &'a TokenBatch,
    /// Embeddings, `[texts · width, embedding]`, or what enters a block.
    pub hidden: Tensor<B, 2>,
    /// Which of the two it is.
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

/// What [`Model::record`] keeps of a pass.
#[derive(Debug, Clone)]
pub struct Tape<B: Backend> {
    encoder: Option<StackTape<B>>,
    context: Context<B>,
    decoder: StackTape<B>,
    hidden: Tensor<B, 2>,
}

impl<B: Backend> Tape<B> {
    /// The decoder's last hidden states, `[texts · width, hidden]`.
    pub fn hidden(&self) -> &Tensor<B, 2> {
        &self.hidden
    }

    /// What the decoder read besides its own text.
    pub fn context(&self) -> &Context<B> {
        &self.context
    }

    /// The tape of a pass over the first `places` of each target. Cotangents of steps that see no others cost less there. Only for models whose
    /// places see none after them.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn first(&self, places: usize) -> Self {
        let hidden = self.decoder.places(places).of(&self.hidden);
        let (encoder, context) = (self.encoder.clone(), self.context.clone());
        Self { encoder, context, decoder: self.decoder.first(places), hidden }
    }

    /// Cotangents that start at some places, in the range of the model's numbers.
    fn in_range(&self, grad: Tensor<B, 2>, starts: &Starts) -> InRange<B> {
        let texts = grad.dims()[0] / starts.rows().max(1);
        let rows = (0..texts).flat_map(|_| starts.places().iter().map(Vec::len));
        InRange::of(grad, self.hidden.dtype(), rows)
    }

    /// The decoder's residual stream before a block, or after the last one, `[texts · width, hidden]`.
    ///
    /// # Panics
    /// If the pass started after it.
    pub fn residual(&self, layer: usize) -> Tensor<B, 2> {
        self.decoder.residual(layer)
    }

    /// The encoder's, where there is one.
    ///
    /// # Panics
    /// If the pass started after it.
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
    /// As [`encode`](Self::encode) and [`decode`](Self::decode).
    pub fn hidden(&self, input: ModelInput<B>) -> Result<Tensor<B, 2>, ModelError> {
        let ModelInput { source, target, dropout } = input;
        self.decode(&self.encode(source, dropout)?, target, dropout, None)
    }

    /// Runs the model without dropout and shows the inside of each block on the way, the encoder's first. The decoder's last hidden states,
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
        let dropout = &Dropout::Off;
        let context =
            self.encode_by(source, dropout, |encoder, hidden, pass| encoder.look_inside(hidden, pass, each))?;
        let pass = context.pass(&target, dropout);
        self.decoder().look_inside(target.hidden, pass, each)
    }

    /// Runs the model and keeps what [`pull_back`](Self::pull_back) needs. With an empty cache also the decoder's keys and values.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn record(
        &self,
        input: ModelInput<B>,
        keep: Keep,
        cache: Option<&mut Cache<B>>,
    ) -> Result<Tape<B>, ModelError> {
        let ModelInput { source, target, dropout } = input;
        let mut encoder_tape = None;
        let context = self.encode_by(source, dropout, |encoder, hidden, pass| {
            let (last, tape) = encoder.record(hidden, pass, keep)?;
            encoder_tape = Some(tape);
            Ok(last)
        })?;
        let pass = Pass { cache, ..context.pass(&target, dropout) };
        let (hidden, decoder) = self.decoder().record(target.hidden, pass, keep)?;
        Ok(Tape { encoder: encoder_tape, context, decoder, hidden })
    }

    /// Pulls cotangents back from where they start in the last hidden states to what the model read. They may be in single precision where the
    /// model is in half precision, and the results are. Under [`Rule::DeepLift`] the baseline's
    /// tape has as many texts and places.
    ///
    /// # Shapes
    /// - `grad`: `[texts · rows, hidden]`, one row for each place of each cotangent, in the order of `starts`, the same in all texts
    ///
    /// # Errors
    /// [`ModelError::NoRule`] if a part of the model has no such rule; [`ModelError::Overflow`] if half precision is too short.
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
        let decoder_rule = rule.map(|tape| &tape.decoder);
        let (grad, inverse) = tape.in_range(grad, starts).split();
        let grad = tape.decoder.start(grad, starts);
        let to = self.decoder().pull_back(&tape.decoder, decoder_rule, grad, None)?;
        let source = match (self.encoder(), &tape.encoder, to.memory) {
            (Some(encoder), Some(encoder_tape), Some(grad)) => {
                // A baseline of the same model has an encoder's tape too.
                let rule = rule.map(|tape| tape.encoder.as_ref().unwrap_or(encoder_tape));
                Some(inverse.restored(encoder.pull_back(encoder_tape, rule, grad, None)?.x.everywhere().0)?)
            }
            _ => None,
        };
        Ok(InputGradients { source, target: inverse.restored(to.x.everywhere().0)? })
    }

    /// Pulls cotangents back through the decoder by the gradient, and shows them at each of its attentions, from the last block to the first.
    ///
    /// # Shapes
    /// - `grad`: as in [`pull_back`](Self::pull_back)
    ///
    /// # Errors
    /// As [`pull_back`](Self::pull_back).
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
        let each = RefCell::new(each);
        let (grad, inverse) = tape.in_range(grad, starts).split();
        let show = |gradients: WeightGradients<'_, B>| (each.borrow_mut())(gradients.with_inverse(&inverse));
        let grad = tape.decoder.start(grad, starts);
        self.decoder().pull_back(&tape.decoder, Rule::Gradient, grad, Some(&show))?;
        Ok(())
    }
}
