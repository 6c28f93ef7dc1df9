//! A model in the middle of writing a text: what it has read and written stays in a cache of keys and values, so that each step computes one
//! token per hypothesis.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::generation::{Decoder, GenerationSettings, Hypothesis, generate};
use crate::transformer::{Cache, PaddingSide, Pass, TokenBatch};
use crate::{Model, ModelError};

/// Hypotheses of one text, all of the same length.
#[derive(Debug)]
pub struct Decoding<'a, B: Backend> {
    model: &'a Model<B>,
    batch: TokenBatch,
    memory: Option<(Tensor<B, 2>, TokenBatch)>,
    cache: Cache<B>,
}

impl<'a, B: Backend> Decoding<'a, B> {
    /// Begins after `prompt`: a causal model's text so far, or what an encoder–decoder's target starts with. `source` is what the encoder reads.
    ///
    /// # Errors
    /// [`ModelError::Input`] if one of them is empty or has ids outside the vocabulary, or if there is a source and no encoder, or the reverse.
    pub fn start(model: &'a Model<B>, source: Option<&[u32]>, prompt: &[u32]) -> Result<Self, ModelError> {
        let vocab_size = model.config().vocab_size;
        let batch = |ids: &[u32]| TokenBatch::new(vec![ids.to_vec()], vocab_size, PaddingSide::Left);
        let wrong = |expected: &str, found: &str| ModelError::Input {
            text: 0,
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        let memory = match (model.encoder(), source) {
            (Some(encoder), Some(source)) => {
                let source = batch(source)?;
                let encoded = encoder.forward(encoder.embed(&source), Pass::new(&source))?;
                Some((encoded.last, source))
            }
            (None, None) => None,
            (Some(_), None) => return Err(wrong("a source for the encoder", "none")),
            (None, Some(_)) => return Err(wrong("a prompt alone, for the model is causal", "a source")),
        };
        Ok(Self { model, batch: batch(prompt)?, memory, cache: model.decoder().cache() })
    }
}

impl<B: Backend> Decoder for Decoding<'_, B> {
    fn logits(&mut self) -> Result<Vec<Vec<f32>>, ModelError> {
        let decoder = self.model.decoder();
        let places = self.batch.width() - self.cache.width();
        let embedded = decoder.embed_last(&self.batch, places);
        let mut pass = Pass::new(&self.batch);
        if let Some((hidden, source)) = &self.memory {
            pass = pass.with_memory(hidden, source);
        }
        let output = decoder.forward(embedded, Pass { cache: Some(&mut self.cache), ..pass })?;
        let [rows, hidden] = output.last.dims();
        let texts = rows / places;
        let last = output.last.reshape([texts, places, hidden]).slice([0..texts, places - 1..places]);
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
        if let Some((_, source)) = &mut self.memory {
            // Every hypothesis reads the same source; its keys and values are in the cache by now.
            *source = source.repeated(parents.len());
        }
        Ok(())
    }
}

impl<B: Backend> Model<B> {
    /// Writes on after `prompt` (causal), or a target that starts with `prompt` for a `source` (encoder–decoder): see
    /// [`generation`](crate::generation). Where the model's positions end, so does the text, as at the greatest length, but without a forced
    /// end token.
    ///
    /// # Errors
    /// As [`Decoding::start`] and [`generate`]; [`ModelError::Input`] for a prompt that is itself longer than the model has positions.
    pub fn generate(
        &self,
        source: Option<&[u32]>,
        prompt: &[u32],
        settings: &GenerationSettings,
    ) -> Result<Vec<Hypothesis>, ModelError> {
        settings.validate()?;
        let mut decoding = Decoding::start(self, source, prompt)?;
        let Some(most) = self.config().decoder.positions.most() else {
            return generate(&mut decoding, prompt, settings);
        };
        if prompt.len() > most {
            return Err(ModelError::Input {
                text: 0,
                expected: format!("a prompt of at most {most} tokens, for which the model has positions"),
                found: prompt.len().to_string(),
            });
        }
        // The last token is written and never read.
        generate(&mut decoding, prompt, &settings.within(most + 1 - prompt.len()))
    }
}
