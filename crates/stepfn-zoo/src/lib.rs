//! Two small models of our own, compiled into the program, so that there is something to look at without a download:
//!
//! - [`g2p`] reads a spelling and writes a pronunciation in ARPAbet: an encoder–decoder of the family `marian`, trained on CMUdict;
//! - [`verse`] writes on in the style of the King James Bible: a causal model of the family `llama`.
//!
//! Both are ordinary checkpoints (`models/` in this crate), each with a card that says what it was trained on and how good it is. `examples/` has the
//! programs that made them.
//!
//! CMUdict is © 1993–2015 Carnegie Mellon University; its notice stands in [`EmbeddedModel::card`] of [`g2p`], and goes with whatever is built
//! from this crate.

use burn::tensor::{DType, backend::Backend};
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::{Model, ModelError};

/// A checkpoint that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedModel {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// `config.json`.
    pub config: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static str,
    /// `generation_config.json`.
    pub generation_config: &'static str,
    /// The model card, with the notices of what the model was trained on (Markdown).
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
    embedded!("verse", "goes on in the style of the King James Bible"),
];

/// Spelling to pronunciation: `banana` gives `B AH0 N AE1 N AH0`.
pub fn g2p() -> &'static EmbeddedModel {
    &MODELS[0]
}

/// A causal model of the King James Bible.
pub fn verse() -> &'static EmbeddedModel {
    &MODELS[1]
}

/// All of them.
pub fn all() -> &'static [EmbeddedModel] {
    &MODELS
}

/// The one of that name.
pub fn find(name: &str) -> Option<&'static EmbeddedModel> {
    MODELS.iter().find(|model| model.name == name)
}

impl EmbeddedModel {
    /// The checkpoint, as if it were opened from disk.
    ///
    /// # Errors
    /// Never, unless the crate was built from damaged files.
    pub fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Checkpoint::from_bytes(self.name, self.config, self.weights)
    }

    /// The model, its parameters in `dtype`.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn model<B: Backend>(&self, dtype: DType, device: &B::Device) -> Result<Model<B>, ModelError> {
        Model::from_checkpoint(&self.checkpoint()?, dtype, device)
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        Tokenizer::from_bytes(self.tokenizer.as_bytes())
    }

    /// How it generates unless told otherwise.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn generation_settings(&self) -> Result<GenerationSettings, ModelError> {
        let json = serde_json::from_str(self.generation_config).map_err(|error| ModelError::File {
            path: [self.name, "generation_config.json"].iter().collect(),
            message: error.to_string(),
        })?;
        GenerationSettings::from_json(&json)
    }
}
