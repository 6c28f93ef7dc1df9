//! An array of scores with named axes, and its JSON.

use serde::{Deserialize, Serialize};

use crate::AttributionError;
use crate::number::{Number, from_numbers, numbers};

/// What a dimension of [`Scores`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Axis {
    /// Input tokens.
    Token,
    /// Predicted tokens.
    Step,
    /// Units of the embedding.
    Hidden,
    /// Layers.
    Layer,
    /// Attention heads.
    Head,
}

/// An array of scores, row-major; its first two axes are always [`Axis::Token`] and [`Axis::Step`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Scores {
    axes: Vec<Axis>,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Axis {
    /// Its name, as in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Step => "step",
            Self::Hidden => "hidden",
            Self::Layer => "layer",
            Self::Head => "head",
        }
    }
}

impl Scores {
    /// Scores with axes beyond `[token, step]`.
    ///
    /// # Errors
    /// [`AttributionError::Format`] if the axes don't begin with token and step, or sizes don't fit each other.
    pub fn new(axes: Vec<Axis>, shape: Vec<usize>, values: Vec<f32>) -> Result<Self, AttributionError> {
        let wrong = |expected: String, found: String| {
            Err(AttributionError::Format { what: "scores".to_owned(), expected, found })
        };
        if !axes.starts_with(&[Axis::Token, Axis::Step]) {
            let names: Vec<&str> = axes.iter().map(|axis| axis.name()).collect();
            return wrong("axes that begin with token and step".to_owned(), format!("[{}]", names.join(", ")));
        }
        if axes.len() != shape.len() {
            return wrong(format!("{} sizes, one per axis", axes.len()), shape.len().to_string());
        }
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if elements != Some(values.len()) {
            return wrong(format!("as many values as shape {shape:?} has"), values.len().to_string());
        }
        Ok(Self { axes, shape, values })
    }

    /// One score per token and step, `values[token · steps + step]`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_token(tokens: usize, steps: usize, values: Vec<f32>) -> Result<Self, AttributionError> {
        Self::new(vec![Axis::Token, Axis::Step], vec![tokens, steps], values)
    }

    /// Scores whose axes after token and step are `inner`, filled by `value(token, step, position in the inner axes)`.
    pub fn filled(
        tokens: usize,
        steps: usize,
        inner: &[(Axis, usize)],
        mut value: impl FnMut(usize, usize, usize) -> f32,
    ) -> Self {
        let depth: usize = inner.iter().map(|&(_, size)| size).product();
        let mut values = Vec::with_capacity(tokens * steps * depth);
        for token in 0..tokens {
            for step in 0..steps {
                values.extend((0..depth).map(|position| value(token, step, position)));
            }
        }
        Self::of_table(tokens, steps, inner, values)
    }

    /// Scores whose axes after token and step are `inner`; `values` must have the matching length.
    pub(crate) fn of_table(tokens: usize, steps: usize, inner: &[(Axis, usize)], values: Vec<f32>) -> Self {
        let axes = [Axis::Token, Axis::Step].into_iter().chain(inner.iter().map(|&(axis, _)| axis)).collect();
        let shape: Vec<usize> = [tokens, steps].into_iter().chain(inner.iter().map(|&(_, size)| size)).collect();
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { axes, shape, values }
    }

    /// Without the numbers of some steps: they are NaN.
    pub(crate) fn without(mut self, steps: &[usize]) -> Self {
        let depth: usize = self.shape[2..].iter().product();
        let all = self.steps();
        for (at, values) in self.values.chunks_mut(depth.max(1)).enumerate() {
            if steps.contains(&(at % all)) {
                values.fill(f32::NAN);
            }
        }
        self
    }

    /// The first step with an infinite score.
    pub(crate) fn infinite(&self) -> Option<usize> {
        let depth: usize = self.shape[2..].iter().product();
        let at = |(place, value): (usize, &f32)| value.is_infinite().then_some(place / depth % self.steps());
        self.values.iter().enumerate().filter_map(at).min()
    }

    /// The axes after token and step, with their sizes.
    pub fn inner(&self) -> Vec<(Axis, usize)> {
        self.axes[2..].iter().copied().zip(self.shape[2..].iter().copied()).collect()
    }

    /// What each dimension counts.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.shape[0]
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.shape[1]
    }

    /// The values of one token at one step: one number if aggregated, and otherwise all layers, heads or hidden units.
    ///
    /// # Panics
    /// If there is no such token or step.
    pub fn at(&self, token: usize, step: usize) -> &[f32] {
        let inner: usize = self.shape[2..].iter().product();
        let start = (token * self.shape[1] + step) * inner;
        &self.values[start..start + inner]
    }

    /// Whether there is one number per token and step.
    pub fn is_aggregated(&self) -> bool {
        self.axes.len() == 2
    }
}

#[derive(Serialize, Deserialize)]
struct Unchecked {
    axes: Vec<Axis>,
    shape: Vec<usize>,
    values: Vec<Number<f32>>,
}

impl TryFrom<Unchecked> for Scores {
    type Error = AttributionError;

    fn try_from(unchecked: Unchecked) -> Result<Self, AttributionError> {
        Self::new(unchecked.axes, unchecked.shape, from_numbers(unchecked.values))
    }
}

impl From<Scores> for Unchecked {
    fn from(scores: Scores) -> Self {
        Self { axes: scores.axes, shape: scores.shape, values: numbers(&scores.values) }
    }
}
