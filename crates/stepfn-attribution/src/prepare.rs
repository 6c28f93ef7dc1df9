//! From strings to [`Text`], as the model's tokenizer, `config.json` and `generation_config.json` say.
//!
//! | | causal | encoder–decoder | of masked tokens |
//! |---|---|---|---|
//! | source | the prompt | what the encoder reads, as the tokenizer encodes it, including the end token | the prompt |
//! | target | the full text; it starts with the prompt, as text and as tokens | start token, forced tokens (a language), the target, the end token | the full text |
//! | scored | what follows the prompt; without one, all but the first token | what follows the forced tokens | what follows the prompt; without one, all but the tokens around the text |
//! | no target | the model writes on | the model writes one | an error |

mod masked;
mod prompts;
mod writing;

use burn::tensor::backend::Backend;
use stepfn_core::Alignment;
use stepfn_models::Model;
use stepfn_models::generation::Hypothesis;
use stepfn_models::tokenizer::{Token, Tokenizer, Tokenizers};

use self::prompts::{same_tokens, starts_with};
pub use self::writing::Drafts;
use self::writing::Write;
use crate::{AttributionError, ContrastText, GenerationOptions, Masking, Text};

/// A text as strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// What an encoder reads, or the prompt of a causal model.
    pub source: Option<String>,
    /// What the model should say; for a causal model, the full text including the prompt. `None`: the model writes it.
    pub target: Option<String>,
    /// Another source to compare with; the same one by default.
    pub contrast_source: Option<String>,
    /// Another target to compare with; by default the same one, after the other prompt.
    pub contrast_target: Option<String>,
    /// Which steps are compared with each other.
    pub alignment: Alignment,
    /// Whether a causal model's text has its special tokens written out, as a chat has. Then the tokenizer adds none.
    pub is_complete: bool,
}

/// A text that is ready to run, and its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What the model is given.
    pub text: Text,
    /// What the encoder reads, or the prompt of a causal model, if there is one.
    pub source_text: Option<String>,
    /// What the model should say, or wrote: the text whose bytes the spans of `target` count.
    pub target_text: String,
    /// Tokens of the source; none for a causal model.
    pub source: Vec<Token>,
    /// Tokens of the target, including start tokens and, for a causal model, the prompt.
    pub target: Vec<Token>,
}

/// A target that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// What was written; for a causal model, what follows the prompt.
    pub text: String,
    /// The new tokens and their score.
    pub hypothesis: Hypothesis,
}

/// Makes texts for one model.
#[derive(Debug, Clone, Copy)]
pub struct Preparer<'a, B: Backend> {
    /// The model.
    pub model: &'a Model<B>,
    /// Its tokenizers.
    pub tokenizers: &'a Tokenizers,
    /// How targets are written.
    pub generation: &'a GenerationOptions,
    /// What is masked where a model of masked tokens predicts one; other models don't read it.
    pub masking: Masking,
    /// Whether a causal model's text begins with its start token; by default as its tokenizer has it.
    pub start_token: Option<bool>,
}

