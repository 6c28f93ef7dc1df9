//! From strings to [`Text`]: what a model's tokenizer, `config.json` and `generation_config.json` make of a prompt, a source and a target.
//!
//! | | causal | encoder–decoder |
//! |---|---|---|
//! | source | the prompt | what the encoder reads, as the tokenizer encodes it, end token and all |
//! | target | the full text; it starts with the prompt, as text and as tokens | start token, forced tokens (a language), the target, the end token |
//! | scored | what follows the prompt; without one, all but the first token | what follows the forced tokens |
//! | no target | the model writes on | the model writes one |

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_core::Alignment;
use stepfn_models::config::TransformerConfig;
use stepfn_models::generation::{GenerationSettings, Hypothesis};
use stepfn_models::tokenizer::{Token, Tokenizer};
use stepfn_models::{Model, ModelError};

use crate::{AttributionError, ContrastText, Text};

/// What is asked about one text, in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// What an encoder reads, or the prompt of a causal model.
    pub source: Option<String>,
    /// What the model is to have said: for a causal model the full text, prompt included. `None`: what it says by itself.
    pub target: Option<String>,
    /// Another source to compare with; the same one by default.
    pub contrast_source: Option<String>,
    /// Another target to compare with; by default the same one, after the other prompt.
    pub contrast_target: Option<String>,
    /// Which steps are compared with each other.
    pub alignment: Alignment,
}

/// A text that is ready to run, and its tokens for a reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What the model is given.
    pub text: Text,
    /// Tokens of the source; none for a causal model.
    pub source: Vec<Token>,
    /// Tokens of the target, from its first on: a causal model's prompt is part of it, and so are start tokens.
    pub target: Vec<Token>,
}

/// How targets are written where none is given.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub settings: GenerationSettings,
    /// Most tokens, those of the prompt included, where the checkpoint counts so.
    max_length: Option<usize>,
    /// What an encoder–decoder's target starts from.
    decoder_start: Option<u32>,
}

impl GenerationOptions {
    /// What a checkpoint says in `generation_config.json` (`null` if it has none), with some fields changed.
    ///
    /// # Errors
    /// [`AttributionError::Parameter`] for a change of a field that there isn't, [`AttributionError::Model`] for what is out of range or not supported.
    pub fn new(
        generation_config: &Value,
        changes: &Map<String, Value>,
        config: &TransformerConfig,
    ) -> Result<Self, AttributionError> {
        let known = known_fields();
        if let Some(unknown) = changes.keys().find(|field| !known.contains(field)) {
            return Err(AttributionError::Parameter {
                of: "generation".to_owned(),
                parameter: unknown.clone(),
                expected: format!("one of {}", known.join(", ")),
                found: "no such setting".to_owned(),
            });
        }
        let mut fields = generation_config.as_object().cloned().unwrap_or_default();
        // A least or greatest number of new tokens outweighs one that counts the prompt, and the reverse if only that is asked for.
        for (asked, outweighed) in [("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")] {
            if changes.contains_key(asked) {
                fields.remove(outweighed);
            }
        }
        fields.extend(changes.clone());
        let number = |field: &str| fields.get(field).and_then(Value::as_u64);
        let max_length = number("max_length").filter(|_| number("max_new_tokens").is_none());
        let decoder_start = number("decoder_start_token_id").and_then(|id| u32::try_from(id).ok());
        let mut settings = GenerationSettings::from_json(&Value::Object(fields))?;
        if settings.eos.is_empty() {
            settings.eos.clone_from(&config.special.eos);
        }
        Ok(Self {
            settings,
            max_length: max_length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            decoder_start: decoder_start.or(config.special.decoder_start).or(config.special.bos),
        })
    }
}

/// The fields that can be changed: those of `generation_config.json` that are supported.
fn known_fields() -> Vec<String> {
    let settings = serde_json::to_value(GenerationSettings::default()).unwrap_or_default();
    let ours = settings.as_object().into_iter().flat_map(Map::keys);
    let renamed = ["eos", "forced_bos", "forced_eos", "prefix", "seed"];
    let theirs = [
        "eos_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "max_length",
        "min_length",
        "decoder_start_token_id",
    ];
    ours.filter(|field| !renamed.contains(&field.as_str())).cloned().chain(theirs.map(str::to_owned)).collect()
}

