//! A language model that is ready to be asked: its weights, its tokenizer and its settings, found by name.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{AttributedFn, AttributionMethod, GenerationOptions, Preparer, Provenance};
use stepfn_core::catalog::nearest;
use stepfn_models::Model;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::config::TransformerConfig;
use stepfn_models::tokenizer::Tokenizer;

use crate::backend::{DefaultBackend, DefaultDevices, DeviceInfo, Devices, Place, default_memory};
use crate::texts::Outcomes;
use crate::{
    Answer, Ask, AttributeTask, Error, ErrorKind, GenerateTask, Input, IntoInput, Registry, Result, RunOptions,
    ScoreTask, ScoredText, Written,
};

/// A language model that is ready to be asked. It runs on the CPU unless another backend is named.
///
/// ```
/// use stepfn::{LanguageModel, Saliency};
///
/// // `g2p` is compiled in: it pronounces words.
/// let model = LanguageModel::load("g2p")?;
/// println!("{}", model.ask("phonetics").attribute(Saliency::default())?);
/// # Ok::<(), stepfn::Error>(())
/// ```
#[derive(Debug)]
pub struct LanguageModel<B: Backend = DefaultBackend> {
    name: String,
    backend: &'static str,
    device: DeviceInfo,
    dtype: DType,
    model: Model<B>,
    tokenizer: Tokenizer,
    generation: GenerationOptions,
    registry: Registry<B>,
}

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Number of the device.
    pub device: String,
    /// Type of the numbers that it computes with.
    pub dtype: DType,
    /// Fields of `generation_config.json` that are to be different: how the model writes.
    pub generation: Map<String, Value>,
    /// The token that a translation starts with, for models of several languages: `deu_Latn`, `de_DE`, `__de__`, …
    pub target_lang: Option<String>,
    /// Seed of sampling.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { device: "0".to_owned(), dtype: DType::F32, generation: Map::new(), target_lang: None, seed: 0 }
    }
}

impl LanguageModel {
    /// Loads a model onto the CPU: one that is compiled in ([`models`]), a folder with `config.json`, `model.safetensors` and `tokenizer.json`, a
    /// GGUF file, or a name on a hub (`org/name` or `org/name@revision`; feature `hub`). A folder of that name comes first.
    ///
    /// # Errors
    /// [`ErrorKind::Model`] if there is no such model or it can't be read.
    pub fn load(name: &str) -> Result<Self> {
        Self::load_with(name, &LoadOptions::default())
    }

    /// [`load`](Self::load) with options.
    ///
    /// # Errors
    /// As [`load_on`](Self::load_on).
    pub fn load_with(name: &str, options: &LoadOptions) -> Result<Self> {
        Self::load_on::<DefaultDevices>(name, options)
    }
}

impl<B: Backend> LanguageModel<B> {
    /// Loads a model onto a backend: [`Cpu`](crate::backend::Cpu), `Wgpu`, `Cuda`, or one of your own.
    ///
    /// # Errors
    /// As [`load`](LanguageModel::load); [`ErrorKind::Device`] if there is no such device, or it can't compute in the type of numbers;
    /// [`ErrorKind::Option`] or [`ErrorKind::Generation`] for settings that don't exist or can't be used.
    pub fn load_on<D: Devices<Backend = B>>(name: &str, options: &LoadOptions) -> Result<Self> {
        // Report typing errors before anything is read.
        GenerationOptions::check(&options.generation)?;
        let Place { device, info, dtype } = Place::<D>::new(&options.device, options.dtype)?;
        let Files { checkpoint, tokenizer, generation: published } = Files::find(name)?;
        let model = Model::from_checkpoint(&checkpoint, dtype, &device)?;
        tokenizer.check_vocab(model.config().vocab_size)?;
        let changes = with_language(options, &tokenizer)?;
        let mut generation = GenerationOptions::new(&published, &changes, model.config())?;
        generation.settings.seed = options.seed;
        Ok(Self {
            name: name.to_owned(),
            backend: D::NAME,
            device: info,
            dtype,
            model,
            tokenizer,
            generation,
            registry: Registry::default(),
        })
    }

