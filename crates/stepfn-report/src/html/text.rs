//! A text as the page's script reads it.

use serde::Serialize;
use stepfn_attribution::{Alternative, Attribution};
use stepfn_models::tokenizer::Token;

use super::PageText;
use super::opening::opening;
use super::packed::Bits;
use super::views::{View, short, ways};
use crate::grid::title;
use crate::label::{label, label_of_step, label_of_surface};

/// How much of a text's scores is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) bits: Bits,
    /// Whether other views than the default are stored.
    pub(super) all_views: bool,
}

/// The data of a text.
#[derive(Serialize)]
pub(super) struct TextData<'a> {
    id: &'a str,
    title: String,
    /// What the reader should know, such as that scores are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    /// Pairs of a name and a value, for display.
    about: Vec<(&'static str, String)>,
    source: Vec<Piece<'a>>,
    target: Vec<Piece<'a>>,
    start: usize,
    end: usize,
    /// The step that is selected at first.
    first: Option<usize>,
    bits: u8,
    views: Vec<View>,
    scores: Vec<StepScore<'a>>,
    /// For each step, the most likely tokens and their probabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternatives: Vec<Vec<(String, Option<f64>)>>,
}

#[derive(Serialize)]
struct Piece<'a> {
    /// The token's text as written.
    text: &'a str,
    /// The token as a label, if that is not the text without the spaces around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    special: bool,
    /// The token that a step was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    contrast: Option<String>,
}

#[derive(Serialize)]
struct StepScore<'a> {
    name: &'a str,
    /// Whether these are convergence deltas.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    delta: bool,
    values: Vec<Number>,
}

/// A number in JSON, which has neither NaN nor infinity: NaN is `null`, and infinity its name in JavaScript.
#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Finite(Option<f64>),
    Infinite(&'static str),
}

impl From<f32> for Number {
    fn from(value: f32) -> Self {
        match value {
            f32::INFINITY => Self::Infinite("Infinity"),
            f32::NEG_INFINITY => Self::Infinite("-Infinity"),
            value => Self::Finite(short(value)),
        }
    }
}

impl<'a> TextData<'a> {
    /// The data of a text, whose bytes are merged into `characters`; without scores if no detail is given.
    pub(super) fn new(text: &PageText<'a>, characters: &'a Attribution, detail: Option<Detail>) -> Self {
        let views = |detail: Detail| {
            let mut ways = ways(characters);
            ways.truncate(if detail.all_views { usize::MAX } else { 1 });
            ways.iter().map(|way| View::new(characters, way, detail.bits)).collect()
        };
        let note = "The scores of this text do not fit into a page; its JSON has them. Attribute fewer of its steps to see them here.";
        Self {
            id: text.id,
            title: title(characters),
            note: detail.is_none().then_some(note),
            about: about(characters),
            source: pieces(characters, &characters.source, None),
            target: pieces(characters, &characters.target, Some(characters.steps.start)),
            start: characters.steps.start,
            end: characters.steps.end,
            first: opening(characters),
            bits: detail.map_or(Bits::Eight, |detail| detail.bits).count(),
            views: detail.map_or_else(Vec::new, views),
            scores: step_scores(characters),
            alternatives: characters
                .alternatives
                .iter()
                .map(|likely| likely.iter().map(alternative).collect())
                .collect(),
        }
    }
}

fn alternative(likely: &Alternative) -> (String, Option<f64>) {
    (label_of_surface(&likely.surface), short(likely.probability))
}

fn step_scores(attribution: &Attribution) -> Vec<StepScore<'_>> {
    let values = |values: &[f32]| values.iter().map(|&value| Number::from(value)).collect();
    let scores = attribution.step_scores.iter();
    let scores = scores.map(|(name, own)| StepScore { name, delta: false, values: values(own) });
    let deltas = attribution.deltas.iter();
    scores.chain(deltas.map(|own| StepScore { name: "delta", delta: true, values: values(own) })).collect()
}

/// The tokens of one side. From position `first_step` on they are steps, which may have a contrast.
fn pieces<'a>(attribution: &'a Attribution, tokens: &'a [Token], first_step: Option<usize>) -> Vec<Piece<'a>> {
    let contrast = |at: usize| {
        let other = attribution.contrast.get(at.checked_sub(first_step?)?)?.as_ref()?;
        let together = label_of_step(&tokens[at], Some(other));
        (together != label(&tokens[at])).then(|| label(other))
    };
    let piece = |(at, token): (usize, &'a Token)| Piece {
        text: &token.surface,
        label: Some(label(token)).filter(|label| label != token.surface.trim()),
        special: token.special,
        contrast: contrast(at),
    };
    tokens.iter().enumerate().map(piece).collect()
}

fn about(attribution: &Attribution) -> Vec<(&'static str, String)> {
    let about = &attribution.about;
    let parameters = about.parameters.iter().map(|(name, value)| format!("{name} = {value}"));
    let measured = attribution.measured.iter().map(|(name, value)| format!("{name} = {value:.3}"));
    let seconds = if about.seconds > 0.0 { format!("{:.3} s", about.seconds) } else { String::new() };
    let seed = if about.seed > 0 { about.seed.to_string() } else { String::new() };
    [
        ("method", about.method.clone()),
        ("attributed function", about.attributed_fn.clone()),
        ("model", about.model.clone()),
        ("family", about.family.clone()),
        ("parameters", parameters.collect::<Vec<_>>().join(", ")),
        ("measured", measured.collect::<Vec<_>>().join(", ")),
        ("aggregation", about.aggregation.join(", ")),
        ("backend", about.backend.clone()),
        ("seed", seed),
        ("time", seconds),
        ("stepfn", about.version.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}
