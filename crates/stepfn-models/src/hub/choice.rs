//! Which of a repository's files are downloaded.

use std::collections::BTreeSet;

use super::name::HubName;
use crate::checkpoint::files::{self, instead};

pub(super) const CONFIG: &str = "config.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The files needed besides the weights, where a repository has them.
const SMALL_FILES: [&str; 20] = [
    CONFIG,
    ADAPTER_CONFIG,
    "generation_config.json",
    "quantize_config.json",
    "quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "target_vocab.json",
    "vocab.txt",
    "source.spm",
    "target.spm",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
];

/// The folder of further chat templates.
const TEMPLATES: &str = "additional_chat_templates/";

/// The files with a model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    /// One file.
    Whole(String),
    /// An index, a JSON file that lists several.
    Sharded(String),
    /// The weights of an adapter.
    Adapter(String),
    /// The parts of a GGUF model, in order; usually there is one.
    Gguf(Vec<String>),
}

impl Weights {
    /// The file or files; those of an index follow from its contents.
    pub(super) fn files(&self) -> &[String] {
        match self {
            Self::Whole(file) | Self::Sharded(file) | Self::Adapter(file) => std::slice::from_ref(file),
            Self::Gguf(files) => files,
        }
    }
}

/// The small files that loading needs, besides a GGUF file, which has all in itself.
pub(super) fn small_files(files: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    let is_template = |file: &str| {
        file.strip_prefix(TEMPLATES).is_some_and(|template| template.ends_with(".jinja") && !template.contains('/'))
    };
    files.iter().map(String::as_str).filter(move |file| SMALL_FILES.contains(file) || is_template(file))
}

/// Whether there is a tokenizer among the files.
pub(super) fn has_tokenizer(files: &BTreeSet<String>) -> bool {
    const KINDS: [&[&str]; 7] = [
        &["tokenizer.json"],
        &["tokenizer.model"],
        &["spiece.model"],
        &["sentencepiece.bpe.model"],
        &["source.spm", "target.spm"],
        &["vocab.json", "merges.txt"],
        &["vocab.txt"],
    ];
    KINDS.iter().any(|kind| kind.iter().all(|file| files.contains(*file)))
}

/// Chooses the weights among a repository's files, or says what is wrong with all of them.
pub(super) fn choose(name: &HubName, files: &BTreeSet<String>) -> Result<Weights, String> {
    if let Some(file) = name.file() {
        return named(name, file, files);
    }
    if files.contains(CONFIG)
        && let Some(weights) = files::weights(files)
    {
        return Ok(match weights {
            files::Weights::Whole(file) => Weights::Whole(file),
            files::Weights::Sharded(index) => Weights::Sharded(index),
        });
    }
    let adapters = ["adapter_model.safetensors", "adapter_model.bin"];
    if files.contains(ADAPTER_CONFIG)
        && let Some(file) = adapters.into_iter().find(|file| files.contains(*file))
    {
        return Ok(Weights::Adapter(file.to_owned()));
    }
    let models = gguf_models(files);
    match models.as_slice() {
        [only] => parts(only, files).map(Weights::Gguf),
        [first, ..] => Err(format!(
            "it has several GGUF files, so name one, as in `{}`: {}",
            name.with_file(first),
            shown(models.iter().copied(), 24)
        )),
        [] => {
            let absent = match files.contains(CONFIG) {
                true => "it has neither model.safetensors nor pytorch_model.bin, and no GGUF file",
                false => "it has neither config.json nor a GGUF file",
            };
            let has = shown(files.iter().map(String::as_str), 8);
            Err(format!("{absent}{}; it has {has}", instead(files)))
        }
    }
}

/// The GGUF file that a name asks for, with the parts that belong to it.
fn named(name: &HubName, file: &str, files: &BTreeSet<String>) -> Result<Weights, String> {
    if files.contains(file) {
        return parts(file, files).map(Weights::Gguf);
    }
    let models = gguf_models(files);
    match models.is_empty() {
        true => Err(format!("it has no file `{file}` and no GGUF file at all; try `{}`", name.repository())),
        false => Err(format!("it has no file `{file}`, but it has {}", shown(models.into_iter(), 24))),
    }
}

/// The GGUF files that are models, each by its first part. Others only accompany one.
fn gguf_models(files: &BTreeSet<String>) -> Vec<&str> {
    let is_model = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let accompanies = name.contains("mmproj") || name.starts_with("imatrix");
        name.ends_with(".gguf") && !accompanies && part_of(path).is_none_or(|(_, part, _)| part == 1)
    };
    files.iter().map(String::as_str).filter(is_model).collect()
}

/// All parts of the model that a GGUF file belongs to.
fn parts(file: &str, files: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let Some((stem, _, count)) = part_of(file) else { return Ok(vec![file.to_owned()]) };
    let part = |number: u32| format!("{stem}-{number:05}-of-{count:05}.gguf");
    let all: Vec<String> = (1..=count).map(part).collect();
    match all.iter().find(|part| !files.contains(*part)) {
        Some(missing) => {
            Err(format!("the model is in {count} files, and there is no `{missing}`; try another revision"))
        }
        None => Ok(all),
    }
}

/// Stem, number and count of a part, `STEM-00001-of-00003.gguf`.
fn part_of(path: &str) -> Option<(&str, u32, u32)> {
    /// Files of no published model are more.
    const MOST: u32 = 1000;
    let number = |digits: &str| digits.parse().ok().filter(|_| digits.len() == 5);
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let (part, count) = (number(part)?, number(count)?);
    (1..=count).contains(&part).then_some((stem, part, count)).filter(|_| count <= MOST)
}

/// The first few names, for an error message.
fn shown<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> String {
    let mut names = names.peekable();
    let shown: Vec<&str> = names.by_ref().take(most).collect();
    let more = if names.peek().is_some() { ", …" } else { "" };
    if shown.is_empty() { "no files".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}
