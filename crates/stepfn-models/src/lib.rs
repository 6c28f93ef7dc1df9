//! One transformer, causal and encoder–decoder, driven by configuration; the published model families that it supports; their checkpoints.

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod families;
pub mod generation;
#[cfg(feature = "hub")]
pub mod hub;
pub mod names;
pub mod random;
pub mod source;
pub mod tape;
pub mod tokenizer;
pub mod transformer;

mod context;
mod decoding;
mod error;
mod file;
#[cfg(feature = "gguf")]
mod gguf;
mod interrupt;
mod json;
mod json_file;
mod model;
mod parameters;
mod words;

pub use context::Context;
pub use decoding::{Decoding, Opening};
pub use error::ModelError;
pub use file::{is_there, read_file};
pub use interrupt::check_interrupted;
pub use json_file::{from_json, json_error};
pub use model::Model;
pub use stepfn_kernels::interruptible;
pub use words::plain_words;
