//! The values of spans, from those of their steps.

use burn::tensor::backend::Backend;
use stepfn_core::Need;

use super::Passes;
use crate::steps::Steps;

impl<B: Backend> Passes<'_, B> {
    /// The steps of a span that count: those that are compared with something, if the function needs that. All if none are: then the span has
    /// no value.
    pub(super) fn counted(&self, span: Steps) -> Vec<usize> {
        let all = || span.positions().collect();
        let first = self.question.steps().start();
        match &self.comparison {
            Some(comparison) if self.needs().contrast == Need::Required => {
                let compared = span.positions().filter(|position| comparison.partners[position - first].is_some());
                Some(compared.collect()).filter(|compared: &Vec<usize>| !compared.is_empty()).unwrap_or_else(all)
            }
            _ => all(),
        }
    }

    /// What the value of each of `count` steps of a span is multiplied by.
    pub(super) fn weight(&self, count: usize) -> f64 {
        match self.question.span_target() {
            Some(target) if target.mean => 1.0 / count as f64,
            _ => 1.0,
        }
    }

    /// The values of spans, from those of all steps.
    pub(super) fn over_spans(&self, values: Vec<f64>) -> Vec<f64> {
        let steps = self.question.steps();
        if self.question.span_target().is_none() {
            return values;
        }
        self.question.spans(steps).into_iter().map(|span| self.over_span(span, &values[span.within(steps)])).collect()
    }

    /// The value of a span of steps, from those of its steps: of those that are compared with something, if the function needs that. NaN if none is.
    pub fn over_span(&self, span: Steps, values: &[f64]) -> f64 {
        let counted = self.counted(span);
        let sum: f64 = counted.iter().map(|position| values[position - span.start()]).sum();
        sum * self.weight(counted.len())
    }

    /// Whether the function has a value for a span: one that needs a contrast has none where no step is compared with one of it.
    pub fn has_value(&self, span: Steps) -> bool {
        let first = self.question.steps().start();
        match &self.comparison {
            Some(comparison) if self.needs().contrast == Need::Required => {
                span.positions().any(|position| comparison.partners[position - first].is_some())
            }
            _ => true,
        }
    }
}
