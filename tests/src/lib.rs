//! Shared test code of the workspace: random steps, an independent reference, and test bodies that run on any backend.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

pub mod attributions;
pub mod axioms;
pub mod blocks;
pub mod case;
pub mod fuzz;
pub mod gguf;
pub mod golden;
pub mod gradients;
pub mod identities;
pub mod models;
pub mod reference;
pub mod suite;
pub mod tape;
pub mod torch;
pub mod values;