    /// The name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its family, `model_type` in `config.json`.
    pub fn family(&self) -> &'static str {
        self.config().family
    }

    /// What distinguishes it from other models.
    pub fn config(&self) -> &TransformerConfig {
        self.model.config()
    }

    /// Whether it reads a source and writes a target. If not, it continues a text.
    pub fn is_encoder_decoder(&self) -> bool {
        self.config().is_encoder_decoder()
    }

    /// Name of the backend and type of the numbers: `cpu f32`.
    pub fn backend(&self) -> String {
        format!("{} {}", self.backend, self.dtype.name())
    }

    /// The device that it is on.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// The model itself, for work that starts from token ids.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How many texts it writes for each source or prompt.
    pub fn texts_per_prompt(&self) -> usize {
        self.generation.settings.num_return_sequences
    }

    /// The step functions and methods that it knows by name.
    pub fn registry(&self) -> &Registry<B> {
        &self.registry
    }

    /// The same, to add yours.
    pub fn registry_mut(&mut self) -> &mut Registry<B> {
        &mut self.registry
    }

    /// An attribution method by name: `model.method("lime", json!({ "n_samples": 20 }))`.
    ///
    /// # Errors
    /// As [`Registry::method`].
    pub fn method(&self, name: &str, parameters: Value) -> Result<Box<dyn AttributionMethod<B>>> {
        self.registry.method(name, &parameters)
    }

    /// A step function by name: `model.function("entropy", Value::Null)`.
    ///
    /// # Errors
    /// As [`Registry::function`].
    pub fn function(&self, name: &str, parameters: Value) -> Result<AttributedFn<B>> {
        self.registry.function(name, &parameters)
    }

    /// Asks about a text: say what, then [`score`](Ask::score) or [`attribute`](Ask::attribute).
    pub fn ask(&self, text: impl Into<String>) -> Ask<'_, B> {
        Ask::new(self, Input::text(text))
    }

    /// Asks about a text with all its parts.
    pub fn ask_about(&self, input: Input) -> Ask<'_, B> {
        Ask::new(self, input)
    }

    /// Step scores of many texts, in batches of texts of like length. A text has the same scores alone or in a batch.
    pub fn score_all<'m, I>(&'m self, inputs: I, task: &'m ScoreTask<B>) -> Outcomes<'m, B, I::IntoIter, ScoredText>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// Attributions of many texts.
    pub fn attribute_all<'m, I>(&'m self, inputs: I, task: &'m AttributeTask<B>) -> Outcomes<'m, B, I::IntoIter, Answer>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// What the model writes for many sources or after many prompts; best first if it writes several.
    pub fn generate_all<I>(&self, inputs: I) -> Outcomes<'_, B, I::IntoIter, Vec<Written>>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, GenerateTask::default(), inputs)
    }

    pub(crate) fn preparer(&self) -> Preparer<'_, B> {
        Preparer { model: &self.model, tokenizer: &self.tokenizer, generation: &self.generation }
    }

    /// How the model writes.
    pub(crate) fn generation(&self) -> &GenerationOptions {
        &self.generation
    }

    /// What is the same for all results: which model, and what runs it.
    pub(crate) fn provenance(&self) -> Provenance {
        Provenance {
            model: self.name.clone(),
            family: self.family().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: self.backend(),
            ..Provenance::default()
        }
    }

    /// Bytes for what is computed.
    pub(crate) fn memory(&self, options: &RunOptions) -> usize {
        options.memory.unwrap_or_else(|| default_memory(&self.device))
    }
}

