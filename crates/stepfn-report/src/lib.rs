//! Displays of attributions.
//!
//! | function | result |
//! |---|---|
//! | [`terminal::render`] | a heat map for a terminal, in 24-bit colour, 256 colours or plain numbers |
//! | [`html::render`] | one self-contained page for any number of texts |
//! | [`svg::render`] | a heat map for a paper |
//! | [`reliance::render`], [`html::render_reliance`] | which tokens depend on context, and on what in it |
//! | [`evaluation::render`] | a page with the metrics of several methods |
//!
//! Those of attributions are pure functions of [`Attribution`](stepfn_attribution::Attribution)s. Scores with layers, heads or hidden units are first reduced
//! to one number per token and step, as [`Attribution::per_token`](stepfn_attribution::Attribution::per_token) does.
//!
//! Signed scores go from blue through white to red, unsigned scores from white to red. This scale works for all kinds of colour blindness;
//! its ends are those of "RdBu" (Brewer, colorbrewer2.org).

mod color;
pub mod evaluation;
mod grid;
pub mod html;
mod label;
pub mod reliance;
pub mod svg;
pub mod terminal;

pub use label::is_invisible;

#[cfg(test)]
#[path = "../tests/samples/mod.rs"]
mod samples;
