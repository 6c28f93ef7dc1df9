//! Attributions shown to people.
//!
//! | function | gives |
//! |---|---|
//! | [`terminal::render`] | a heat map for a terminal, in 24-bit colour, 256 colours or plain numbers |
//! | [`html::render`] | one self-contained page for any number of texts |
//! | [`svg::render`] | a heat map for a paper |
//!
//! All are pure functions of [`Attribution`](stepfn_attribution::Attribution)s. Scores with layers, heads or hidden units are reduced to
//! one number per token and step first, as [`Attribution::per_token`](stepfn_attribution::Attribution::per_token) does.
//!
//! Signed scores go from blue through white to red, unsigned ones from white to red: a scale that people with any kind of colour
//! blindness can read. Its ends are those of the scale "RdBu" (Brewer, colorbrewer2.org).

mod color;
mod grid;
pub mod html;
mod label;
pub mod svg;
pub mod terminal;

#[cfg(test)]
#[path = "../tests/samples/mod.rs"]
mod samples;
