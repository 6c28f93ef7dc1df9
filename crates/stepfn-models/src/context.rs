//! Encode, then decode: the one way through a model, with or without an encoder.

use burn::tensor::{ElementConversion, Tensor, backend::Backend};

use crate::tape::StackInput;
use crate::transformer::{Cache, Dropout, Pass, Stack, TokenBatch};
use crate::{Model, ModelError};

/// What a decoder reads besides its own text: the encoder's output, or nothing in a causal model.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// The encoder's output `[texts · source width, hidden]`, and its tokens.
    memory: Option<(Tensor<B, 2>, TokenBatch)>,
}

impl<B: Backend> Context<B> {
    /// The context of `n` copies of the first text, for a [`Cache`] that already has keys and values of the encoder's output for all of them:
    /// the output itself is not copied.
    pub fn repeated(&self, n: usize) -> Self {
        Self { memory: self.memory.as_ref().map(|(hidden, source)| (hidden.clone(), source.repeated(n))) }
    }

    /// Text `i` becomes text `parents[i]`, for a [`Cache`] that has keys and values of the encoder's output for all of them: the output itself is
    /// not copied.
    pub(crate) fn selected(&self, parents: &[usize]) -> Self {
        Self { memory: self.memory.as_ref().map(|(hidden, source)| (hidden.clone(), source.selected(parents))) }
    }

    /// A pass of the decoder in this context.
    pub(crate) fn pass<'a>(&'a self, target: &StackInput<'a, B>, dropout: &'a Dropout) -> Pass<'a, B> {
        let pass = Pass::new(target.batch).from(target.entry).with_dropout(dropout);
        match &self.memory {
            Some((hidden, source)) => pass.with_memory(hidden, source),
            None => pass,
        }
    }
}

impl<B: Backend> Model<B> {
    /// Runs the encoder on its source; a causal model has no encoder, and takes no source.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there is an encoder and no source, or the reverse, and as [`Stack::forward`].
    pub fn encode(&self, source: Option<StackInput<B>>, dropout: &Dropout) -> Result<Context<B>, ModelError> {
        self.encode_by(source, dropout, |encoder, hidden, pass| Ok(encoder.forward(hidden, pass)?.last))
    }

    /// Runs the decoder: its last hidden states. With a cache only the places that are not in it, which are then added to it.
    ///
    /// # Shapes
    /// - result: `[texts · places, hidden]`
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn decode(
        &self,
        context: &Context<B>,
        target: StackInput<B>,
        dropout: &Dropout,
        cache: Option<&mut Cache<B>>,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let pass = Pass { cache, ..context.pass(&target, dropout) };
        Ok(self.decoder().forward(target.hidden, pass)?.last)
    }

    /// [`decode`](Self::decode) of tokens, without dropout: the last hidden states from place `first` on. What several texts begin with runs once, where
    /// places see none after them.
    ///
    /// # Shapes
    /// - result: `[texts · places, hidden]`, with the places from `first` on that are not in the cache
    ///
    /// # Errors
    /// As [`Stack::forward`]; [`ModelError::Input`] if there is no such place.
    pub fn decode_tokens(
        &self,
        context: &Context<B>,
        batch: &TokenBatch,
        cache: Option<&mut Cache<B>>,
        first: usize,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let places = batch.width().saturating_sub(cache.as_ref().map_or(0, |cache| cache.width()));
        let target = StackInput::embedded(batch, self.decoder().embed_last(batch, places));
        let (before, mut cache) = (cache.as_deref().cloned(), cache);
        let pass = Pass { cache: cache.as_deref_mut(), ..context.pass(&target, &Dropout::Off).of_tokens(first) };
        let last = self.decoder().forward(target.hidden.clone(), pass)?.last;
        if !last.clone().contains_nan().into_scalar().elem::<bool>() {
            return Ok(last);
        }
        // What is not a number spreads to all places of its text, as attention multiplies it with 0, and from there to texts that share some: each by itself.
        if let (Some(cache), Some(before)) = (cache.as_deref_mut(), before) {
            *cache = before;
        }
        let pass = Pass { cache, ..context.pass(&target, &Dropout::Off) };
        let last = self.decoder().forward(target.hidden, pass)?.last;
        let ([rows, hidden], texts) = (last.dims(), batch.len());
        let asked = (batch.width() - first).min(places);
        let last = last.reshape([texts, rows / texts, hidden]).slice_dim(1, places - asked..places);
        Ok(last.reshape([texts * asked, hidden]))
    }

    /// [`encode`](Self::encode) by some way through the encoder, which returns its output.
    pub(crate) fn encode_by(
        &self,
        source: Option<StackInput<B>>,
        dropout: &Dropout,
        run: impl FnOnce(&Stack<B>, Tensor<B, 2>, Pass<'_, B>) -> Result<Tensor<B, 2>, ModelError>,
    ) -> Result<Context<B>, ModelError> {
        let memory = match (self.encoder(), source) {
            (Some(encoder), Some(StackInput { batch, hidden, entry })) => {
                let pass = Pass::new(batch).from(entry).with_dropout(dropout);
                Some((run(encoder, hidden, pass)?, batch.clone()))
            }
            (None, None) => None,
            (Some(_), None) => return Err(ModelError::input("a source for the encoder", "none")),
            (None, Some(_)) => return Err(ModelError::input("no source, for the model is causal", "one")),
        };
        Ok(Context { memory })
    }
}
