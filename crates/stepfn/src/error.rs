//! Errors as two sentences: what is wrong, and what to do.

use core::fmt;

use burn::tensor::DType;
use stepfn_attribution::AttributionError;
use stepfn_core::device::DeviceError;
use stepfn_core::{CatalogError, StepError};
use stepfn_models::ModelError;

/// The result of this crate's functions.
pub type Result<T> = core::result::Result<T, Error>;

/// What is wrong, and what to do.
#[derive(Clone, PartialEq)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: String,
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name that no method or step function has.
    Name,
    /// A name that no format has.
    Format,
    /// A backend that the program was not built with.
    Backend,
    /// A parameter of a method, a step function or an aggregation stage with a value that can't be used, or a method and
    /// a step function that don't go together.
    Parameter,
    /// An option with a value that can't be used, or options that exclude each other.
    Option,
    /// A setting of how the model writes.
    Generation,
    /// A device that is not there.
    Device,
    /// A model's files: missing, broken, or of a kind that can't be read.
    Model,
    /// A family of models that can't be read.
    Family,
    /// A text that doesn't fit the model or the question.
    Text,
    /// A contrast that is missing.
    Contrast,
    /// A contrast that reads the same context as the text, where nothing can differ.
    SameContext,
    /// An alignment that doesn't fit the text and its contrast.
    Alignment,
    /// Passes with dropout that all say the same.
    Dropout,
    /// Predictions that are not finite.
    Numbers,
    /// A file of results.
    File,
    /// Nobody reads standard output any more.
    Closed,
    /// A text that failed when the file that was read was written.
    Saved,
    /// The work was cancelled.
    Cancelled,
}

impl Error {
    /// An error: what is wrong, and what to do about it.
    pub fn new(kind: ErrorKind, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: hint.into() }
    }

    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The same error, of a model that computes with numbers of this type: where they can't be finer, no advice to take finer ones.
    pub(crate) fn computed_in(self, dtype: DType) -> Self {
        match self.kind {
            ErrorKind::Numbers if [DType::F32, DType::F64].contains(&dtype) && self.hint.contains(FINER) => {
                Self { hint: NOT_FINER.to_owned(), ..self }
            }
            _ => self,
        }
    }

    /// The same error, of a place: a file, a line, a text.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint.as_str() {
            "" => f.write_str(&self.what),
            hint => write!(f, "{} (help: {hint})", self.what),
        }
    }
}

// What `fn main() -> stepfn::Result<()>` prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.what, self.hint)
    }
}

impl core::error::Error for Error {}

/// What to do about predictions that are not finite.
const BROKEN_NUMBERS: &str = "try single precision (f32); if that doesn't help, the checkpoint is broken";

/// What to do about work that was cancelled.
const CANCELLED: &str = "run it again to have all results";

/// What the advice to take finer numbers says.
const FINER: &str = "single precision (f32)";

/// What to do where numbers are as fine as they get.
const NOT_FINER: &str =
    "the model computes in single precision (f32) already: check that its files are whole, and of this model";