/// A target that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// What was written: of a causal model, what follows the prompt.
    pub text: String,
    /// The new tokens, in the model's own hand.
    pub hypothesis: Hypothesis,
}

/// Makes texts for one model.
#[derive(Debug, Clone, Copy)]
pub struct Preparer<'a, B: Backend> {
    /// The model.
    pub model: &'a Model<B>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// How targets are written.
    pub generation: &'a GenerationOptions,
}

impl<B: Backend> Preparer<'_, B> {
    /// The text that a request stands for. `number` is that of the text in the run, for errors.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a part that is missing, empty or too long, a target that does not start with its prompt (with the place
    /// where they part), or a contrast that does not fit; [`AttributionError::Model`] if the tokenizer or the model fails.
    pub fn prepare(&self, request: &Request, number: usize) -> Result<Prepared, AttributionError> {
        match self.model.config().is_encoder_decoder() {
            true => self.prepare_pair(request, number),
            false => self.prepare_causal(request, number),
        }
    }

    /// What the model writes for a source or after a prompt, best first.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a source that is empty or too long, [`AttributionError::Model`] if the tokenizer or the model fails.
    pub fn generate(&self, source: &str, number: usize) -> Result<Vec<Generated>, AttributionError> {
        let (source, prompt) = match self.model.config().is_encoder_decoder() {
            true => (Some(ids(&self.source(source, number)?)), vec![self.decoder_start(number)?]),
            false => (None, self.prompt_to_write_after(source, number)?),
        };
        let hypotheses = self.write(source.as_deref(), &prompt, number)?;
        let before = self.tokenizer.decode(&known(self.tokenizer, &prompt), true)?;
        let generated = |hypothesis: Hypothesis| {
            let all = [prompt.as_slice(), &hypothesis.ids].concat();
            let all = self.tokenizer.decode(&known(self.tokenizer, &all), true)?;
            Ok(Generated { text: all.strip_prefix(&before).unwrap_or(&all).to_owned(), hypothesis })
        };
        hypotheses.into_iter().map(generated).collect()
    }

    fn prepare_causal(&self, request: &Request, number: usize) -> Result<Prepared, AttributionError> {
        let Request { source: prompt, target, contrast_source, contrast_target, alignment } = request;
        let (tokens, first) = match (prompt, target) {
            (prompt, Some(target)) => self.continued(prompt.as_deref(), target, number, "target")?,
            (Some(prompt), None) => {
                let prompt = self.prompt_to_write_after(prompt, number)?;
                let written = self.best(None, &prompt, number)?;
                let (_, tokens) = self.tokenizer.describe(&[prompt.as_slice(), &written].concat())?;
                (tokens, prompt.len())
            }
            (None, None) => return wrong(number, "a prompt or a text", "neither"),
        };
        let mut text = Text::causal(ids(&tokens), first);
        text.contrast = match (contrast_source, contrast_target) {
            (None, None) => None,
            (other_prompt, Some(other)) => {
                let prompt = other_prompt.as_ref().or(prompt.as_ref()).map(String::as_str);
                let (tokens, first) = self.continued(prompt, other, number, "contrast target")?;
                Some(ContrastText { source: None, target: ids(&tokens), first, alignment: alignment.clone() })
            }
            (Some(other_prompt), None) => {
                let mut target = self.prompt_to_write_after(other_prompt, number)?;
                let first = target.len();
                target.extend(&text.target[text.steps.clone()]);
                Some(ContrastText { source: None, target, first, alignment: alignment.clone() })
            }
        };
        Ok(Prepared { text, source: Vec::new(), target: tokens })
    }

    fn prepare_pair(&self, request: &Request, number: usize) -> Result<Prepared, AttributionError> {
        let Request { source, target, contrast_source, contrast_target, alignment } = request;
        let Some(source) = source else {
            return wrong(number, "a source, for the model has an encoder", "none");
        };
        let source = self.source(source, number)?;
        let start = self.decoder_start(number)?;
        let forced = self.generation.settings.forced_bos;
        let first = 1 + usize::from(forced.is_some());
        let tokens = match target {
            Some(target) => self.target(target, number)?,
            None => {
                let mut all = vec![start];
                all.extend(self.best(Some(&ids(&source)), &[start], number)?);
                self.describe(&all)?
            }
        };
        let mut text = Text { steps: first..tokens.len(), ..Text::seq2seq(ids(&source), ids(&tokens)) };
        if contrast_source.is_some() || contrast_target.is_some() {
            let other_source = contrast_source.as_deref().map(|source| self.source(source, number)).transpose()?;
            let other_target = contrast_target.as_deref().map(|target| self.target(target, number)).transpose()?;
            text.contrast = Some(ContrastText {
                source: Some(ids(&other_source.unwrap_or_else(|| source.clone()))),
                target: ids(other_target.as_ref().unwrap_or(&tokens)),
                first,
                alignment: alignment.clone(),
            });
        }
        Ok(Prepared { text, source, target: tokens })
    }

    /// The tokens of a causal text, and the position of the first behind its prompt.
    fn continued(
        &self,
        prompt: Option<&str>,
        text: &str,
        number: usize,
        which: &str,
    ) -> Result<(Vec<Token>, usize), AttributionError> {
        if text.is_empty() {
            return wrong(number, &format!("a {which} of one token or more"), "an empty text");
        }
        let tokens = self.tokenizer.encode(text, true)?;
        let first = match prompt {
            Some(prompt) => {
                starts_with(text, prompt, number, which)?;
                let prompt = self.prompt(prompt)?;
                same_tokens(&tokens, &prompt, number, which)?;
                prompt.len()
            }
            None => 0,
        };
        // What stands first is predicted from nothing.
        let first = first.max(1);
        if first >= tokens.len() {
            let expected = match prompt {
                Some(_) => format!("a {which} that goes on after its prompt"),
                None => format!("a {which} of two tokens or more, for the first is predicted from nothing"),
            };
            return wrong(number, &expected, &format!("{} in all", count(tokens.len(), "token")));
        }
        Ok((tokens, first))
    }

    /// A prompt without what a tokenizer adds to the end of a text, for the text goes on.
    fn prompt(&self, prompt: &str) -> Result<Vec<Token>, AttributionError> {
        let mut tokens = self.tokenizer.encode(prompt, true)?;
        while tokens.len() > 1 && tokens.last().is_some_and(|last| last.special && last.span.is_empty()) {
            tokens.pop();
        }
        Ok(tokens)
    }

    fn prompt_to_write_after(&self, prompt: &str, number: usize) -> Result<Vec<u32>, AttributionError> {
        let mut ids = ids(&self.prompt(prompt)?);
        if ids.is_empty() {
            ids.extend(self.model.config().special.bos);
        }
        match ids.is_empty() {
            true => wrong(number, "a prompt of one token or more", "an empty text"),
            false => Ok(ids),
        }
    }

    fn source(&self, source: &str, number: usize) -> Result<Vec<Token>, AttributionError> {
        match source.is_empty() {
            true => wrong(number, "a source of one token or more", "an empty text"),
            false => Ok(self.tokenizer.encode(source, true)?),
        }
    }

    /// Start token, forced token, the target, end token.
    fn target(&self, target: &str, number: usize) -> Result<Vec<Token>, AttributionError> {
        if target.is_empty() {
            return wrong(number, "a target of one token or more", "an empty text");
        }
        let mut own = self.tokenizer.encode(target, true)?;
        if self.generation.settings.forced_bos.is_some() {
            // What the tokenizer puts first is for sources: their language, or what is forced here.
            let added = own.iter().take_while(|token| token.special && token.span.is_empty()).count();
            own.drain(..added.min(own.len() - 1));
        }
        let eos = &self.model.config().special.eos;
        // Some put the source's language behind the end token.
        let ends = own.iter().rposition(|token| eos.contains(&token.id) && token.span.is_empty());
        match (ends, eos.first()) {
            (Some(end), _) => own.truncate(end + 1),
            (None, Some(&eos)) => own.push(self.special(eos, target.len())),
            (None, None) => {}
        }
        let mut tokens = vec![self.special(self.decoder_start(number)?, 0)];
        tokens.extend(self.generation.settings.forced_bos.map(|forced| self.special(forced, 0)));
        tokens.extend(own);
        Ok(tokens)
    }

    fn decoder_start(&self, number: usize) -> Result<u32, AttributionError> {
        let expected = "`decoder_start_token_id` in config.json or generation_config.json";
        self.generation.decoder_start.map_or_else(|| wrong(number, expected, "none"), Ok)
    }

    /// A token that stands in no text.
    fn special(&self, id: u32, at: usize) -> Token {
        let surface = self.tokenizer.id_to_token(id).unwrap_or_else(|| format!("<{id}>"));
        Token { id, surface, span: at..at, special: true }
    }

    /// Tokens of ids, the first of which the tokenizer may not know.
    fn describe(&self, all: &[u32]) -> Result<Vec<Token>, AttributionError> {
        let (first, rest) = all.split_at(1.min(all.len()));
        let mut tokens: Vec<Token> = first.iter().map(|&id| self.special(id, 0)).collect();
        tokens.extend(self.tokenizer.describe(rest)?.1);
        Ok(tokens)
    }

    /// The new tokens of the best text.
    fn best(&self, source: Option<&[u32]>, prompt: &[u32], number: usize) -> Result<Vec<u32>, AttributionError> {
        let best = self.write(source, prompt, number)?.into_iter().next();
        best.map_or_else(|| wrong(number, "settings that leave a text to write", "none"), |best| Ok(best.ids))
    }

    fn write(
        &self,
        source: Option<&[u32]>,
        prompt: &[u32],
        number: usize,
    ) -> Result<Vec<Hypothesis>, AttributionError> {
        let config = self.model.config();
        crate::scoring::check_fits(config, number, "", source, prompt, prompt.len())?;
        let mut settings = self.generation.settings.clone();
        if let Some(max_length) = self.generation.max_length {
            settings.max_new_tokens = max_length.saturating_sub(prompt.len()).max(1);
            settings.min_new_tokens = settings.min_new_tokens.min(settings.max_new_tokens);
        }
        self.model.generate(source, prompt, &settings).map_err(|error| match error {
            ModelError::Input { expected, found, .. } => AttributionError::Text { text: number, expected, found },
            other => other.into(),
        })
    }
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// The ids that the tokenizer knows: a model may have start tokens of its own.
fn known(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|&id| tokenizer.id_to_token(id).is_some()).collect()
}