impl<B: Backend> Preparer<'_, B> {
    /// The text that a request stands for.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a part that is missing, empty or too long, a target that does not start with its prompt, or a contrast that
    /// does not fit; [`AttributionError::Model`] if the tokenizer or the model fails.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, AttributionError> {
        self.prepare_by(request, &|read| self.best(read))
    }

    /// [`prepare`](Self::prepare), with a target that `write` writes where there is none.
    fn prepare_by(&self, request: &Request, write: Write<'_>) -> Result<Prepared, AttributionError> {
        let config = self.model.config();
        match (config.is_encoder_decoder(), config.is_masked()) {
            (true, _) => self.prepare_pair(request, write),
            (false, true) => self.prepare_masked(request),
            (false, false) => self.prepare_causal(request, write),
        }
    }

    fn prepare_causal(&self, request: &Request, write: Write<'_>) -> Result<Prepared, AttributionError> {
        let Request { source: prompt, target, contrast_source, contrast_target, alignment, is_complete } = request;
        let is_complete = *is_complete;
        // Before the model writes, so that what can't be is told first.
        let other = match (contrast_source, contrast_target) {
            (None, None) => None,
            (other_prompt, Some(other)) => {
                let prompt = other_prompt.as_ref().or(prompt.as_ref()).map(String::as_str);
                let (tokens, first) = self.continued(prompt, other, "contrast target", is_complete)?;
                Some((ids(&tokens), first))
            }
            (Some(other_prompt), None) => {
                let prompt = self.prompt_to_write_after(other_prompt, is_complete)?;
                let first = prompt.len();
                Some((prompt, first))
            }
        };
        if let (None, Some((other, _))) = (target, &other) {
            crate::scoring::check_fits(self.model.config(), "contrast ", None, other, other.len() - 1)?;
        }
        let (target_text, tokens, first) = match (prompt, target) {
            (prompt, Some(target)) => {
                let (tokens, first) = self.continued(prompt.as_deref(), target, "target", is_complete)?;
                (target.clone(), tokens, first)
            }
            (Some(prompt), None) if is_complete => self.written_after(prompt, write)?,
            (Some(prompt), None) => {
                let prompt = self.prompt_to_write_after(prompt, is_complete)?;
                let written = write((None, prompt.clone()))?;
                let (text, tokens) = self.tokenizers.target().describe(&[prompt.as_slice(), &written].concat())?;
                (text, tokens, prompt.len())
            }
            (None, None) => return wrong("there is neither a prompt nor a text"),
        };
        let mut text = Text::causal(ids(&tokens), first);
        text.contrast = other.map(|(mut target, first)| {
            if contrast_target.is_none() {
                target.extend(&text.target[text.steps.clone()]);
            }
            ContrastText { source: None, target, first, alignment: alignment.clone(), masked: None }
        });
        Ok(Prepared { text, source_text: prompt.clone(), target_text, source: Vec::new(), target: tokens })
    }

    fn prepare_pair(&self, request: &Request, write: Write<'_>) -> Result<Prepared, AttributionError> {
        let Request { source, target, contrast_source, contrast_target, alignment, .. } = request;
        let Some(source_text) = source else {
            return wrong("this model has an encoder, and there is no source for it to read");
        };
        let source = self.source(source_text)?;
        let start = self.decoder_start()?;
        let forced = self.generation.settings.forced_bos;
        let first = 1 + usize::from(forced.is_some());
        let other_source = contrast_source.as_deref().map(|source| self.source(source)).transpose()?;
        let other_target = contrast_target.as_deref().map(|target| self.target(target)).transpose()?;
        if target.is_none() && (other_source.is_some() || other_target.is_some()) {
            // Before the model writes, so that what can't be is told first.
            let source = ids(other_source.as_ref().unwrap_or(&source));
            let target = ids(other_target.as_deref().unwrap_or_default());
            let read = target.len().saturating_sub(1);
            crate::scoring::check_fits(self.model.config(), "contrast ", Some(&source), &target, read)?;
        }
        let (target_text, tokens) = match target {
            Some(target) => (target.clone(), self.target(target)?),
            None => {
                let mut all = vec![start];
                all.extend(write((Some(ids(&source)), vec![start]))?);
                self.describe(&all)?
            }
        };
        let mut text = Text { steps: first..tokens.len(), ..Text::seq2seq(ids(&source), ids(&tokens)) };
        if contrast_source.is_some() || contrast_target.is_some() {
            text.contrast = Some(ContrastText {
                source: Some(ids(&other_source.unwrap_or_else(|| source.clone()))),
                target: ids(other_target.as_ref().unwrap_or(&tokens)),
                first,
                alignment: alignment.clone(),
                masked: None,
            });
        }
        Ok(Prepared { text, source_text: Some(source_text.clone()), target_text, source, target: tokens })
    }

    /// A prompt with its special tokens written out, and what the model writes after it: the text, its tokens, and the position of the first
    /// new one.
    fn written_after(&self, prompt: &str, write: Write<'_>) -> Result<(String, Vec<Token>, usize), AttributionError> {
        let mut tokens = self.prompt(prompt, true)?;
        if tokens.is_empty() {
            return wrong("the prompt is empty");
        }
        let first = tokens.len();
        let written = write((None, ids(&tokens)))?;
        // The text of all ids together lacks the special tokens, so the prompt comes from what was given.
        let (text, all) = self.tokenizers.target().describe(&[ids(&tokens), written].concat())?;
        let start = all.iter().take(first).map(|token| token.span.end).max().unwrap_or(0);
        let moved = |at: usize| at.max(start) - start + prompt.len();
        tokens.extend(all.into_iter().skip(first).map(|token| {
            let span = moved(token.span.start)..moved(token.span.end);
            Token { span, ..token }
        }));
        let text = format!("{prompt}{}", text.get(start..).unwrap_or_default());
        Ok((text, tokens, first))
    }

    /// The tokens of a causal text, and the position of the first token after its prompt.
    fn continued(
        &self,
        prompt: Option<&str>,
        text: &str,
        which: &str,
        is_complete: bool,
    ) -> Result<(Vec<Token>, usize), AttributionError> {
        if text.is_empty() {
            return wrong(format!("the {which} is empty"));
        }
        let tokens = self.encode_causal(text, is_complete)?;
        let first = match prompt {
            Some(prompt) => {
                starts_with(text, prompt, which)?;
                let prompt = self.prompt(prompt, is_complete)?;
                same_tokens(&tokens, &prompt, which)?;
                prompt.len()
            }
            None => 0,
        };
        // Nothing predicts the first token.
        let first = first.max(1);
        if first >= tokens.len() {
            let tokens = count(tokens.len(), "token");
            return wrong(match prompt {
                Some(_) => format!("the {which} ({tokens}) ends where its prompt ends, so there is nothing to score"),
                None => format!("the {which} has {tokens}; it needs two or more, because nothing predicts the first"),
            });
        }
        Ok((tokens, first))
    }

    /// A prompt without the tokens that the tokenizer adds to the end of a text, because the text continues.
    fn prompt(&self, prompt: &str, is_complete: bool) -> Result<Vec<Token>, AttributionError> {
        let mut tokens = self.encode_causal(prompt, is_complete)?;
        while tokens.len() > 1 && tokens.last().is_some_and(|last| last.special && last.span.is_empty()) {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// The tokens of a causal text, with or without the token that starts texts. Of a complete text, that token is written out and stays as it is.
    fn encode_causal(&self, text: &str, is_complete: bool) -> Result<Vec<Token>, AttributionError> {
        let tokenizer = self.tokenizers.target();
        let mut tokens = tokenizer.encode(text, !is_complete)?;
        let is_added = |token: &Token| token.special && token.span.is_empty();
        match self.start_token {
            Some(true) => {
                let named = tokenizer.bos().map(|(_, id)| id).or(self.model.config().special.bos);
                let Some(start) = named else {
                    return wrong("neither the tokenizer nor config.json names a token that starts a text");
                };
                if tokens.first().is_none_or(|first| first.id != start) {
                    tokens.insert(0, self.special(start, 0));
                }
            }
            Some(false) => {
                let added = tokens.iter().take_while(|token| is_added(token)).count();
                tokens.drain(..added);
            }
            None => {}
        }
        Ok(tokens)
    }

    fn prompt_to_write_after(&self, prompt: &str, is_complete: bool) -> Result<Vec<u32>, AttributionError> {
        let mut ids = ids(&self.prompt(prompt, is_complete)?);
        if ids.is_empty() {
            ids.extend(self.model.config().special.bos);
        }
        match ids.is_empty() {
            true => wrong("the prompt is empty"),
            false => Ok(ids),
        }
    }

    fn source(&self, source: &str) -> Result<Vec<Token>, AttributionError> {
        match source.is_empty() {
            true => wrong("the source is empty"),
            false => Ok(self.tokenizers.source().encode(source, true)?),
        }
    }

    /// Start token, forced token, the target, end token.
    fn target(&self, target: &str) -> Result<Vec<Token>, AttributionError> {
        if target.is_empty() {
            return wrong("the target is empty");
        }
        self.check_language()?;
        let mut own = self.tokenizers.target().encode(target, true)?;
        if self.generation.settings.forced_bos.is_some() {
            // Tokens that the tokenizer puts first are for sources: their language, or what is forced here.
            let added = own.iter().take_while(|token| token.special && token.span.is_empty()).count();
            own.drain(..added.min(own.len() - 1));
        }
        let eos = &self.model.config().special.eos;
        // Some tokenizers put the source's language after the end token.
        let ends = own.iter().rposition(|token| eos.contains(&token.id) && token.span.is_empty());
        match (ends, eos.first()) {
            (Some(end), _) => own.truncate(end + 1),
            (None, Some(&eos)) => own.push(self.special(eos, target.len())),
            (None, None) => {}
        }
        let mut tokens = vec![self.special(self.decoder_start()?, 0)];
        tokens.extend(self.generation.settings.forced_bos.map(|forced| self.special(forced, 0)));
        tokens.extend(own);
        Ok(tokens)
    }

    /// Checks that the target's language is known, by name or from the checkpoint, where the model has several.
    fn check_language(&self) -> Result<(), AttributionError> {
        match self.generation.settings.forced_bos {
            Some(_) => Ok(()),
            None => Ok(self.tokenizers.check_target()?),
        }
    }

    fn decoder_start(&self) -> Result<u32, AttributionError> {
        let missing =
            "neither config.json nor generation_config.json has `decoder_start_token_id`, which targets start with";
        self.generation.decoder_start.map_or_else(|| wrong(missing), Ok)
    }

    /// A token that is not part of the text.
    fn special(&self, id: u32, at: usize) -> Token {
        let surface = self.tokenizers.target().id_to_token(id).unwrap_or_else(|| format!("<{id}>"));
        Token { id, surface, span: at..at, special: true }
    }

    /// The text of ids and their tokens. The tokenizer may not know the first of them.
    fn describe(&self, all: &[u32]) -> Result<(String, Vec<Token>), AttributionError> {
        let (first, rest) = all.split_at(1.min(all.len()));
        let mut tokens: Vec<Token> = first.iter().map(|&id| self.special(id, 0)).collect();
        let (text, described) = self.tokenizers.target().describe(rest)?;
        tokens.extend(described);
        Ok((text, tokens))
    }
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// The ids that the tokenizer knows. A model may have start tokens that it does not know.
fn known(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|&id| tokenizer.id_to_token(id).is_some()).collect()
}

fn wrong<T>(what: impl Into<String>) -> Result<T, AttributionError> {
    Err(AttributionError::Text(what.into()))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
