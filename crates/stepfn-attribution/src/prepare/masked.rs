//! Texts of a model of masked tokens: all tokens after the prompt are steps, but not those that the tokenizer puts around a text.

use burn::tensor::backend::Backend;
use stepfn_models::tokenizer::Token;

use super::{Prepared, Preparer, Request, count, ids, same_tokens, starts_with, wrong};
use crate::{AttributionError, ContrastText, Masked, Masking, Text};

/// A text that can be masked.
struct Maskable {
    tokens: Vec<Token>,
    masked: Masked,
    /// The first token after the prompt.
    first: usize,
}

impl<B: Backend> Preparer<'_, B> {
    pub(super) fn prepare_masked(&self, request: &Request) -> Result<Prepared, AttributionError> {
        let Request { source: prompt, target, contrast_source, contrast_target, alignment, is_complete } = request;
        let Some(target) = target else { return writes_nothing() };
        let prompt = prompt.as_deref();
        let Maskable { tokens, masked, first } = self.maskable(prompt, target, "target", *is_complete)?;
        let other = match (contrast_source.as_deref(), contrast_target) {
            (None, None) => None,
            (other_prompt, Some(other)) => Some((other_prompt.or(prompt), other.clone())),
            // What follows the prompt is the same.
            (Some(other), None) => {
                let rest = target.strip_prefix(prompt.unwrap_or_default()).unwrap_or(target);
                Some((Some(other), format!("{other}{rest}")))
            }
        };
        let contrast = other.map(|(prompt, other)| self.maskable(prompt, &other, "contrast target", *is_complete));
        let contrast = contrast.transpose()?.map(|Maskable { tokens, masked, first }| ContrastText {
            source: None,
            target: ids(&tokens),
            first,
            alignment: alignment.clone(),
            masked: Some(masked),
        });
        let text = Text { contrast, ..Text::masked(ids(&tokens), masked, first) };
        let (source_text, target_text) = (request.source.clone(), target.clone());
        Ok(Prepared { text, source_text, target_text, source: Vec::new(), target: tokens })
    }

    fn maskable(
        &self,
        prompt: Option<&str>,
        text: &str,
        which: &str,
        is_complete: bool,
    ) -> Result<Maskable, AttributionError> {
        if text.is_empty() {
            return wrong(format!("the {which} is empty"));
        }
        let tokenizer = self.tokenizers.target();
        let Some((_, id)) = tokenizer.mask() else {
            return wrong(
                "this model predicts masked tokens, and its tokenizer has no token that masks others: neither tokenizer_config.json nor \
                 special_tokens_map.json has `mask_token`",
            );
        };
        let (tokens, words) = tokenizer.encode_in_words(text, !is_complete)?;
        let is_added = |token: &&Token| token.special && token.span.is_empty();
        let start = tokens.iter().take_while(is_added).count();
        let end = tokens.len() - tokens.iter().skip(start).rev().take_while(is_added).count();
        let first = match prompt {
            Some(prompt) => {
                starts_with(text, prompt, which)?;
                let prompt = self.prompt(prompt, is_complete)?;
                same_tokens(&tokens, &prompt, which)?;
                prompt.len().max(start)
            }
            None => start,
        };
        if first >= end {
            let tokens = count(end - start, "token");
            return wrong(match prompt {
                Some(_) => format!("the {which} ({tokens}) ends where its prompt ends, so there is nothing to score"),
                None => format!("the {which} has {tokens}, so there is nothing to score"),
            });
        }
        let until = match self.masking {
            Masking::Token => (1..=end).collect(),
            Masking::Word => {
                let in_word = |token: usize, other: &usize| words[token].is_some() && words[*other] == words[token];
                let end_of =
                    |token: usize| token + 1 + (token + 1..end).take_while(|other| in_word(token, other)).count();
                (0..end).map(end_of).collect()
            }
        };
        Ok(Maskable { tokens, masked: Masked { id, until }, first })
    }
}

/// The error of a text that the model would have to write.
pub(super) fn writes_nothing<T>() -> Result<T, AttributionError> {
    wrong("this model predicts masked tokens and can't write a text; give the whole text as the target")
}
