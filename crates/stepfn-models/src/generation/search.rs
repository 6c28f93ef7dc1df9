//! The searches, step by step, and the driver that takes the steps of many texts together.

use rayon::prelude::*;
use stepfn_kernels::row::Normalizer;

use super::{Decoder, GenerationSettings, Hypothesis, Prompt, beam, greedy};
use crate::ModelError;

/// The logits of a text's hypotheses, one row for each.
pub(super) struct Rows<'a> {
    pub(super) logits: &'a mut [f32],
    pub(super) vocab: usize,
}

impl Rows<'_> {
    pub(super) fn row(&self, index: usize) -> &[f32] {
        &self.logits[index * self.vocab..(index + 1) * self.vocab]
    }

    /// What makes log-probabilities of each row, after checking that all logits are numbers. `position` is that of the new token, from 0.
    pub(super) fn normalizers(&self, position: usize) -> Result<Vec<Normalizer>, ModelError> {
        let rows: Vec<&[f32]> = self.logits.chunks(self.vocab.max(1)).collect();
        let normalizers: Option<Vec<Normalizer>> = rows.into_par_iter().map(Normalizer::of).collect();
        normalizers.ok_or(ModelError::NonFinite { position: position + 1 })
    }
}

/// The hypotheses that go on: hypothesis `parents[i]` followed by `tokens[i]`; none if the text is done.
#[derive(Default)]
pub(super) struct Next {
    pub(super) parents: Vec<usize>,
    pub(super) tokens: Vec<u32>,
}

/// How one text is searched for.
pub(super) enum Search<'a> {
    Greedy(greedy::Search<'a>),
    Beam(beam::Search<'a>),
}

impl<'a> Search<'a> {
    fn new(prompt: &[u32], settings: &'a GenerationSettings) -> Result<Self, ModelError> {
        settings.validate()?;
        settings.validate_start(prompt.len())?;
        Ok(match settings.num_beams > 1 {
            true => Self::Beam(beam::Search::new(prompt, settings)),
            false => Self::Greedy(greedy::Search::new(prompt, settings)),
        })
    }

    fn step(&mut self, rows: Rows<'_>) -> Result<Next, ModelError> {
        match self {
            Self::Greedy(search) => search.step(rows),
            Self::Beam(search) => search.step(rows),
        }
    }

    fn finish(self) -> Vec<Hypothesis> {
        match self {
            Self::Greedy(search) => search.finish(),
            Self::Beam(search) => search.finish(),
        }
    }
}

/// A text that is being written, or the error that ended it.
struct Writing<'a> {
    search: Result<Search<'a>, ModelError>,
    /// Its hypotheses in the decoder.
    rows: usize,
}

impl Writing<'_> {
    fn step(&mut self, rows: Rows<'_>) -> Next {
        let next = match &mut self.search {
            Ok(search) if self.rows > 0 => search.step(rows),
            _ => Ok(Next::default()),
        };
        next.unwrap_or_else(|error| {
            self.search = Err(error);
            Next::default()
        })
    }
}

/// [`generate_many`](super::generate_many).
pub(super) fn run(
    decoder: &mut impl Decoder,
    prompts: &[Prompt<'_>],
) -> Result<Vec<Result<Vec<Hypothesis>, ModelError>>, ModelError> {
    drive(decoder, prompts.iter().map(|prompt| Search::new(prompt.ids, prompt.settings)).collect())
}

/// Takes steps until no search asks for another.
pub(super) fn drive(
    decoder: &mut impl Decoder,
    searches: Vec<Result<Search<'_>, ModelError>>,
) -> Result<Vec<Result<Vec<Hypothesis>, ModelError>>, ModelError> {
    let mut texts: Vec<Writing<'_>> = searches.into_iter().map(|search| Writing { search, rows: 1 }).collect();
    while texts.iter().any(|text| text.rows > 0 && text.search.is_ok()) {
        let mut logits = decoder.logits()?;
        let hypotheses: usize = texts.iter().map(|text| text.rows).sum();
        assert!(
            logits.len().is_multiple_of(hypotheses),
            "a decoder must return one row of logits for each of its hypotheses"
        );
        let vocab = logits.len() / hypotheses;
        let mut rest = logits.as_mut_slice();
        let mut steps = Vec::with_capacity(texts.len());
        for text in &mut texts {
            let (own, after) = core::mem::take(&mut rest).split_at_mut(text.rows * vocab);
            rest = after;
            steps.push((text, Rows { logits: own, vocab }));
        }
        let next: Vec<Next> = steps.into_par_iter().map(|(text, rows)| text.step(rows)).collect();
        let (mut parents, mut tokens, mut first) = (Vec::new(), Vec::new(), 0);
        for (text, next) in texts.iter_mut().zip(next) {
            parents.extend(next.parents.into_iter().map(|parent| first + parent));
            first += text.rows;
            text.rows = next.tokens.len();
            tokens.extend(next.tokens);
        }
        if tokens.is_empty() {
            break;
        }
        decoder.advance(&parents, &tokens)?;
    }
    Ok(texts.into_iter().map(|text| text.search.map(Search::finish)).collect())
}
