//! A model in the middle of writing texts. What it has read and written is in a cache of keys and values, so that each step computes one
//! token per hypothesis.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};

use crate::context::Context;
use crate::generation::{Decoder, GenerationSettings, Hypothesis, Prompt, generate_many};
use crate::tape::StackInput;
use crate::transformer::{Cache, Dropout, PaddingSide, Stack, TokenBatch};
use crate::{Model, ModelError};

/// What a model writes a text from.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// What the encoder reads; none of a causal model.
    pub source: Option<&'a [u32]>,
    /// A causal model's text so far, or the start of an encoder–decoder's target.
    pub prompt: &'a [u32],
    /// How the text goes on.
    pub settings: &'a GenerationSettings,
}

/// Hypotheses of several texts, padded on the left, so that the next token of all has the same place.
#[derive(Debug)]
pub struct Decoding<'a, B: Backend> {
    model: &'a Model<B>,
    batch: TokenBatch,
    context: Context<B>,
    cache: Cache<B>,
    /// The text of each hypothesis.
    texts: Vec<usize>,
}

impl<'a, B: Backend> Decoding<'a, B> {
    /// Starts after the prompts, with one hypothesis for each text.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there is no text, if a source or a prompt is empty or has ids outside the vocabulary, or if only some of the
    /// texts have a source, and as [`Model::encode`].
    pub fn start(model: &'a Model<B>, openings: &[Opening<'_>]) -> Result<Self, ModelError> {
        let encoder = model.encoder().unwrap_or(model.decoder());
        let batch =
            |texts: Vec<Vec<u32>>, stack: &Stack<B>| TokenBatch::new(texts, stack.vocab_size(), PaddingSide::Left);
        let sources: Vec<Vec<u32>> =
            openings.iter().filter_map(|opening| opening.source).map(<[u32]>::to_vec).collect();
        let prompts: Vec<Vec<u32>> = openings.iter().map(|opening| opening.prompt.to_vec()).collect();
        if !sources.is_empty() && sources.len() < prompts.len() {
            return Err(ModelError::input(
                "a source for every text",
                format!("{} of {}", sources.len(), prompts.len()),
            ));
        }
        let source = if sources.is_empty() { None } else { Some(batch(sources, encoder)?) };
        let embed = |batch| StackInput::embedded(batch, encoder.embed(batch));
        let context = model.encode(source.as_ref().map(embed), &Dropout::Off)?;
        let texts = (0..prompts.len()).collect();
        Ok(Self {
            model,
            batch: batch(prompts, model.decoder())?,
            context,
            cache: model.decoder().cache().growing(),
            texts,
        })
    }
}

impl<B: Backend> Decoder for Decoding<'_, B> {
    fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
        let (width, cache) = (self.batch.width(), &mut self.cache);
        let last = match width - cache.width() {
            1 => {
                let target = StackInput::embedded(&self.batch, self.model.decoder().embed_last(&self.batch, 1));
                self.model.decode(&self.context, target, &Dropout::Off, Some(cache))?
            }
            // Of the prompts, only the last places predict something.
            _ => self.model.decode_tokens(&self.context, &self.batch, Some(cache), width - 1)?,
        };
        let logits = self.model.logits(last).into_data().convert_dtype(DType::F32);
        logits.into_vec().map_err(|error| ModelError::input("logits in single precision", format!("{error:?}")))
    }

    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<(), ModelError> {
        let texts: Vec<usize> = parents.iter().map(|&parent| self.texts[parent]).collect();
        let same_texts = texts == self.texts;
        // Where nothing moves, nothing is copied.
        if !(same_texts && parents.iter().copied().eq(0..parents.len())) {
            let indices: Vec<i32> = parents.iter().map(|&parent| parent as i32).collect();
            let device = self.model.decoder().device();
            let indices = Tensor::from_data(TensorData::new(indices, [parents.len()]), &device);
            match same_texts {
                true => self.cache.select_own(&indices),
                false => self.cache.select(&indices),
            }
        }
        self.batch = self.batch.advanced(parents, tokens);
        if !same_texts {
            // The sources' keys and values are in the cache by now.
            self.context = self.context.selected(parents);
            self.texts = texts;
        }
        Ok(())
    }
}

impl<B: Backend> Model<B> {
    /// Continues `prompt` (causal), or writes a target that starts with `prompt` for a `source` (encoder–decoder): see
    /// [`generation`](crate::generation). A text ends where the model's positions end, as at the greatest length, but without a forced end
    /// token.
    ///
    /// # Errors
    /// As [`Decoding::start`] and [`generate`](crate::generation::generate); [`ModelError::Input`] of a model of masked tokens, and for a prompt
    /// that is itself longer than the model has positions.
    pub fn generate(
        &self,
        source: Option<&[u32]>,
        prompt: &[u32],
        settings: &GenerationSettings,
    ) -> Result<Vec<Hypothesis>, ModelError> {
        let mut found = self.generate_many(&[Opening { source, prompt, settings }]);
        found.pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// [`generate`](Self::generate) for several texts together: each step computes the next token of all that are not done. The hypotheses of a
    /// text are those that it has alone; its error, if it has one, is its own, and only an error of the model is that of all.
    ///
    /// All hypotheses of all texts are in memory, so give it as many texts as fit.
    pub fn generate_many(&self, openings: &[Opening<'_>]) -> Vec<Result<Vec<Hypothesis>, ModelError>> {
        let settings: Vec<Result<GenerationSettings, ModelError>> =
            openings.iter().map(|opening| self.settings_of(opening)).collect();
        let able: Vec<Opening<'_>> = openings
            .iter()
            .zip(&settings)
            .filter_map(|(opening, settings)| Some(Opening { settings: settings.as_ref().ok()?, ..*opening }))
            .collect();
        let mut written = self.write(&able).into_iter();
        let error = || Err(ModelError::input("a result for every text", "none"));
        settings
            .iter()
            .map(|settings| match settings {
                Ok(_) => written.next().unwrap_or_else(error),
                Err(error) => Err(error.clone()),
            })
            .collect()
    }

    /// A text's settings within the model's positions, after checking that it can be written.
    fn settings_of(&self, opening: &Opening<'_>) -> Result<GenerationSettings, ModelError> {
        let &Opening { prompt, settings, .. } = opening;
        settings.validate()?;
        if self.config().is_masked() {
            return Err(ModelError::input("a model that writes", "one that predicts masked tokens in a text"));
        }
        let Some(most) = self.config().decoder.most_tokens() else { return Ok(settings.clone()) };
        if prompt.len() > most {
            let expected = format!("a prompt of at most {most} tokens, as many as the model can read");
            return Err(ModelError::input(expected, prompt.len()));
        }
        // The last token is written and never read.
        Ok(settings.within(most + 1 - prompt.len()))
    }

    /// What is written from openings that were checked.
    fn write(&self, openings: &[Opening<'_>]) -> Vec<Result<Vec<Hypothesis>, ModelError>> {
        if openings.is_empty() {
            return Vec::new();
        }
        let prompts: Vec<Prompt<'_>> =
            openings.iter().map(|opening| Prompt { ids: opening.prompt, settings: opening.settings }).collect();
        let decoding = Decoding::start(self, openings);
        if decoding.as_ref().is_err_and(|error| *error != ModelError::Cancelled) && openings.len() > 1 {
            // One that can't start holds up no other.
            return openings.iter().flat_map(|opening| self.write(core::slice::from_ref(opening))).collect();
        }
        let found = decoding.and_then(|mut decoding| generate_many(&mut decoding, &prompts));
        found.unwrap_or_else(|error| vec![Err(error); openings.len()])
    }
}
