//! A model in the middle of writing a text. What it has read and written is in a cache of keys and values, so that each step computes one
//! token per hypothesis.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::context::Context;
use crate::generation::{Decoder, GenerationSettings, Hypothesis, generate};
use crate::tape::StackInput;
use crate::transformer::{Cache, Dropout, PaddingSide, Stack, TokenBatch};
use crate::{Model, ModelError};

/// Hypotheses of one text, all of the same length.
#[derive(Debug)]
pub struct Decoding<'a, B: Backend> {
    model: &'a Model<B>,
    batch: TokenBatch,
    context: Context<B>,
    cache: Cache<B>,
}

impl<'a, B: Backend> Decoding<'a, B> {
    /// Starts after `prompt`: a causal model's text so far, or the start of an encoder–decoder's target. `source` is what the encoder reads.
    ///
    /// # Errors
    /// [`ModelError::Input`] if one of them is empty or has ids outside the vocabulary, and as [`Model::encode`].
    pub fn start(model: &'a Model<B>, source: Option<&[u32]>, prompt: &[u32]) -> Result<Self, ModelError> {
        let encoder = model.encoder().unwrap_or(model.decoder());
        let batch =
            |ids: &[u32], stack: &Stack<B>| TokenBatch::new(vec![ids.to_vec()], stack.vocab_size(), PaddingSide::Left);
        let source = source.map(|source| batch(source, encoder)).transpose()?;
        let embed = |batch| StackInput::embedded(batch, encoder.embed(batch));
        let context = model.encode(source.as_ref().map(embed), &Dropout::Off)?;
        Ok(Self { model, batch: batch(prompt, model.decoder())?, context, cache: model.decoder().cache() })
    }
}

impl<B: Backend> Decoder for Decoding<'_, B> {
    fn logits(&mut self) -> Result<Vec<Vec<f32>>, ModelError> {
        let places = self.batch.width() - self.cache.width();
        let embeddings = self.model.decoder().embed_last(&self.batch, places);
        let target = StackInput::embedded(&self.batch, embeddings);
        let last = self.model.decode(&self.context, target, &Dropout::Off, Some(&mut self.cache))?;
        let [rows, hidden] = last.dims();
        let texts = rows / places;
        let last = last.reshape([texts, places, hidden]).slice([0..texts, places - 1..places]);
        let logits = self.model.logits(last.reshape([texts, hidden]));
        let [_, vocab] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        Ok(logits.chunks(vocab).map(<[f32]>::to_vec).collect())
    }

    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<(), ModelError> {
        let indices: Vec<i32> = parents.iter().map(|&parent| parent as i32).collect();
        let device = self.model.decoder().device();
        let indices = Tensor::from_data(TensorData::new(indices, [parents.len()]), &device);
        self.cache.select(&indices);
        self.batch = self.batch.advanced(parents, tokens);
        // Every hypothesis reads the same source, whose keys and values are in the cache by now.
        self.context = self.context.repeated(parents.len());
        Ok(())
    }
}

impl<B: Backend> Model<B> {
    /// Continues `prompt` (causal), or writes a target that starts with `prompt` for a `source` (encoder–decoder): see
    /// [`generation`](crate::generation). A text ends where the model's positions end, as at the greatest length, but without a forced end
    /// token.
    ///
    /// # Errors
    /// As [`Decoding::start`] and [`generate`]; [`ModelError::Input`] of a model of masked tokens, and for a prompt that is itself longer than the model has positions.
    pub fn generate(
        &self,
        source: Option<&[u32]>,
        prompt: &[u32],
        settings: &GenerationSettings,
    ) -> Result<Vec<Hypothesis>, ModelError> {
        settings.validate()?;
        if self.config().is_masked() {
            return Err(ModelError::input("a model that writes", "one that predicts masked tokens in a text"));
        }
        let mut decoding = Decoding::start(self, source, prompt)?;
        let Some(most) = self.config().decoder.most_tokens() else {
            return generate(&mut decoding, prompt, settings);
        };
        if prompt.len() > most {
            let expected = format!("a prompt of at most {most} tokens, as many as the model can read");
            return Err(ModelError::input(expected, prompt.len()));
        }
        // The last token is written and never read.
        generate(&mut decoding, prompt, &settings.within(most + 1 - prompt.len()))
    }
}
