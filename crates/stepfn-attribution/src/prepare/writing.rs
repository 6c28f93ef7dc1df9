//! What the model writes, for several texts together.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::tensor::backend::Backend;
use stepfn_kernels::is_host;
use stepfn_models::Opening;
use stepfn_models::generation::{GenerationSettings, Hypothesis};

use super::{Generated, Prepared, Preparer, Request, ids, known, masked, wrong};
use crate::AttributionError;
use crate::budget::{Budget, Lengths};

/// What the model reads before it writes: the source of an encoder, if there is one, and what the target starts with.
pub(super) type Read = (Option<Vec<u32>>, Vec<u32>);

/// Writes the best target after what was read.
pub(super) type Write<'a> = &'a dyn Fn(Read) -> Result<Vec<u32>, AttributionError>;

/// Targets that the model wrote for several requests together, by what it read.
#[derive(Debug, Clone, Default)]
pub struct Drafts {
    written: HashMap<Read, Result<Vec<u32>, AttributionError>>,
}

impl<B: Backend> Preparer<'_, B> {
    /// What the model writes for a source or after a prompt, best first. `is_complete` is as in [`Request`].
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a source that is empty or too long, [`AttributionError::Model`] if the tokenizer or the model fails.
    pub fn generate(&self, source: &str, is_complete: bool) -> Result<Vec<Generated>, AttributionError> {
        let read = self.read(source, is_complete)?;
        let (hypotheses, prompt) = (self.write_one(read.clone())?, read.1);
        self.generated(&prompt, hypotheses)
    }

    /// [`generate`](Self::generate) for several sources or prompts together, each with `is_complete`: as many at once as fit into `memory` bytes.
    pub fn generate_all(
        &self,
        sources: &[(&str, bool)],
        memory: usize,
    ) -> Vec<Result<Vec<Generated>, AttributionError>> {
        let all: Vec<Result<Read, AttributionError>> =
            sources.iter().map(|&(source, is_complete)| self.read(source, is_complete)).collect();
        let able: Vec<Read> = all.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
        let mut written = self.write_all(&able, memory).into_iter();
        let result = |read: Result<Read, AttributionError>| {
            let (_, prompt) = read?;
            self.generated(&prompt, written.next().unwrap_or_else(|| wrong("there is no result"))?)
        };
        all.into_iter().map(result).collect()
    }

    /// Targets for those of the requests that have none, written together: as many at once as fit into `memory` bytes.
    pub fn drafts<'r>(&self, requests: impl IntoIterator<Item = &'r Request>, memory: usize) -> Drafts {
        let asked = RefCell::new(Vec::new());
        let ask = |read: Read| {
            asked.borrow_mut().push(read);
            wrong("the target is not written yet")
        };
        for request in requests.into_iter().filter(|request| request.target.is_none()) {
            // Its result comes when it has a target.
            let _ = self.prepare_by(request, &ask);
        }
        let asked = asked.into_inner();
        let written = self.write_all(&asked, memory);
        Drafts { written: asked.into_iter().zip(written.into_iter().map(best)).collect() }
    }

    /// [`prepare`](Self::prepare) with targets that were written before.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_with(&self, request: &Request, drafts: &Drafts) -> Result<Prepared, AttributionError> {
        self.prepare_by(request, &|read| match drafts.written.get(&read) {
            Some(written) => written.clone(),
            None => self.best(read),
        })
    }

    /// The new tokens of the best text.
    pub(super) fn best(&self, read: Read) -> Result<Vec<u32>, AttributionError> {
        best(self.write_one(read))
    }

    /// What the model reads before it writes.
    fn read(&self, source: &str, is_complete: bool) -> Result<Read, AttributionError> {
        match self.model.config() {
            config if config.is_masked() => masked::writes_nothing(),
            config if config.is_encoder_decoder() => {
                Ok((Some(ids(&self.source(source)?)), vec![self.decoder_start()?]))
            }
            _ => Ok((None, self.prompt_to_write_after(source, is_complete)?)),
        }
    }

    /// Hypotheses as text.
    fn generated(&self, prompt: &[u32], hypotheses: Vec<Hypothesis>) -> Result<Vec<Generated>, AttributionError> {
        let tokenizer = self.tokenizers.target();
        let before = tokenizer.decode(&known(tokenizer, prompt), true)?;
        let generated = |hypothesis: Hypothesis| {
            let all = [prompt, &hypothesis.ids].concat();
            let all = tokenizer.decode(&known(tokenizer, &all), true)?;
            Ok(Generated { text: all.strip_prefix(&before).unwrap_or(&all).to_owned(), hypothesis })
        };
        hypotheses.into_iter().map(generated).collect()
    }

    fn write_one(&self, read: Read) -> Result<Vec<Hypothesis>, AttributionError> {
        self.write_all(&[read], 0).pop().unwrap_or_else(|| wrong("there is no result"))
    }

    /// The hypotheses of each text, best first. Texts of like lengths are written together.
    fn write_all(&self, texts: &[Read], memory: usize) -> Vec<Result<Vec<Hypothesis>, AttributionError>> {
        let settings: Vec<Result<GenerationSettings, AttributionError>> =
            texts.iter().map(|read| self.settings_of(read)).collect();
        let able = settings.iter().enumerate().filter_map(|(number, settings)| Some((number, settings.as_ref().ok()?)));
        let mut able: Vec<(usize, &GenerationSettings)> = able.collect();
        able.sort_by_key(|&(number, _)| {
            let (source, prompt) = &texts[number];
            (source.as_ref().map(Vec::len), prompt.len(), number)
        });
        let nothing = |settings: &Result<_, AttributionError>| match settings {
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error.clone()),
        };
        let mut results: Vec<Result<Vec<Hypothesis>, AttributionError>> = settings.iter().map(nothing).collect();
        let budget = Budget::new(self.model.config(), memory, 1, is_host::<B>());
        let most = self.model.config().decoder.positions.most().unwrap_or(usize::MAX);
        let lengths = |&(number, settings): &(usize, &GenerationSettings)| {
            let (source, prompt) = &texts[number];
            let source = source.as_ref().map_or(0, Vec::len);
            let target = prompt.len().saturating_add(settings.max_new_tokens).min(most);
            (Lengths { source, target }, settings.num_beams.max(settings.num_return_sequences))
        };
        let mut rest = able.as_slice();
        while !rest.is_empty() {
            let together = budget.written(rest.iter().map(lengths));
            let (group, after) = rest.split_at(together.clamp(1, rest.len()));
            rest = after;
            let openings: Vec<Opening<'_>> = group
                .iter()
                .map(|&(number, settings)| {
                    let (source, prompt) = &texts[number];
                    Opening { source: source.as_deref(), prompt, settings }
                })
                .collect();
            for (&(number, _), written) in group.iter().zip(self.model.generate_many(&openings)) {
                results[number] = written.map_err(AttributionError::from);
            }
        }
        results
    }

    /// How a text goes on, after checking that it can.
    fn settings_of(&self, (source, prompt): &Read) -> Result<GenerationSettings, AttributionError> {
        if let Some(error) = &self.generation.cannot_write {
            return Err(error.clone());
        }
        self.check_language()?;
        crate::scoring::check_fits(self.model.config(), "", source.as_deref(), prompt, prompt.len())?;
        let mut settings = self.generation.settings.clone();
        if let Some(max_length) = self.generation.max_length {
            settings.max_new_tokens = max_length.saturating_sub(prompt.len()).max(1);
            settings.min_new_tokens = settings.min_new_tokens.min(settings.max_new_tokens);
        }
        Ok(settings)
    }
}

/// The new tokens of the best text.
fn best(written: Result<Vec<Hypothesis>, AttributionError>) -> Result<Vec<u32>, AttributionError> {
    let best = written?.into_iter().next();
    best.map_or_else(|| wrong("the generation settings leave nothing to write"), |best| Ok(best.ids))
}
