//! Two small models that are compiled into the program, so that you can try things without a download:
//!
//! - [`g2p`] reads a spelling and writes its pronunciation in ARPAbet: an encoder–decoder of the family `marian`, trained on CMUdict;
//! - [`verse`] continues a text in the style of the King James Bible: a causal model of the family `llama`.
//!
//! Both are ordinary checkpoints (`models/` in this crate), each with a card that documents its training data and quality. The programs
//! that trained them are in `examples/`.
//!
//! CMUdict is © 1993–2015 Carnegie Mellon University. Its notice is in the [`EmbeddedModel::card`] of [`g2p`] and must accompany anything
//! built from this crate.

use burn::tensor::{DType, backend::Backend};
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::{Model, ModelError};

/// A checkpoint that is compiled into the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedModel {
    /// Its name.
    pub name: &'static str,
    /// A short description.
    pub summary: &'static str,
    /// `config.json`.
    pub config: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static str,
    /// `generation_config.json`.
    pub generation_config: &'static str,
    /// The model card (Markdown), with the notices of its training data.
    pub card: &'static str,
}

/// The files of a folder in `models/`.
macro_rules! embedded {
    ($name:literal, $summary:literal) => {
        EmbeddedModel {
            name: $name,
            summary: $summary,
            config: include_str!(concat!("../models/", $name, "/config.json")),
            weights: include_bytes!(concat!("../models/", $name, "/model.safetensors")),
            tokenizer: include_str!(concat!("../models/", $name, "/tokenizer.json")),
            generation_config: include_str!(concat!("../models/", $name, "/generation_config.json")),
            card: include_str!(concat!("../models/", $name, "/README.md")),
        }
    };
}

static MODELS: [EmbeddedModel; 2] = [
    embedded!("g2p", "spelling to pronunciation (English, ARPAbet)"),
    embedded!("verse", "continues a text in the style of the King James Bible"),
];

/// Spelling to pronunciation: `banana` gives `B AH0 N AE1 N AH0`.
pub fn g2p() -> &'static EmbeddedModel {
    &MODELS[0]
}

/// A causal model of the King James Bible.
pub fn verse() -> &'static EmbeddedModel {
    &MODELS[1]
}

/// All models.
pub fn all() -> &'static [EmbeddedModel] {
    &MODELS
}

/// The model with that name.
pub fn find(name: &str) -> Option<&'static EmbeddedModel> {
    MODELS.iter().find(|model| model.name == name)
}

impl EmbeddedModel {
    /// The checkpoint, as if opened from disk.
    ///
    /// # Errors
    /// Never, unless the crate was built from damaged files.
    pub fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Checkpoint::from_bytes(self.name, self.config, self.weights)
    }

    /// The model, with parameters in `dtype`.
    ///
    /// # Errors
    /// Same as [`checkpoint`](Self::checkpoint).
    pub fn model<B: Backend>(&self, dtype: DType, device: &B::Device) -> Result<Model<B>, ModelError> {
        Model::from_checkpoint(&self.checkpoint()?, dtype, device)
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// Same as [`checkpoint`](Self::checkpoint).
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        Tokenizer::from_bytes(self.tokenizer.as_bytes())
    }

    /// Its default generation settings.
    ///
    /// # Errors
    /// Same as [`checkpoint`](Self::checkpoint).
    pub fn generation_settings(&self) -> Result<GenerationSettings, ModelError> {
        let json = serde_json::from_str(self.generation_config).map_err(|error| ModelError::File {
            path: [self.name, "generation_config.json"].iter().collect(),
            message: error.to_string(),
        })?;
        GenerationSettings::from_json(&json)
    }
}
