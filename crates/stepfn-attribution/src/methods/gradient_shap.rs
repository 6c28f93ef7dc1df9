//! Gradient SHAP (Lundberg & Lee 2017, arXiv:1705.07874; Erion et al. 2021): the mean of `(x − x̄) ⊙ ∂f/∂x` at random points between baseline
//! and text, with noise added to the text.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};
use stepfn_models::random::SplitMix64;

use super::gradient::{along_the_line, by_chunks, change, difference, times, totals};
use super::limits::MOST_SAMPLES;
use crate::{AttributionError, AttributionMethod, Completeness, InputScores, Passes, StepRows, Variants};

/// Gradients at random points between a baseline and the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GradientShap {
    /// Number of random points.
    pub n_samples: usize,
    /// Standard deviation of the noise on the embeddings.
    pub stdevs: f64,
}

/// The greatest deviation of the noise. Embeddings are smaller by orders of magnitude, so that nothing is left of the text.
const MOST_NOISE: f64 = 1000.0;

impl Default for GradientShap {
    fn default() -> Self {
        Self { n_samples: 5, stdevs: 0.0 }
    }
}

impl Named for GradientShap {
    const NAME: &'static str = "gradient_shap";
    const SUMMARY: &'static str = "gradients at random points between a baseline and the noisy text";
    const ALSO_CALLED: &'static [&'static str] = &["gs", "expected_gradients"];
    const COUNTS: &'static [Count] = &[Count::new("n_samples", 1, MOST_SAMPLES)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        match self.stdevs {
            stdevs if (0.0..=MOST_NOISE).contains(&stdevs) => Ok(()),
            stdevs => Err(Self::out_of_range("stdevs", format!("a number from 0 to {MOST_NOISE}"), stdevs)),
        }
    }
}

impl<B: Backend> AttributionMethod<B> for GradientShap {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let (here, baseline) = (passes.input(steps), passes.baseline(steps)?);
            let moved = difference(&here, &baseline);
            let change = change(passes, &here, &baseline, steps)?;
            // The same numbers for every chunk, so that the chunk size does not change scores.
            let mut random =
                SplitMix64::stream(passes.question().options().seed, u64::from(passes.question().number()));
            let points: Vec<f64> = (0..self.n_samples).map(|_| random.uniform()).collect();
            let weight = 1.0 / self.n_samples as f64;
            let sum = if self.stdevs == 0.0 {
                // Without noise, all points lie on one line.
                let weights = vec![weight; self.n_samples];
                along_the_line(passes, (&baseline, &here), (&points, &weights), steps)?
            } else {
                StepRows::sum(points.into_iter().map(|point| {
                    let noisy = self.noisy(passes, &here, &mut random);
                    along_the_line(passes, (&baseline, &noisy), (&[point], &[weight]), steps)
                }))?
            };
            let scores = times(sum, &moved, passes.question().columns(steps));
            let totals = totals(&scores, passes.question().columns(steps));
            Ok(StepRows { completeness: Some(Completeness::new(&totals, &change)), ..scores })
        })
    }
}

impl GradientShap {
    /// The text with noise. Numbers are drawn for the whole text, token by token, and a chunk uses some of them.
    fn noisy<B: Backend>(&self, passes: &Passes<'_, B>, here: &Variants<B>, random: &mut SplitMix64) -> Variants<B> {
        let mut noise = |x: &Tensor<B, 2>, tokens: usize| {
            let [rows, size] = x.dims();
            let mut values: Vec<f64> = (0..tokens * size).map(|_| self.stdevs * random.normal()).collect();
            values.truncate(rows * size);
            let data = TensorData::new(values, [rows, size]).convert_dtype(x.dtype());
            x.clone() + Tensor::from_data(data, (&x.device(), x.dtype()))
        };
        let mut noisy = here.clone();
        if let Some(source) = &mut noisy.source {
            source.hidden = noise(&source.hidden, passes.question().source_len());
        }
        if passes.question().attributes_target() {
            noisy.target.hidden = noise(&noisy.target.hidden, passes.question().steps().width());
        }
        noisy
    }
}
