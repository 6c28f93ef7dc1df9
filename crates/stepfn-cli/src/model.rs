//! Finding and loading a model: the one place where its name is looked up.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{GenerationOptions, Preparer};
use stepfn_models::Model;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::hub::Hub;
use stepfn_models::tokenizer::Tokenizer;

use crate::args::{GenerationArgs, ModelArgs};
use crate::backend::Place;
use crate::failure::Failure;

/// A model, and what it needs to read and write.
#[derive(Debug)]
pub(crate) struct Loaded<B: Backend> {
    /// As it was asked for.
    pub(crate) name: String,
    pub(crate) model: Model<B>,
    tokenizer: Tokenizer,
    generation: GenerationOptions,
}

impl<B: Backend> Loaded<B> {
    /// Finds the model and loads it.
    pub(crate) fn load(args: &ModelArgs, generation: &GenerationArgs, place: &Place<B>) -> Result<Self, Failure> {
        let changes = changes(generation)?;
        let name = args.model.clone().unwrap_or_else(|| stepfn_zoo::g2p().name.to_owned());
        let Files { checkpoint, tokenizer, generation: published } = Files::find(&name)?;
        let model = Model::from_checkpoint(&checkpoint, place.dtype, &place.device)?;
        tokenizer.check_vocab(model.config().vocab_size)?;
        let changes = with_language(changes, generation, &tokenizer)?;
        let mut generation = GenerationOptions::new(&published, &changes, model.config())?;
        generation.settings.seed = args.seed;
        Ok(Self { name, model, tokenizer, generation })
    }

    /// Makes texts for the model.
    pub(crate) fn preparer(&self) -> Preparer<'_, B> {
        Preparer { model: &self.model, tokenizer: &self.tokenizer, generation: &self.generation }
    }
}

/// What a model is read from.
struct Files {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    /// `generation_config.json`, or what says the same.
    generation: Value,
}

impl Files {
    /// A folder of that name, a model that is compiled in, or one on a hub: in this order.
    fn find(name: &str) -> Result<Self, Failure> {
        if let Some(embedded) = stepfn_zoo::find(name).filter(|_| !Path::new(name).exists()) {
            let generation = serde_json::from_str(embedded.generation_config).unwrap_or_default();
            return Ok(Self { checkpoint: embedded.checkpoint()?, tokenizer: embedded.tokenizer()?, generation });
        }
        let folder = locate(name)?;
        let checkpoint = Checkpoint::open(&folder)?;
        let generation = generation_config(&folder, &checkpoint)?;
        Ok(Self { checkpoint, tokenizer: Tokenizer::open(&folder)?, generation })
    }
}

/// The folder of a model, or its GGUF file; from a hub, if there is none here and it is a name there.
fn locate(name: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    // A path that was mistyped is no name of a hub.
    if name.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").count() == 2
        && !path.is_absolute()
        && let Ok(name) = name.parse()
    {
        return Ok(Hub::from_env().fetch(&name)?);
    }
    let hint = "give a folder with config.json, model.safetensors and tokenizer.json, a GGUF file, or a hub's org/name";
    let nearest = nearest(name, stepfn_zoo::all().iter().map(|model| model.name));
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
    Err(Failure::work(format!("there is no model `{name}`{meant}"), hint))
}

/// The name most like another, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro–Winkler similarity two names have little but length in common.
    const ALIKE: f64 = 0.75;
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `NAME=VALUE`, where the value is JSON if it can be, and else a text.
pub(crate) fn assignment(text: &str, option: &str) -> Result<(String, Value), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::usage(format!("--{option} {text}: expected NAME=VALUE"), format!("write --{option} NAME=VALUE"))
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.trim().to_owned(), value))
}

/// What the command line changes in the checkpoint's settings.
fn changes(args: &GenerationArgs) -> Result<Map<String, Value>, Failure> {
    let mut changes = Map::new();
    for text in &args.generation {
        let (name, value) = assignment(text, "generation")?;
        changes.insert(name, value);
    }
    if let Some(most) = args.max_new_tokens {
        changes.insert("max_new_tokens".to_owned(), most.into());
    }
    Ok(changes)
}

fn with_language(
    mut changes: Map<String, Value>,
    args: &GenerationArgs,
    tokenizer: &Tokenizer,
) -> Result<Map<String, Value>, Failure> {
    if let Some(language) = &args.target_lang {
        let id = tokenizer.token_to_id(language).ok_or_else(|| {
            let what = format!("--target-lang: the tokenizer has no token `{language}`");
            Failure::usage(what, "give the token as tokenizer.json spells it: deu_Latn, de_DE, __de__, …")
        })?;
        changes.insert("forced_bos_token_id".to_owned(), id.into());
    }
    Ok(changes)
}

/// `generation_config.json`; where there is none, `config.json` has these settings.
fn generation_config(folder: &Path, checkpoint: &Checkpoint) -> Result<Value, Failure> {
    let path = folder.join("generation_config.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // A GGUF file is no folder.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(checkpoint.config().clone());
        }
        Err(error) => return Err(unreadable(&path, &error)),
    };
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&path, &error))
}

fn unreadable(path: &Path, error: &impl ToString) -> Failure {
    let what = format!("{}: {}", path.display(), error.to_string());
    Failure::work(what, "mend the file, or take it away: config.json then says how to write")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_or_text() {
        assert_eq!(assignment("top_p=0.9", "set").unwrap(), ("top_p".to_owned(), json!(0.9)));
        assert_eq!(assignment("statistic=zscore", "set").unwrap().1, json!("zscore"));
        assert_eq!(assignment("eos=[1, 2]", "set").unwrap().1, json!([1, 2]));
        assert_eq!(assignment("top_p", "set").unwrap_err().code, 2);
    }
}