/// The models that are compiled in: name, family and summary of each.
pub fn models() -> Vec<[String; 3]> {
    #[cfg(feature = "zoo")]
    let all = stepfn_zoo::all().iter().map(|model| {
        let config: Value = serde_json::from_str(model.config).unwrap_or_default();
        let family = config["model_type"].as_str().unwrap_or_default();
        [model.name, family, model.summary].map(str::to_owned)
    });
    #[cfg(not(feature = "zoo"))]
    let all = core::iter::empty();
    all.collect()
}

/// The files on this machine that a model of this name is read from; none for a model that is compiled in or not here yet.
pub fn model_files(name: &str) -> Vec<PathBuf> {
    let path = PathBuf::from(name);
    let Ok(folder) = fs::read_dir(&path) else {
        return if path.is_file() { vec![path] } else { Vec::new() };
    };
    let is_read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let settings = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
        settings.contains(&&*name) || name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
    };
    folder.filter_map(|entry| Some(entry.ok()?.path())).filter(is_read).collect()
}

/// The families of models that can be read.
pub fn families() -> impl Iterator<Item = &'static str> {
    stepfn_models::families::all().iter().map(|family| family.name)
}

/// What a model is read from.
struct Files {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    /// `generation_config.json`, or what says the same.
    generation: Value,
}

impl Files {
    /// A folder or file of that name, a model that is compiled in, or one on a hub: in this order.
    fn find(name: &str) -> Result<Self> {
        #[cfg(feature = "zoo")]
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

/// The folder of a model, or its GGUF file; from a hub, if there is none here and the name can be one there.
fn locate(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    #[cfg(feature = "hub")]
    if let Some(on_hub) = name_on_hub(name) {
        let found = stepfn_models::hub::Hub::from_env().fetch(&on_hub);
        // A word may also be meant for a model that is compiled in, or for a folder.
        return match found {
            Err(error) if !name.contains('/') => Err(no_model(name, &format!("; {error}"))),
            found => Ok(found?),
        };
    }
    Err(no_model(name, ""))
}

/// The name that something which is not here may have on a hub. A path with a typing error has none.
#[cfg(feature = "hub")]
fn name_on_hub(name: &str) -> Option<stepfn_models::hub::HubName> {
    let is_file = ["gguf", "safetensors", "bin", "json"].iter().any(|ending| name.ends_with(&format!(".{ending}")));
    if is_file { None } else { name.parse().ok() }
}

/// The error of a model that is not there; `more` says where else it is not.
fn no_model(name: &str, more: &str) -> Error {
    let compiled_in = models();
    let nearest = nearest(name, compiled_in.iter().map(|[name, ..]| name.as_str()));
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
    let hint = "give a folder with config.json, model.safetensors and tokenizer.json, a GGUF file, or a name on a hub (org/name or name)";
    Error::new(ErrorKind::Model, format!("there is no model `{name}`{meant}{more}"), hint)
}

fn with_language(options: &LoadOptions, tokenizer: &Tokenizer) -> Result<Map<String, Value>> {
    let mut changes = options.generation.clone();
    if let Some(language) = &options.target_lang {
        let id = tokenizer.token_to_id(language).ok_or_else(|| {
            let what = format!("the tokenizer has no token `{language}` for the target language");
            Error::new(ErrorKind::Option, what, "spell it as tokenizer.json does: deu_Latn, de_DE, __de__, …")
        })?;
        changes.insert("forced_bos_token_id".to_owned(), id.into());
    }
    Ok(changes)
}

/// `generation_config.json`; if there is none, `config.json` has these settings.
fn generation_config(folder: &Path, checkpoint: &Checkpoint) -> Result<Value> {
    let path = folder.join("generation_config.json");
    let unreadable = |error: String| {
        let hint = "repair the file, or remove it: config.json then says how the model writes";
        Error::new(ErrorKind::Model, format!("{}: {error}", path.display()), hint)
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // A GGUF file is not a folder.
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => {
            return Ok(checkpoint.config().clone());
        }
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let settings: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(settings.into())
}