fn wrong<T>(text: usize, expected: &str, found: &str) -> Result<T, AttributionError> {
    Err(AttributionError::Text { text, expected: expected.to_owned(), found: found.to_owned() })
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Whether a text starts with its prompt, in letters.
fn starts_with(text: &str, prompt: &str, number: usize, which: &str) -> Result<(), AttributionError> {
    if text.starts_with(prompt) {
        return Ok(());
    }
    let same = text.char_indices().zip(prompt.chars()).find(|((_, ours), theirs)| ours != theirs);
    let parts = same.map_or(text.len().min(prompt.len()), |((at, _), _)| at);
    let found = format!(
        "after {} they part: the prompt has {}, the {which} {}",
        quoted(&text[..parts], Side::End),
        quoted(&prompt[parts..], Side::Start),
        quoted(&text[parts..], Side::Start)
    );
    wrong(number, &format!("a {which} that starts with its prompt"), &found)
}

/// Whether a text starts with its prompt, in tokens.
fn same_tokens(tokens: &[Token], prompt: &[Token], number: usize, which: &str) -> Result<(), AttributionError> {
    let parts = prompt.iter().zip(tokens).position(|(ours, theirs)| ours.id != theirs.id);
    let Some(parts) = parts.or((prompt.len() > tokens.len()).then_some(tokens.len())) else { return Ok(()) };
    let surface =
        |tokens: &[Token]| tokens.get(parts).map_or("nothing".to_owned(), |token| quoted(&token.surface, Side::Start));
    let found = format!(
        "token {parts} of the prompt is {}, of the {which} {} (end the prompt where a token ends: often before a space, not after it)",
        surface(prompt),
        surface(tokens)
    );
    wrong(number, &format!("a {which} whose tokens start with those of its prompt"), &found)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Start,
    End,
}

/// The start or the end of a text, for an error.
fn quoted(text: &str, side: Side) -> String {
    /// Letters that are enough to find a place by.
    const LETTERS: usize = 24;
    let letters = text.chars().count();
    if letters <= LETTERS {
        return format!("{text:?}");
    }
    match side {
        Side::Start => format!("{:?}…", text.chars().take(LETTERS).collect::<String>()),
        Side::End => format!("…{:?}", text.chars().skip(letters - LETTERS).collect::<String>()),
    }
}

#[cfg(test)]
mod tests;
