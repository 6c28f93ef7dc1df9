//! From raw scores to what people read: axes reduced, tokens merged into words or spans, columns made comparable.
//!
//! A [`Pipeline`] is a list of small [`Stage`]s. It is data: it is read from JSON or from a short form, and recorded in the output
//! that went through it.
//!
//! ```
//! use stepfn_attribution::aggregation::Pipeline;
//! use stepfn_attribution::{Attribution, Scores};
//! use stepfn_models::tokenizer::Token;
//!
//! let token = |surface: &str, start| {
//!     let span = start..start + surface.len();
//!     Token { id: 0, surface: surface.to_owned(), span, special: false }
//! };
//! let target = vec![token("A", 0), token(" phen", 1), token("omen", 6), token(" is", 10)];
//! let mut attribution = Attribution::new(Vec::new(), target, 3..4);
//! attribution.target_scores = Some(Scores::per_token(4, 1, vec![1.0, -2.0, 1.0, f32::NAN])?);
//!
//! let pipeline: Pipeline = "subwords,normalize".parse()?;
//! let words = pipeline.apply(&attribution)?;
//! assert_eq!(words.target[1].surface, " phenomen");
//! let scores = words.target_scores.as_ref().expect("as before");
//! assert_eq!(scores.values()[..2], [1.0 / 3.0, -2.0 / 3.0]);
//! # Ok::<(), stepfn_attribution::AttributionError>(())
//! ```

mod axes;
mod boundaries;
mod check;
mod columns;
mod function;
mod json;
mod merge;
mod names;
mod slice;
mod text;

use serde::{Deserialize, Serialize};
use stepfn_models::tokenizer::Token;

pub use boundaries::{Separator, SplitMode};
pub(crate) use boundaries::{inside, lines, messages, sentences, words};
pub use boundaries::{sentences_of, words_of};
pub use function::Function;
pub(crate) use merge::per_span;
pub use slice::Slice;

use crate::{Attribution, AttributionError, Axis, ParameterError, Scores, Side};

/// Stages that an [`Attribution`] goes through, first to last. In JSON a list of [`Stage`]s; its short form is a text such as
/// `layers=0:4,mean,subwords,normalize`, which [`Display`](core::fmt::Display) prints and [`FromStr`](core::str::FromStr) reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pipeline(pub Vec<Stage>);

