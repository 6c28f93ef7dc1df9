//! The alignment `auto`: which token of a text is compared with which of its contrast, by the hidden states of the model or of another.

use core::ops::Range;
use std::collections::BTreeSet;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use stepfn_attribution::Prepared;
use stepfn_attribution::aggregation::words_of;
use stepfn_attribution::word_alignment::{aligned_pieces, aligned_tokens, aligned_words};
use stepfn_core::Alignment;
use stepfn_models::tokenizer::Token;
use stepfn_models::transformer::{PaddingSide, Pass, TokenBatch, Trace};

use crate::context::first_visible;
use crate::{Error, ErrorKind, LanguageModel, Result};

/// What aligns texts.
#[derive(Debug)]
pub(crate) struct Aligner<B: Backend> {
    /// Another model than the one that is asked.
    model: Option<Box<LanguageModel<B>>>,
    /// The number of blocks behind which hidden states are taken.
    layer: Option<usize>,
}

impl<B: Backend> Default for Aligner<B> {
    fn default() -> Self {
        Self { model: None, layer: None }
    }
}

/// Words of two texts, in bytes, and which mean the same.
pub(crate) struct Words {
    pub(crate) own: Vec<Range<usize>>,
    pub(crate) other: Vec<Range<usize>>,
    pub(crate) pairs: BTreeSet<(usize, usize)>,
}

impl<B: Backend> LanguageModel<B> {
    /// Lets another model align texts, [`Alignment::Auto`]: one that reads both sides of each token is best, such as a multilingual `bert`, or an
    /// encoder of sentences that is loaded [for its hidden states](crate::LoadOptions::for_states), such as LaBSE. By default the model itself does: the encoder of an encoder–decoder.
    #[must_use]
    pub fn aligned_by(mut self, model: Self) -> Self {
        self.aligner = Aligner { model: Some(Box::new(model)), layer: None };
        self
    }

    /// Aligns texts by the hidden states behind so many blocks; by default behind two thirds of them.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] if the model that aligns has fewer blocks, or for 0.
    pub fn aligned_at(mut self, layer: usize) -> Result<Self> {
        let layers = self.aligner.model.as_deref().unwrap_or(&self).aligning_layers();
        if !(1..=layers).contains(&layer) {
            let what = format!("texts are to be aligned behind block {layer}, and the model that aligns has {layers}");
            return Err(Error::new(ErrorKind::Option, what, format!("give a number from 1 to {layers}")));
        }
        self.aligner.layer = Some(layer);
        Ok(self)
    }

    /// The blocks of the stack that aligns.
    fn aligning_layers(&self) -> usize {
        let config = self.config();
        config.encoder.as_ref().unwrap_or(&config.decoder).n_layers
    }

    /// Which words of two texts mean the same.
    pub(crate) fn aligned(&self, own: &str, other: &str) -> Result<Words> {
        let reader = self.aligner.model.as_deref().unwrap_or(self);
        let layer = self.aligner.layer.unwrap_or_else(|| (2 * reader.aligning_layers()).div_ceil(3));
        let words = Words { own: words_of(own), other: words_of(other), pairs: BTreeSet::new() };
        if words.own.is_empty() || words.other.is_empty() {
            return Ok(words);
        }
        let [(own, own_words), (other, other_words)] =
            [reader.pieces(own, &words.own, layer)?, reader.pieces(other, &words.other, layer)?];
        let pieces = aligned_pieces(own, other);
        Ok(Words { pairs: aligned_words(&pieces, &own_words, &other_words), ..words })
    }

    /// The hidden states of the pieces of a text, `[pieces, hidden]`, and the word of each.
    fn pieces(&self, text: &str, words: &[Range<usize>], layer: usize) -> Result<(Tensor<B, 2>, Vec<Option<usize>>)> {
        let stack = self.model().encoder().unwrap_or_else(|| self.model().decoder());
        let tokens = self.tokenizers().source().encode(text, true)?;
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let batch = TokenBatch::new(vec![ids], stack.vocab_size(), PaddingSide::Right)?;
        let trace = Trace { hidden_states: true, ..Trace::default() };
        let output = stack.forward(stack.embed(&batch), Pass::new(&batch).with_trace(trace))?;
        let states = output.hidden_states.get(layer).unwrap_or(&output.last).clone();
        let own: Vec<(usize, Option<usize>)> = tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| !token.special && !token.span.is_empty())
            .map(|(at, token)| (at, word_of(text, token, words)))
            .collect();
        let rows: Vec<i32> = own.iter().map(|&(at, _)| at as i32).collect();
        if rows.is_empty() {
            let what = format!("{text:?} has no tokens but special ones, so it can't be aligned");
            return Err(Error::new(ErrorKind::Alignment, what, "give pairs of tokens instead"));
        }
        let rows = Tensor::from_data(rows.as_slice(), &states.device());
        Ok((states.select(0, rows), own.into_iter().map(|(_, word)| word).collect()))
    }

    /// Finds the pairs of a text and its contrast that are to be aligned automatically.
    pub(crate) fn align(&self, prepared: &mut Prepared) -> Result<()> {
        let steps = prepared.text.steps.clone();
        let Some(contrast) = &mut prepared.text.contrast else { return Ok(()) };
        if contrast.alignment != Alignment::Auto {
            return Ok(());
        }
        let others = &contrast.target[contrast.steps()];
        if *others == prepared.text.target[steps.clone()] {
            contrast.alignment = Alignment::OneToOne;
            return Ok(());
        }
        let (other_text, other_tokens) = self.tokenizers().target().describe(others)?;
        let own_tokens = &prepared.target[steps];
        let start = own_tokens.iter().map(|token| token.span.start).min().unwrap_or(0);
        let end = own_tokens.iter().map(|token| token.span.end).max().unwrap_or(0);
        let own_text = prepared.target_text.get(start..end).unwrap_or_default();
        let moved = |token: &Token| Token { span: token.span.start - start..token.span.end - start, ..token.clone() };
        let own_tokens: Vec<Token> = own_tokens.iter().map(moved).collect();
        let words = self.aligned(own_text, &other_text)?;
        let of = |text: &str, tokens: &[Token], words: &[Range<usize>]| -> Vec<Option<usize>> {
            tokens.iter().map(|token| if token.special { None } else { word_of(text, token, words) }).collect()
        };
        let own = of(own_text, &own_tokens, &words.own);
        let other = of(&other_text, &other_tokens, &words.other);
        let mut pairs = aligned_tokens(&words.pairs, &own, &other);
        // Special tokens are compared with the same ones.
        let mut specials = other_tokens.iter().enumerate().filter(|(_, token)| token.special).peekable();
        for (at, token) in own_tokens.iter().enumerate().filter(|(_, token)| token.special) {
            if let Some((partner, _)) = specials.next_if(|(_, other)| other.id == token.id) {
                pairs.push((at, partner));
            }
        }
        if pairs.is_empty() {
            let what = "no token of the text is aligned with one of its contrast";
            return Err(Error::new(ErrorKind::Alignment, what, "give pairs of tokens, or let another model align"));
        }
        contrast.alignment = Alignment::Pairs(pairs);
        Ok(())
    }
}

/// The word that the first visible character of a token is in.
fn word_of(text: &str, token: &Token, words: &[Range<usize>]) -> Option<usize> {
    let at = first_visible(text, token);
    words.iter().position(|word| word.contains(&at)).filter(|_| !token.span.is_empty())
}
