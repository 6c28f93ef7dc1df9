//! A language model that is ready to be asked: its weights, its tokenizer and its settings, found by name.

use std::path::Path;

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{AttributedFn, AttributionMethod, GenerationOptions, Masking, Preparer, Provenance};
use stepfn_core::device::type_name;
use stepfn_models::Model;
use stepfn_models::checkpoint::MemoryTensor;
use stepfn_models::config::TransformerConfig;
use stepfn_models::tokenizer::{Languages, Tokenizer, Tokenizers};

use crate::align::Aligner;
use crate::backend::{DefaultBackend, DefaultDevices, DeviceInfo, Devices, Place, default_memory};
use crate::files::{Download, Files};
use crate::languages::{check_target_language, with_language};
use crate::once::OnceTask;
use crate::texts::{Outcomes, one};
use crate::{
    Answer, Ask, AttributeTask, CompareTask, Comparison, ContextTask, Error, ErrorKind, GenerateTask, Input, IntoInput,
    Registry, Result, RunOptions, ScoreTask, ScoredText, Similarity, SimilarityTask, Written,
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
    tokenizers: Tokenizers,
    generation: GenerationOptions,
    registry: Registry<B>,
    pub(crate) aligner: Aligner<B>,
}

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Number of the device.
    pub device: String,
    /// Type of the numbers that it computes with. `I8`: weights are rounded to 8 bits, and everything else is in single precision.
    pub dtype: DType,
    /// Fields of `generation_config.json` that are to be different: how the model writes.
    pub generation: Map<String, Value>,
    /// Of an adapter, the model that it changes; by default the one that it names itself.
    pub base: Option<String>,
    /// The language that a model for several languages reads: `eng_Latn`, `en_XX`, `__en__`, …
    pub source_lang: Option<String>,
    /// The language that it writes: `deu_Latn`, `de_DE`, `__de__`, `>>deu<<`, …
    pub target_lang: Option<String>,
    /// Seed of sampling.
    pub seed: u64,
    /// Load it for its hidden states, as what [aligns](LanguageModel::aligned_by): an encoder of sentences without the head that predicts tokens will do. What
    /// such a model predicts means nothing.
    pub for_states: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: "0".to_owned(),
            dtype: DType::F32,
            generation: Map::new(),
            base: None,
            source_lang: None,
            target_lang: None,
            seed: 0,
            for_states: false,
        }
    }
}

