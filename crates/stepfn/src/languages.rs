//! The languages of models that translate between several.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{GenerationOptions, Preparer};
use stepfn_models::config::TransformerConfig;
use stepfn_models::tokenizer::{Languages, TargetStart, Tokenizers};

use crate::{Error, ErrorKind, LanguageModel, LoadOptions, Result};

/// Checks that a language of what is written can be one: not a word, and not of a model that continues a text.
pub(crate) fn check_target_language(
    options: &LoadOptions,
    tokenizers: &Tokenizers,
    config: &TransformerConfig,
) -> Result<()> {
    let Some(name) = &options.target_lang else { return Ok(()) };
    if !config.is_encoder_decoder() {
        let what = format!("this model continues a text, so there is no language `{name}` to choose for the target");
        return Err(Error::new(ErrorKind::Option, what, "leave it out, or write the prompt in that language"));
    }
    let (Some(TargetStart::Forced(id) | TargetStart::Start(id)), tokenizer) =
        (tokenizers.target_start(), tokenizers.target())
    else {
        return Ok(());
    };
    let (_, described) = tokenizer.describe(&[id])?;
    // Codes of languages are special tokens, but not in every file.
    let code = tokenizer.id_to_token(id).unwrap_or_default();
    let is_code = described.iter().any(|token| token.special) || code.contains('_');
    let special = &config.special;
    let has_role = [special.bos, special.pad, special.decoder_start].contains(&Some(id))
        || special.eos.contains(&id)
        || [tokenizer.bos(), tokenizer.eos(), tokenizer.pad(), tokenizer.unk()]
            .iter()
            .flatten()
            .any(|(token, _)| *token == code);
    match is_code && !has_role {
        true => Ok(()),
        false => {
            let what = format!("`{name}` is a token of this model, but no language");
            Err(Error::new(ErrorKind::Option, what, "give the code of a language, or leave it out"))
        }
    }
}

/// The settings of writing that are to be different, the language among them.
pub(crate) fn with_language(options: &LoadOptions, tokenizers: &Tokenizers) -> Map<String, Value> {
    let mut changes = options.generation.clone();
    let language = tokenizers.target_start().map(|start| match start {
        TargetStart::Forced(id) => ("forced_bos_token_id", id),
        TargetStart::Start(id) => ("decoder_start_token_id", id),
    });
    if let Some((field, id)) = language {
        changes.insert(field.to_owned(), id.into());
    }
    changes
}

/// How a model reads one language and writes another.
pub(crate) struct Speaker {
    tokenizers: Tokenizers,
    generation: GenerationOptions,
}

impl Speaker {
    fn new<B: Backend>(model: &LanguageModel<B>, source: &str, target: &str) -> Result<Self> {
        let languages = Languages { source: Some(source.to_owned()), target: Some(target.to_owned()) };
        let found = model.tokenizers().with_languages(&languages).map_err(|error| {
            let hint =
                "name a language as the model does: __en__, en_XX, eng_Latn, or where that is unambiguous en, eng, …";
            Error::new(ErrorKind::Option, Error::from(error).what(), hint)
        })?;
        let tokenizers = found.filter(|_| model.is_encoder_decoder()).ok_or_else(|| {
            let what = "this model does not translate between several languages, as the measure needs";
            Error::new(
                ErrorKind::Option,
                what,
                "take one that does, such as facebook/m2m100_418M (m2m_100, nllb, mbart)",
            )
        })?;
        let generation = model.generation().clone();
        let generation = match tokenizers.target_start() {
            Some(start) => generation.starting(start),
            None => generation,
        };
        Ok(Self { tokenizers, generation })
    }

    pub(crate) fn preparer<'a, B: Backend>(&'a self, model: &'a LanguageModel<B>) -> Preparer<'a, B> {
        Preparer { tokenizers: &self.tokenizers, generation: &self.generation, ..model.preparer() }
    }
}

/// A speaker for each pair of languages.
#[derive(Default)]
pub(crate) struct Speakers(BTreeMap<[String; 2], Speaker>);

impl Speakers {
    /// The speaker of these languages.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] if the model does not translate between several languages, or not these.
    pub(crate) fn of<B: Backend>(&mut self, model: &LanguageModel<B>, source: &str, target: &str) -> Result<&Speaker> {
        match self.0.entry([source.to_owned(), target.to_owned()]) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Speaker::new(model, source, target)?)),
        }
    }
}