/// What lets a contrast read a context of its own.
pub(crate) const FORCE_INPUTS: &str = "set `contrast_force_inputs`, so that the contrast reads its own context";

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        let hint = match error {
            DeviceError::Unknown { .. } => "give the number of one of these devices",
            _ => "use the CPU, or install what is missing",
        };
        Self::new(ErrorKind::Device, error.to_string(), hint)
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        let what = error.to_string();
        let (kind, hint) = match error {
            ModelError::File { .. } => (
                ErrorKind::Model,
                "a model is a folder with config.json, weights and a tokenizer, as transformers' save_pretrained writes it, \
                 or a GGUF file",
            ),
            ModelError::Hub { .. } => (ErrorKind::Model, "or give the folder of a model that is on this machine"),
            ModelError::UnknownFamily { .. } => (ErrorKind::Family, "use a model of one of the supported families"),
            ModelError::Config { .. } => (
                ErrorKind::Model,
                "correct config.json if the value is a mistake; if it is right, stepfn can't run this model, so use one without this option",
            ),
            ModelError::MissingTensor { .. } | ModelError::UnusedTensor { .. } | ModelError::Tensor { .. } => {
                (ErrorKind::Model, "check that all files of the folder belong to one model and are complete")
            }
            ModelError::TokenId { .. } => {
                (ErrorKind::Text, "leave it out of the text, or check that the tokenizer belongs to this model")
            }
            ModelError::Language { available, .. } if available.is_empty() => {
                (ErrorKind::Option, "leave it out, or give the token that stands for it in the vocabulary")
            }
            ModelError::Language { .. } => (
                ErrorKind::Option,
                "give the languages as `source_lang` and `target_lang`: __en__, en_XX, eng_Latn, or where that is unambiguous en, eng, …",
            ),
            ModelError::Chat { .. } => {
                (ErrorKind::Text, "change the messages, or give the whole prompt as a text, as the model reads it")
            }
            ModelError::LongText { .. } => (ErrorKind::Text, "split the text"),
            ModelError::Setting { .. } => (ErrorKind::Generation, "change this generation setting"),
            ModelError::NothingAllowed { .. } => (
                ErrorKind::Generation,
                "relax bad_words_ids, no_repeat_ngram_size, min_new_tokens or prefix, or the forced first or last token",
            ),
            ModelError::NonFinite { .. } => (ErrorKind::Numbers, BROKEN_NUMBERS),
            ModelError::Overflow { .. } => (ErrorKind::Numbers, "use single precision (f32), or bf16"),
            ModelError::Cancelled => (ErrorKind::Cancelled, CANCELLED),
            ModelError::NoRule { .. } => (ErrorKind::Parameter, "choose another method"),
            _ => (ErrorKind::Text, "change the text, or use another model"),
        };
        Self::new(kind, what, hint)
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        let (kind, hint) = match &error {
            CatalogError::UnknownName { kind: "method" | "step function", .. } => {
                (ErrorKind::Name, "check the spelling, or register it under this name")
            }
            CatalogError::UnknownName { .. } => (ErrorKind::Name, "check the spelling"),
            CatalogError::DuplicateName { .. } => (ErrorKind::Name, "rename one of the two"),
            CatalogError::Parameter(error) if ["attribution", "scoring"].contains(&error.owner.as_str()) => {
                (ErrorKind::Option, "change this option")
            }
            CatalogError::Parameter(error) if error.owner == "aggregation" && error.parameter == "messages" => {
                (ErrorKind::Option, "give a chat, or leave this stage out")
            }
            CatalogError::Parameter(error) if error.owner == "aggregation" => {
                (ErrorKind::Parameter, "change this stage, or leave it out")
            }
            CatalogError::Parameter(error) if error.owner == "generation" => {
                (ErrorKind::Option, "change this generation setting")
            }
            CatalogError::UnknownParameter { owner: "generation", .. } => {
                (ErrorKind::Option, "check the spelling of the setting")
            }
            _ => (ErrorKind::Parameter, "change this parameter"),
        };
        Self::new(kind, error.to_string(), hint)
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        AttributionError::from(error).into()
    }
}

impl From<AttributionError> for Error {
    fn from(error: AttributionError) -> Self {
        let what = error.to_string();
        match error {
            AttributionError::Model(error) => error.into(),
            AttributionError::Catalog(error) => error.into(),
            AttributionError::Step { error, .. } => {
                let (kind, hint) = match error {
                    StepError::MissingContrast { .. } => {
                        (ErrorKind::Contrast, "give a source or a target to compare with")
                    }
                    StepError::NotAligned => (ErrorKind::Alignment, "give pairs of scored token and contrast token"),
                    StepError::PairOutside { .. } | StepError::PairTwice { .. } => {
                        (ErrorKind::Alignment, "pairs count the scored tokens of either text from 0, prompts left out")
                    }
                    StepError::Function { .. } => (ErrorKind::Parameter, "correct the function"),
                    StepError::NonFinite { .. } => (ErrorKind::Numbers, BROKEN_NUMBERS),
                    StepError::NoSpread { .. } => {
                        (ErrorKind::Dropout, "give a dropout rate above 0, or use the statistic `mean`")
                    }
                    _ => (ErrorKind::Numbers, "check that model and tokenizer belong together"),
                };
                Self::new(kind, what, hint)
            }
            AttributionError::SameContext(_) => Self::new(ErrorKind::SameContext, what, FORCE_INPUTS),
            AttributionError::NotFinite { .. } => Self::new(
                ErrorKind::Numbers,
                what,
                "try single precision (f32); if that doesn't help, try another method",
            ),
            AttributionError::NoValue { .. } => Self::new(
                ErrorKind::Numbers,
                what,
                "attribute a function that has a finite value at every step, here and with tokens hidden",
            ),
            AttributionError::Unsuited(_) => {
                Self::new(ErrorKind::Parameter, what, "choose another method or step function")
            }
            AttributionError::Format { .. } => {
                Self::new(ErrorKind::File, what, "give a file that stepfn or inseq wrote")
            }
            AttributionError::Cancelled => Self::new(ErrorKind::Cancelled, what, CANCELLED),
            _ => Self::new(ErrorKind::Text, what, "change the text, or what is asked of it"),
        }
    }
}
