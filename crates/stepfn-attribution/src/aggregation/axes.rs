//! Axes after token and step (hidden units, layers, heads): reduced to one number, or restricted to some positions.

use super::{Function, Slice};
use crate::{AttributionError, Axis, ParameterError, Scores};

impl Scores {
    /// Reduces one axis after token and step.
    ///
    /// # Shapes
    /// `[token, step, …, axis, …]` → `[token, step, …, …]`
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] if there is no such axis.
    pub fn reduce(&self, axis: Axis, function: Function) -> Result<Self, AttributionError> {
        let at = self.position_of(axis, function.name())?;
        Ok(self.reduce_at(at, function))
    }

    /// Keeps some positions of an axis after token and step, in the given order.
    ///
    /// # Shapes
    /// `[token, step, …, axis, …]` → `[token, step, …, positions, …]`
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] if there is no such axis, or it has no such positions.
    pub fn select(&self, axis: Axis, keep: &[Slice]) -> Result<Self, AttributionError> {
        let of = format!("{} selection", axis.name());
        let at = self.position_of(axis, &of)?;
        let mut inner = self.inner();
        let mut positions = Vec::new();
        for slice in keep {
            positions.extend(slice.resolve(inner[at].1, &of, "positions")?);
        }
        let (size, below) = (inner[at].1, inner[at + 1..].iter().map(|&(_, size)| size).product::<usize>());
        inner[at].1 = positions.len();
        Ok(Self::filled(self.tokens(), self.steps(), &inner, |token, step, position| {
            let (above, rest) = (position / (positions.len() * below), position % (positions.len() * below));
            self.at(token, step)[(above * size + positions[rest / below]) * below + rest % below]
        }))
    }

    /// One number per token and step, the last axis first: hidden units by their Euclidean norm, layers and heads by their mean.
    pub fn per_token_default(&self) -> Self {
        let mut scores = self.clone();
        while let Some((axis, _)) = scores.inner().last().copied() {
            scores = scores.reduce_at(scores.axes().len() - 3, default_function(axis));
        }
        scores
    }

    /// Reduces the inner axis number `at`.
    fn reduce_at(&self, at: usize, function: Function) -> Self {
        let mut inner = self.inner();
        let below: usize = inner[at + 1..].iter().map(|&(_, size)| size).product();
        let (_, size) = inner.remove(at);
        Self::filled(self.tokens(), self.steps(), &inner, |token, step, position| {
            let values = self.at(token, step);
            let start = position / below * size * below + position % below;
            function.over((0..size).map(|unit| values[start + unit * below]))
        })
    }

    fn position_of(&self, axis: Axis, of: &str) -> Result<usize, AttributionError> {
        self.axes()[2..].iter().position(|&found| found == axis).ok_or_else(|| {
            AttributionError::from(ParameterError::new(
                of.to_owned(),
                "axis",
                match self.axes().len() {
                    2 => "scores that still have axes after token and step (raw scores)".to_owned(),
                    _ => {
                        format!(
                            "one of {}",
                            self.axes()[2..].iter().map(|axis| axis.name()).collect::<Vec<_>>().join(", ")
                        )
                    }
                },
                axis.name().to_owned(),
            ))
        })
    }
}

/// The default function for reducing an axis.
pub(super) fn default_function(axis: Axis) -> Function {
    match axis {
        Axis::Hidden => Function::VectorNorm,
        _ => Function::Mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers_and_heads() -> Scores {
        let values = (0..2 * 3 * 4 * 2).map(|value| value as f32).collect();
        Scores::new(vec![Axis::Token, Axis::Step, Axis::Layer, Axis::Head], vec![2, 3, 4, 2], values).unwrap()
    }

    #[test]
    fn an_axis_in_the_middle_is_reduced() {
        let reduced = layers_and_heads().reduce(Axis::Layer, Function::Sum).unwrap();
        assert_eq!(reduced.axes(), [Axis::Token, Axis::Step, Axis::Head]);
        assert_eq!(reduced.at(0, 0), [0.0 + 2.0 + 4.0 + 6.0, 1.0 + 3.0 + 5.0 + 7.0]);
        assert_eq!(reduced.at(1, 0), [24.0 + 26.0 + 28.0 + 30.0, 25.0 + 27.0 + 29.0 + 31.0]);
    }

    #[test]
    fn positions_are_kept_in_order() {
        let keep = ["-1".parse().unwrap(), "0:2".parse().unwrap()];
        let kept = layers_and_heads().select(Axis::Layer, &keep).unwrap();
        assert_eq!(kept.shape(), [2, 3, 3, 2]);
        assert_eq!(kept.at(0, 0), [6.0, 7.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn missing_axes_are_errors() {
        let error = layers_and_heads().reduce(Axis::Hidden, Function::Mean).unwrap_err();
        assert_eq!(error.to_string(), "mean: `axis` must be one of layer, head, not hidden");
        let flat = Scores::per_token(1, 1, vec![0.0]).unwrap();
        let error = flat.select(Axis::Layer, &[Slice::At(0)]).unwrap_err();
        assert!(error.to_string().contains("raw scores"), "{error}");
    }

    #[test]
    fn by_default_layers_are_averaged_and_hidden_units_measured() {
        let means = layers_and_heads().per_token_default();
        assert_eq!(means.at(0, 0), [3.5]);
        let hidden = Scores::new(vec![Axis::Token, Axis::Step, Axis::Hidden], vec![1, 2, 2], vec![3.0, 4.0, 0.0, 1.0]);
        assert_eq!(hidden.unwrap().per_token_default().values(), [5.0, 1.0]);
    }
}