impl LanguageModel {
    /// Loads a model onto the CPU: one that is compiled in ([`models`]), a folder with `config.json`, `model.safetensors` and `tokenizer.json`, a
    /// GGUF file, or a name on a hub (`org/name` or `org/name@revision`; feature `hub`). A folder of that name comes first.
    /// Weights in half precision or in blocks stay in their memory-mapped file, which must not change while the model is in use.
    ///
    /// # Errors
    /// [`ErrorKind::Model`](crate::ErrorKind::Model) if there is no such model or it can't be read.
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
    /// As [`load`](LanguageModel::load); [`ErrorKind::Device`](crate::ErrorKind::Device) if there is no such device, or it can't compute in the type of numbers;
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) or [`ErrorKind::Generation`](crate::ErrorKind::Generation) for settings that don't exist or can't be used.
    pub fn load_on<D: Devices<Backend = B>>(name: &str, options: &LoadOptions) -> Result<Self> {
        Self::load_watched::<D>(name, options, &|_| ())
    }

    /// [`load_on`](Self::load_on), and calls `progress` while files come from a hub.
    ///
    /// # Errors
    /// As [`load_on`](Self::load_on).
    pub fn load_watched<D: Devices<Backend = B>>(
        name: &str,
        options: &LoadOptions,
        progress: &dyn Fn(&Download),
    ) -> Result<Self> {
        let files = |languages: &Languages| Files::find(name, options.base.as_deref(), languages, progress);
        Self::of_files::<D>(name, options, files)
    }

    /// A model whose weights are in memory, such as one that another library has loaded: `folder` has its other files (`config.json`, those
    /// of its tokenizer), and `name` is what results call it. Loading copies each tensor once; nothing reads them after that.
    ///
    /// # Errors
    /// As [`load_on`](Self::load_on).
    pub fn load_tensors<D: Devices<Backend = B>>(
        name: &str,
        folder: impl AsRef<Path>,
        tensors: impl IntoIterator<Item = MemoryTensor>,
        options: &LoadOptions,
    ) -> Result<Self> {
        if let Some(base) = &options.base {
            let what = format!("{name} is in memory, so it changes no other model, such as {base}");
            return Err(Error::new(ErrorKind::Option, what, "give no base"));
        }
        Self::of_files::<D>(name, options, |languages| Files::with_tensors(folder.as_ref(), tensors, languages))
    }

    fn of_files<D: Devices<Backend = B>>(
        name: &str,
        options: &LoadOptions,
        files: impl FnOnce(&Languages) -> Result<Files>,
    ) -> Result<Self> {
        // Report typing errors before anything is read.
        GenerationOptions::check(&options.generation)?;
        let Place { device, info, dtype } = Place::<D>::new(&options.device, options.dtype)?;
        let languages = Languages { source: options.source_lang.clone(), target: options.target_lang.clone() };
        let Files { checkpoint, tokenizers, generation: published } = files(&languages)?;
        let model = match options.for_states {
            true => Model::for_states(&checkpoint, dtype, &device)?,
            false => Model::from_checkpoint(&checkpoint, dtype, &device)?,
        };
        let tokenizers = tokenizers.limited_to([model.config().source_vocab_size(), model.config().vocab_size]);
        check_target_language(options, &tokenizers, model.config())?;
        let changes = with_language(options, &tokenizers);
        let mut generation = GenerationOptions::new(&published, &changes, model.config())?;
        generation.settings.seed = options.seed;
        Ok(Self {
            name: name.to_owned(),
            backend: D::NAME,
            device: info,
            dtype,
            model,
            tokenizers,
            generation,
            registry: Registry::default(),
            aligner: Aligner::default(),
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

    /// Whether it predicts masked tokens from the text on both sides of them. Such a model can't write.
    pub fn is_masked(&self) -> bool {
        self.config().is_masked()
    }

    /// Name of the backend and type of the numbers: `cpu f32`.
    pub fn backend(&self) -> String {
        format!("{} {}", self.backend, type_name(self.dtype))
    }

    /// The type of the numbers that it computes with.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that it is on.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// The model itself, for work that starts from token ids.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Its tokenizer: of sources, where it has another one for targets.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.tokenizers.source()
    }

    /// Its tokenizers, of sources and of targets.
    pub fn tokenizers(&self) -> &Tokenizers {
        &self.tokenizers
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

    /// Step scores of many texts, in batches of texts of like length. A text has the same scores alone or in a batch, but for rounding.
    pub fn score_all<'m, I>(&'m self, inputs: I, task: &'m ScoreTask<B>) -> Outcomes<'m, B, I::IntoIter, ScoredText>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        match &task.once {
            Some(once) => Outcomes::new(self, OnceTask::new(task, once), inputs),
            None => Outcomes::new(self, task, inputs),
        }
    }

    /// Attributions of many texts.
    pub fn attribute_all<'m, I>(&'m self, inputs: I, task: &'m AttributeTask<B>) -> Outcomes<'m, B, I::IntoIter, Answer>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// Which of their sources the answers to many questions came from: inputs with `sources`.
    pub fn context_all<'m, I>(&'m self, inputs: I, task: &'m ContextTask) -> Outcomes<'m, B, I::IntoIter, Answer>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// Which of its sources an answer came from: `Input::context(["One.", "Two."], "Which?")`. Without a target, the model answers.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] for an input without sources or whose sources can't be found in the prompt, [`ErrorKind::Option`] for options that make no
    /// sense.
    pub fn context(&self, input: Input, task: &ContextTask) -> Result<Answer> {
        one(self, task, input)
    }

    /// Which of an input's [variants](Input::variants) the model prefers.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] for fewer than two variants, or if a criterion is about a region that is not there.
    pub fn compare(&self, input: Input, task: &CompareTask<B>) -> Result<Comparison> {
        one(self, task, input)
    }

    /// The same for many inputs. [`writers::comparisons`](crate::writers::comparisons) counts preferences by group.
    pub fn compare_all<'m, I>(&'m self, inputs: I, task: &'m CompareTask<B>) -> Outcomes<'m, B, I::IntoIter, Comparison>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// How alike two texts are to a model that translates between several languages: `Input::pair("A text.", "Ein Text.")`.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a model that does not translate between several languages, or not these; [`ErrorKind::Text`] if there are not two texts.
    pub fn similarity(&self, input: Input, task: &SimilarityTask) -> Result<Similarity> {
        one(self, task, input)
    }

    /// The same for many inputs.
    pub fn similarity_all<'m, I>(
        &'m self,
        inputs: I,
        task: &'m SimilarityTask,
    ) -> Outcomes<'m, B, I::IntoIter, Similarity>
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
        let Self { model, tokenizers, generation, .. } = self;
        Preparer { model, tokenizers, generation, masking: Masking::default(), start_token: None }
    }

    /// The same, with what is masked where a token is predicted.
    pub(crate) fn preparer_masking(&self, masking: Option<Masking>) -> Result<Preparer<'_, B>> {
        if masking.is_some() && !self.is_masked() {
            let what = "this model predicts what comes next, and masks nothing";
            return Err(Error::new(
                ErrorKind::Option,
                what,
                "leave out the masking, or take a model of masked tokens (bert, roberta, …)",
            ));
        }
        Ok(Preparer { masking: masking.unwrap_or_default(), ..self.preparer() })
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

    /// Bytes for what is computed with these options, in addition to the model.
    pub fn memory(&self, options: &RunOptions) -> usize {
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

/// The families of models that can be read.
pub fn families() -> impl Iterator<Item = &'static str> {
    stepfn_models::families::all().iter().map(|family| family.name)
}
