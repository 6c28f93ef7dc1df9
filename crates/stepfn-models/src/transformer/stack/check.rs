//! Whether what a pass is given fits together, and fits the stack.

use burn::tensor::backend::Backend;
use stepfn_kernels::dropout::DropRate;

use super::{Entry, Pass, Stack, Trace};
use crate::ModelError;
use crate::transformer::Dropout;

impl<B: Backend> Stack<B> {
    pub(super) fn check(&self, pass: &Pass<'_, B>) -> Result<(), ModelError> {
        self.check_places(pass)?;
        check_tokens(pass)?;
        self.check_memory(pass)?;
        self.check_dropout(pass)
    }

    fn check_places(&self, pass: &Pass<'_, B>) -> Result<(), ModelError> {
        let (batch, entry) = (pass.batch, pass.entry);
        let cached = pass.cache.as_ref().map_or(0, |cache| cache.width());
        if cached >= batch.width() {
            let expected = format!("more tokens than the {cached} in the cache");
            return Err(ModelError::input(expected, batch.width()));
        }
        if entry.layer() > self.blocks.len() {
            return Err(ModelError::input(format!("a layer from 0 to {}", self.blocks.len()), entry.layer()));
        }
        let Some(most) = self.config.most_tokens() else { return Ok(()) };
        match batch.texts().iter().position(|text| text.len() > most) {
            Some(text) => {
                let expected = format!("at most {most} tokens, as many as the model can read");
                Err(ModelError::input(expected, batch.in_text(text, batch.texts()[text].len())))
            }
            None => Ok(()),
        }
    }

    fn check_memory(&self, pass: &Pass<'_, B>) -> Result<(), ModelError> {
        let texts = pass.batch.len();
        let Some((hidden, source)) = pass.memory else {
            return match self.cross {
                true => Err(ModelError::input("an encoder's output for the decoder to read", "none")),
                false => Ok(()),
            };
        };
        if source.len() != texts {
            return Err(ModelError::input(format!("one source for each of the {texts} texts"), source.len()));
        }
        let [rows, _] = hidden.dims();
        let in_cache = pass.cache.as_ref().is_some_and(|cache| cache.has_memory());
        if rows != source.len() * source.width() && !in_cache {
            let expected = format!("an encoder's output, or a cache of it, for each of the {texts} texts");
            return Err(ModelError::input(expected, format!("{rows} rows of {} places", source.width())));
        }
        Ok(())
    }

    fn check_dropout(&self, pass: &Pass<'_, B>) -> Result<(), ModelError> {
        let Dropout::On { passes, rates, .. } = pass.dropout else { return Ok(()) };
        let texts = pass.batch.len();
        if passes.len() != texts {
            return Err(ModelError::input(format!("one noisy pass for each of the {texts} texts"), passes.len()));
        }
        let rates = rates.unwrap_or(self.config.dropout);
        match rates.rates().find(|&rate| DropRate::new(rate).is_none()) {
            Some(rate) => Err(ModelError::input("dropout rates in [0, 1)", rate)),
            None => Ok(()),
        }
    }
}

fn check_tokens<B: Backend>(pass: &Pass<'_, B>) -> Result<(), ModelError> {
    let Some(first) = pass.of_tokens else { return Ok(()) };
    let is_plain = pass.entry == Entry::Embeddings && matches!(pass.dropout, Dropout::Off);
    if !is_plain || pass.trace != Trace::default() {
        return Err(ModelError::input("a pass of tokens without dropout or trace", "one that has more"));
    }
    match first < pass.batch.width() {
        true => Ok(()),
        false => {
            let expected = format!("a place below {}, of those that are read", pass.batch.width());
            Err(ModelError::input(expected, first))
        }
    }
}