/// One step of a [`Pipeline`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Stage {
    /// Reduces an axis after token and step. Short form: `mean`, `vnorm(hidden)`.
    Reduce {
        /// The function.
        function: Function,
        /// The axis; `None` is the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        axis: Option<Axis>,
    },
    /// Keeps some layers, heads or hidden units. Short form: `layers=0:4`, `heads(0,2,-1)`.
    Select {
        /// Which axis.
        axis: Axis,
        /// Its positions.
        keep: Vec<Slice>,
    },
    /// Divides each step's scores by the sum of their absolute values over source and target. Short form: `normalize`.
    Normalize,
    /// Merges tokens by position. Short form: `spans(source=0:2,source=4:6,target=1:3,mean)`.
    Spans {
        /// Spans of source tokens.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        source: Vec<Slice>,
        /// Spans of target tokens.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        target: Vec<Slice>,
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges tokens that are bytes of one character. Short form: `characters`, `characters(sum)`.
    Characters {
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges the tokens of a word: a token after whitespace starts one. Short form: `subwords`, `subwords(target,sum)`.
    Subwords {
        /// The side to merge; `None` is both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<Side>,
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges the tokens of a sentence, by the Unicode standard's annex 29. Short form: `sentences`, `sentences(sum)`.
    Sentences {
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges the tokens of a line, its line break included. Short form: `lines`, `lines(sum)`.
    Lines {
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges what is between separators. Short form: `split(", ")`, `split(pattern="[.!?]",end)`.
    Split {
        /// Where to split.
        separator: Separator,
        /// Where the separator goes.
        #[serde(default)]
        mode: SplitMode,
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Merges the tokens of each message of a chat, markup included, as far as they are before the first step. Short form: `messages`,
    /// `messages(sum)`.
    Messages {
        /// How scores are joined.
        #[serde(default = "absmax")]
        function: Function,
    },
    /// Keeps some tokens. A side that isn't named is kept, and steps are always kept. Short form: `slices(source=0:5,target=-3:)`.
    Slices {
        /// Source tokens.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        source: Vec<Slice>,
        /// Target tokens.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        target: Vec<Slice>,
    },
    /// Subtracts a second output that went through the same stages before, score by score. Short form: `pair`.
    Pair,
}

const fn absmax() -> Function {
    Function::AbsMax
}

impl Stage {
    /// Whether it is known by its name alone.
    fn has_no_fields(&self) -> bool {
        matches!(self, Self::Normalize | Self::Pair)
    }

    /// The names of all short forms, and what they do.
    pub const ABOUT: [(&'static str, &'static str); 20] = [
        ("mean", "mean over the last axis: hidden units, heads or layers; mean(layer) over that one"),
        ("max", "greatest value over an axis"),
        ("min", "least value over an axis"),
        ("sum", "sum over an axis"),
        ("prod", "product over an axis"),
        ("absmax", "value with the greatest size over an axis"),
        ("vnorm", "L2 norm over an axis"),
        ("layers", "keeps some layers: layers=0:4, layers(0,-1)"),
        ("heads", "keeps some attention heads: heads=3"),
        ("hidden", "keeps some hidden units: hidden=0:16"),
        ("normalize", "each step's scores as shares of the sum of their sizes, over source and target together"),
        ("spans", "merges tokens by position: spans(source=0:2,target=1:3,mean)"),
        ("characters", "merges the bytes of a character: characters, characters(sum)"),
        ("subwords", "merges the tokens of a word: subwords, subwords(target,sum)"),
        ("sentences", "merges the tokens of a sentence: sentences, sentences(sum)"),
        ("lines", "merges the tokens of a line: lines, lines(sum)"),
        ("split", "merges what stands between separators: split(\", \"), split(pattern=\"[.!?]\",end)"),
        ("messages", "merges the tokens of each message of a chat that is read: messages, messages(sum)"),
        ("slices", "keeps some tokens: slices(source=0:5,target=-3:)"),
        ("pair", "difference to a second file: stepfn show FILE --pair OTHER"),
    ];

    /// Applies this stage, except [`Pair`](Self::Pair), which needs two outputs.
    fn apply(&self, attribution: &Attribution) -> Result<Attribution, AttributionError> {
        let (source, target) = (&attribution.source, &attribution.target);
        let groups = |side: Side, merge: &dyn Fn(&[Token]) -> merge::Groups| match side {
            Side::Source => (merge(source), merge::singles(target.len())),
            Side::Target => (merge::singles(source.len()), merge(target)),
        };
        let mut result = match self {
            Self::Reduce { function, axis } => {
                on_axis(attribution, *axis, function.name(), |scores, axis| scores.reduce(axis, *function))?
            }
            Self::Select { axis, keep } => {
                on_axis(attribution, Some(*axis), axis.name(), |scores, axis| scores.select(axis, keep))?
            }
            Self::Normalize => columns::normalize(attribution)?,
            Self::Spans { source: on_source, target: on_target, function } => {
                let source = boundaries::spans(on_source, source.len(), "source")?;
                let target = boundaries::spans(on_target, target.len(), "target")?;
                merge::merge(attribution, &source, &target, *function)
            }
            Self::Characters { function } => {
                let (source, target) = (boundaries::characters(source), boundaries::characters(target));
                merge::merge(attribution, &source, &target, *function)
            }
            Self::Subwords { side, function } => {
                let (source, target) = match side {
                    Some(side) => groups(*side, &boundaries::words),
                    None => (boundaries::words(source), boundaries::words(target)),
                };
                merge::merge(attribution, &source, &target, *function)
            }
            Self::Sentences { function } => by_text(attribution, "sentences", &boundaries::sentences, *function)?,
            Self::Lines { function } => by_text(attribution, "lines", &boundaries::lines, *function)?,
            Self::Split { separator, mode, function } => {
                let expression = boundaries::expression(separator)?;
                let source = boundaries::split(source, &expression, *mode);
                let target = boundaries::split(target, &expression, *mode);
                merge::merge(attribution, &source, &target, *function)
            }
            Self::Messages { function } => {
                if attribution.messages.is_empty() {
                    let expected = "a chat, whose messages it makes rows of";
                    let found = "a text without messages";
                    return Err(ParameterError::new("aggregation", "messages", expected, found).into());
                }
                let groups = boundaries::messages(&attribution.messages, target, attribution.steps.start);
                merge::merge(attribution, &merge::singles(source.len()), &groups, *function)
            }
            Self::Slices { source, target } => columns::keep(attribution, source, target)?,
            Self::Pair => {
                return Err(AttributionError::from(ParameterError::new(
                    "aggregation",
                    "pair",
                    "two outputs, and once",
                    "one, or a second `pair`",
                )));
            }
        };
        result.about.aggregation.push(self.to_string());
        Ok(result)
    }
}

/// Merges tokens by where units of the text end.
fn by_text(
    attribution: &Attribution,
    stage: &'static str,
    units: &dyn Fn(&str, &[Token]) -> merge::Groups,
    function: Function,
) -> Result<Attribution, AttributionError> {
    let groups = |text: &Option<String>, tokens: &[Token]| match text {
        Some(text) => Ok(units(text, tokens)),
        None if tokens.is_empty() => Ok(merge::Groups::new()),
        None => {
            let expected = "tokens with the text that they are from";
            Err(ParameterError::new("aggregation", stage, expected, "tokens alone: an older version wrote the file"))
        }
    };
    let source =
        groups(&attribution.source_text.clone().filter(|_| !attribution.source.is_empty()), &attribution.source)?;
    let target = groups(&attribution.target_text, &attribution.target)?;
    Ok(merge::merge(attribution, &source, &target, function))
}

/// Changes the scores of both sides that have the axis; at least one must have it.
fn on_axis(
    attribution: &Attribution,
    axis: Option<Axis>,
    of: &str,
    change: impl Fn(&Scores, Axis) -> Result<Scores, AttributionError>,
) -> Result<Attribution, AttributionError> {
    let mut result = attribution.clone();
    let mut found = false;
    for scores in [&mut result.source_scores, &mut result.target_scores].into_iter().flatten() {
        let inner = scores.inner();
        let axis = inner.iter().map(|&(axis, _)| axis).rfind(|&own| axis.is_none_or(|wanted| wanted == own));
        if let Some(axis) = axis {
            *scores = change(scores, axis)?;
            found = true;
        }
    }
    if found || (attribution.source_scores.is_none() && attribution.target_scores.is_none()) {
        return Ok(result);
    }
    let wanted = axis.map_or_else(|| "hidden, layer or head".to_owned(), |axis| format!("`{}`", axis.name()));
    Err(AttributionError::from(ParameterError::new(
        "aggregation",
        of.to_owned(),
        format!("scores with an axis {wanted}; those of raw outputs have it"),
        match attribution.is_aggregated() {
            true => "one score per token and step".to_owned(),
            false => {
                let sides = || [&attribution.source_scores, &attribution.target_scores].into_iter().flatten();
                let mut names: Vec<&str> = sides().flat_map(Scores::inner).map(|(axis, _)| axis.name()).collect();
                names.dedup();
                format!("only {}", names.join(", "))
            }
        },
    )))
}

impl Pipeline {
    /// The pipeline that reduces an output to one number per token and step: hidden units to their Euclidean norm, then heads and layers to their
    /// mean.
    pub fn per_token(attribution: &Attribution) -> Self {
        let mut axes: Vec<Axis> = Vec::new();
        for scores in [&attribution.source_scores, &attribution.target_scores].into_iter().flatten() {
            for (axis, _) in scores.inner() {
                if !axes.contains(&axis) {
                    axes.push(axis);
                }
            }
        }
        let stage = |axis: Axis| Stage::Reduce { function: axes::default_function(axis), axis: Some(axis) };
        Self(axes.into_iter().rev().map(stage).collect())
    }

    /// [`per_token`](Self::per_token), then each step's scores as shares of their sum: the default of every view.
    pub fn for_display(attribution: &Attribution) -> Self {
        let mut pipeline = Self::per_token(attribution);
        pipeline.0.push(Stage::Normalize);
        pipeline
    }

    /// Whether it uses hidden units, layers or heads, which only raw outputs have.
    pub fn needs_raw(&self) -> bool {
        self.0.iter().any(|stage| matches!(stage, Stage::Reduce { .. } | Stage::Select { .. }))
    }

    /// Whether it subtracts a second output: see [`apply_pair`](Self::apply_pair).
    pub fn needs_pair(&self) -> bool {
        self.0.contains(&Stage::Pair)
    }

    /// Applies all stages to an output.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] naming the stage that doesn't fit the output; [`Stage::Pair`] never does.
    pub fn apply(&self, attribution: &Attribution) -> Result<Attribution, AttributionError> {
        self.0.iter().try_fold(attribution.clone(), |attribution, stage| stage.apply(&attribution))
    }

    /// Applies the stages up to [`Stage::Pair`] to two outputs, then the rest to their difference. Without that stage, the
    /// difference is taken at the end.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] naming the stage that doesn't fit an output, [`AttributionError::Text`] if the two don't match.
    pub fn apply_pair(&self, attribution: &Attribution, other: &Attribution) -> Result<Attribution, AttributionError> {
        let at = self.0.iter().position(|stage| *stage == Stage::Pair).unwrap_or(self.0.len());
        let before = Self(self.0[..at].to_vec());
        let mut difference = columns::difference(&before.apply(attribution)?, &before.apply(other)?)?;
        difference.about.aggregation.push(Stage::Pair.to_string());
        Self(self.0.get(at + 1..).unwrap_or_default().to_vec()).apply(&difference)
    }
}

impl Attribution {
    /// One number per token and step, by [`Pipeline::per_token`], which always fits.
    pub fn per_token(&self) -> Self {
        let mut result = self.clone();
        result.about.aggregation.extend(Pipeline::per_token(self).0.iter().map(Stage::to_string));
        for scores in [&mut result.source_scores, &mut result.target_scores].into_iter().flatten() {
            *scores = scores.per_token_default();
        }
        result
    }

    /// With the tokens of each span merged, so that what is a column is also a token: what views show. Without spans, nothing changes.
    #[must_use]
    pub fn spans_as_tokens(&self) -> Self {
        if self.spans.is_empty() { self.clone() } else { merge::spans_as_tokens(self, absmax()) }
    }

    /// With the bytes of a character merged, so that every token can be read: [`Stage::Characters`]. Without any, nothing changes.
    #[must_use]
    pub fn characters(&self) -> Self {
        let whole = |tokens: &[Token]| boundaries::characters(tokens).len() == tokens.len();
        if whole(&self.source) && whole(&self.target) {
            return self.clone();
        }
        // Only `pair` can fail.
        Stage::Characters { function: absmax() }.apply(self).unwrap_or_else(|_| self.clone())
    }
}

#[cfg(test)]
mod tests;
