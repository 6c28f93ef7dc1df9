//! The input of step functions: predictions, targets, and what they are compared with.

use std::sync::OnceLock;

use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::mixture::{Mixture, mixture, mixture_entropy};
use stepfn_kernels::softmax::Softmax;

use crate::{Alignment, PassKind, Prediction, StepError};

/// Predictions and targets for a batch of steps, one row per (text, step).
///
/// A `StepBatch` is valid by construction: its targets are in the vocabulary, its logits are finite, and its parts have matching sizes.
/// Targets are passed in host memory, as they come from the tokenizer, so that checking them does not wait for a device.
#[derive(Debug)]
pub struct StepBatch<B: Backend> {
    prediction: Prediction<B>,
    target_ids: Tensor<B, 1, Int>,
    contrast: Option<Contrast<B>>,
    noisy: Option<NoisyPredictions<B>>,
}

impl<B: Backend> StepBatch<B> {
    /// A batch of steps from one forward pass.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, any floating-point type
    /// - `target_ids`: `[rows]`
    ///
    /// # Errors
    /// If there are no rows, fewer than two tokens, a different number of targets, a target outside the vocabulary, or a logit that is NaN
    /// or infinite.
    pub fn new(logits: Tensor<B, 2>, target_ids: &[u32]) -> Result<Self, StepError> {
        let [rows, vocab] = logits.dims();
        check_targets(target_ids, rows, vocab)?;
        let target_ids = upload(target_ids, &logits.device());
        Ok(Self { prediction: Prediction::new(logits, PassKind::Original)?, target_ids, contrast: None, noisy: None })
    }

    /// Adds a contrast to compare the steps with.
    ///
    /// # Errors
    /// If the contrast is aligned with a different number of steps or has a different vocabulary.
    pub fn with_contrast(self, contrast: Contrast<B>) -> Result<Self, StepError> {
        expect("steps in the contrast's alignment", self.rows(), contrast.target_ids.dims()[0])?;
        match &contrast.context {
            Some(prediction) => expect("vocabulary size of the contrast", self.vocab(), prediction.vocab())?,
            None => check_targets(&contrast.host_ids, self.rows(), self.vocab())?,
        }
        Ok(Self { contrast: Some(contrast), ..self })
    }

    /// Adds predictions of the same steps with dropout on.
    ///
    /// # Shapes
    /// - `noisy_logits`: `[n_samples, rows, vocab]`
    ///
    /// # Errors
    /// If there are no samples, a different number of steps or a different vocabulary (an auxiliary model must share the tokenizer), or a
    /// logit that is NaN or infinite.
    pub fn with_noisy(self, noisy_logits: Tensor<B, 3>) -> Result<Self, StepError> {
        let [n_samples, rows, vocab] = noisy_logits.dims();
        expect("rows of noisy logits", self.rows(), rows)?;
        expect("vocabulary size of the noisy logits", self.vocab(), vocab)?;
        let logits = noisy_logits.reshape([n_samples * rows, vocab]);
        let prediction = Prediction::new(logits, PassKind::Noisy { sample: 0 }).map_err(|error| match error {
            StepError::NonFinite { row, .. } => {
                StepError::NonFinite { pass: PassKind::Noisy { sample: row / rows }, row: row % rows }
            }
            other => other,
        })?;
        let noisy = NoisyPredictions { prediction, n_samples, rows, mixture: OnceLock::new() };
        Ok(Self { noisy: Some(noisy), ..self })
    }

    /// Number of steps.
    pub fn rows(&self) -> usize {
        self.prediction.rows()
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.prediction.vocab()
    }

    /// The predictions that are scored.
    pub fn prediction(&self) -> &Prediction<B> {
        &self.prediction
    }

    /// The targets `y`.
    ///
    /// # Shapes
    /// - result: `[rows]`
    pub fn target_ids(&self) -> Tensor<B, 1, Int> {
        self.target_ids.clone()
    }

    /// `z_y`, `[rows]`.
    pub fn logit(&self) -> Tensor<B, 1> {
        self.prediction.logit(self.target_ids())
    }

    /// `ln p_y` in nats, `[rows]`.
    pub fn log_prob(&self) -> Tensor<B, 1> {
        self.prediction.log_prob(self.target_ids())
    }

    /// The gradient of `w ln p_y` of every step with respect to its logits, `[rows, vocab]`.
    ///
    /// # Shapes
    /// - `weights`: `[rows]`, `w` of each step
    pub fn log_prob_gradient(&self, weights: Tensor<B, 1>) -> Tensor<B, 2> {
        self.prediction().softmax().log_prob_gradient(self.target_ids(), weights.unsqueeze_dim(1))
    }

    /// The contrast, aligned with these steps, if there is one.
    pub fn contrast(&self) -> Option<ContrastView<'_, B>> {
        self.contrast.as_ref().map(|contrast| ContrastView { steps: self, contrast })
    }

    /// The contrast, for a function that requires one.
    ///
    /// # Errors
    /// [`StepError::MissingContrast`], which names `function`.
    pub fn require_contrast(&self, function: &str) -> Result<ContrastView<'_, B>, StepError> {
        self.contrast().ok_or_else(|| StepError::MissingContrast { function: function.to_owned() })
    }

    /// The predictions of at least `n` passes with dropout, for a function that requires them.
    ///
    /// # Errors
    /// [`StepError::MissingNoisy`], which names `function`, if there are fewer.
    pub fn require_noisy(&self, function: &str, n: usize) -> Result<&NoisyPredictions<B>, StepError> {
        let found = self.noisy.as_ref().map_or(0, |noisy| noisy.n_samples);
        match &self.noisy {
            Some(noisy) if found >= n => Ok(noisy),
            _ => Err(StepError::MissingNoisy { function: function.to_owned(), needed: n, found }),
        }
    }
}

/// The contrastive pass `z', y'`, aligned row by row with the scored steps.
#[derive(Debug)]
pub struct Contrast<B: Backend> {
    /// The prediction in the contrast's own context; `None` if it has the same context as the scored steps.
    context: Option<Prediction<B>>,
    target_ids: Tensor<B, 1, Int>,
    host_ids: Vec<u32>,
    /// Rows without a partner, if any.
    absent: Option<Tensor<B, 1, Bool>>,
}

impl<B: Backend> Contrast<B> {
    /// A contrast with its own context, given the logits of its own forward pass.
    ///
    /// # Shapes
    /// - `logits`: `[contrast rows, vocab]`
    /// - `target_ids`: `[contrast rows]`
    /// - `rows`: the number of scored steps that it is compared with
    ///
    /// # Errors
    /// As for [`StepBatch::new`], and if the alignment points outside either text.
    pub fn new(
        logits: Tensor<B, 2>,
        target_ids: &[u32],
        alignment: &Alignment,
        rows: usize,
    ) -> Result<Self, StepError> {
        let [contrast_rows, vocab] = logits.dims();
        check_targets(target_ids, contrast_rows, vocab)?;
        let device = logits.device();
        // Check before aligning, so that an error names the row as the caller knows it.
        let context = Prediction::new(logits, PassKind::Contrast)?;
        let partners = alignment.partners(rows, contrast_rows)?;
        let context = if partners.iter().copied().eq((0..contrast_rows).map(Some)) {
            context
        } else {
            let indices: Vec<u32> = partners.iter().map(|partner| partner.unwrap_or(0) as u32).collect();
            context.select(&upload(&indices, &device))
        };
        Ok(Self::from_partners(Some(context), target_ids, &partners, &device))
    }

    /// A contrast that differs only in its target tokens: `z' = z`. Contrastive attribution differentiates this.
    ///
    /// # Shapes
    /// - `target_ids`: `[contrast rows]`
    /// - `rows`: the number of scored steps that it is compared with
    ///
    /// # Errors
    /// If the alignment points outside either text.
    pub fn same_context(
        target_ids: &[u32],
        alignment: &Alignment,
        rows: usize,
        device: &B::Device,
    ) -> Result<Self, StepError> {
        let partners = alignment.partners(rows, target_ids.len())?;
        Ok(Self::from_partners(None, target_ids, &partners, device))
    }

    fn from_partners(
        context: Option<Prediction<B>>,
        target_ids: &[u32],
        partners: &[Option<usize>],
        device: &B::Device,
    ) -> Self {
        let host_ids: Vec<u32> = partners.iter().map(|partner| partner.map_or(0, |row| target_ids[row])).collect();
        let absent = partners.contains(&None).then(|| {
            let absent: Vec<bool> = partners.iter().map(Option::is_none).collect();
            Tensor::from_data(TensorData::new(absent, [partners.len()]), device)
        });
        Self { context, target_ids: upload(&host_ids, device), host_ids, absent }
    }
}

/// A contrast, aligned row by row with the scored steps.
#[derive(Debug, Clone, Copy)]
pub struct ContrastView<'a, B: Backend> {
    steps: &'a StepBatch<B>,
    contrast: &'a Contrast<B>,
}

impl<'a, B: Backend> ContrastView<'a, B> {
    /// The contrastive prediction, row by row; the original one if the context is the same.
    pub fn prediction(&self) -> &'a Prediction<B> {
        self.contrast.context.as_ref().unwrap_or(&self.steps.prediction)
    }

    /// The contrast's targets `y'`, `[rows]`; 0 for steps that have no partner.
    pub fn target_ids(&self) -> Tensor<B, 1, Int> {
        self.contrast.target_ids.clone()
    }

    /// `z'_{y'}`, `[rows]`.
    pub fn logit(&self) -> Tensor<B, 1> {
        self.prediction().logit(self.contrast.target_ids.clone())
    }

    /// `ln p'_{y'}` in nats, `[rows]`.
    pub fn log_prob(&self) -> Tensor<B, 1> {
        self.prediction().log_prob(self.contrast.target_ids.clone())
    }

    /// `scores`, with NaN for steps that have no partner, `[rows]`.
    pub fn where_aligned(&self, scores: Tensor<B, 1>) -> Tensor<B, 1> {
        match &self.contrast.absent {
            Some(absent) => scores.mask_fill(absent.clone(), f32::NAN),
            None => scores,
        }
    }
}

/// Predictions of the same steps from several passes with dropout on.
#[derive(Debug)]
pub struct NoisyPredictions<B: Backend> {
    /// All samples, one after the other: `[n_samples · rows, vocab]`.
    prediction: Prediction<B>,
    n_samples: usize,
    rows: usize,
    /// The mixture of the first `n` samples, cached so that entropy and mutual information of one ensemble share a pass.
    mixture: OnceLock<(usize, Mixture<B>)>,
}

impl<B: Backend> NoisyPredictions<B> {
    /// Noisy predictions from unchecked logits: a row with NaN or ±∞ gets NaN as its score.
    ///
    /// # Shapes
    /// - `noisy_logits`: `[n_samples, rows, vocab]`, `n_samples ≥ 1`
    pub fn unchecked(noisy_logits: Tensor<B, 3>) -> Self {
        let [n_samples, rows, vocab] = noisy_logits.dims();
        let prediction = Prediction::unchecked(noisy_logits.reshape([n_samples * rows, vocab]));
        Self { prediction, n_samples, rows, mixture: OnceLock::new() }
    }

    /// Number of passes.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// `ln p_y` of the first `n` passes, in nats.
    ///
    /// # Shapes
    /// - `target_ids`: `[rows]`
    /// - result: `[n, rows]`
    pub fn log_prob(&self, target_ids: Tensor<B, 1, Int>, n: usize) -> Tensor<B, 2> {
        let log_probs = self.prediction.log_prob(target_ids.repeat(&[self.n_samples]));
        log_probs.reshape([self.n_samples, self.rows]).slice(0..n.min(self.n_samples))
    }

    /// Entropy of the mean prediction of the first `n` passes in nats, `[rows, 1]`.
    pub fn mean_entropy(&self, n: usize) -> Tensor<B, 2> {
        let n = n.min(self.n_samples).max(1);
        match self.mixture.get() {
            Some((cached, mixture)) if *cached == n => mixture.entropy.clone(),
            _ => mixture_entropy(&self.members(n).iter().collect::<Vec<_>>()),
        }
    }

    /// Entropy of the mean prediction of the first `n` passes, and their mutual information, in nats.
    pub fn mixture(&self, n: usize) -> Mixture<B> {
        let n = n.min(self.n_samples).max(1);
        let of = |n| mixture(&self.members(n).iter().collect::<Vec<_>>());
        let (cached, mixture) = self.mixture.get_or_init(|| (n, of(n)));
        if *cached == n { mixture.clone() } else { of(n) }
    }

    /// How far the first `n` passes are from their mean prediction: `(1/n) Σ_m KL(p̄ ‖ p_m)`, the reverse mutual information, in nats, `[rows, 1]`
    /// (Malinin & Gales 2021).
    pub fn reverse_mutual_information(&self, n: usize) -> Tensor<B, 2> {
        let members = self.members(n.min(self.n_samples).max(1));
        let share = 1.0 / members.len() as f64;
        let mean = |of: fn(Tensor<B, 2>) -> Tensor<B, 2>| {
            members.iter().map(|member| of(member.log_probs()).mul_scalar(share)).reduce(|sum, next| sum + next)
        };
        let (Some(mixed), Some(log_probs)) = (mean(Tensor::exp), mean(|log_probs| log_probs)) else {
            return self.mean_entropy(1).zeros_like();
        };
        // Where the mean underflows to 0, so does the product.
        let log_mixed = mixed.clone().clamp_min(f32::MIN_POSITIVE).log();
        (mixed * (log_mixed - log_probs)).sum_dim(1)
    }

    fn members(&self, n: usize) -> Vec<Softmax<B>> {
        let softmax = self.prediction.softmax();
        // Computed before splitting, so that the samples share one pass over all logits.
        softmax.stats();
        (0..n).map(|sample| softmax.rows(sample * self.rows..(sample + 1) * self.rows)).collect()
    }
}

fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), StepError> {
    if expected == found { Ok(()) } else { Err(StepError::Mismatch { what, expected, found }) }
}

fn check_targets(target_ids: &[u32], rows: usize, vocab: usize) -> Result<(), StepError> {
    expect("target ids", rows, target_ids.len())?;
    match target_ids.iter().position(|&id| id as usize >= vocab) {
        Some(row) => Err(StepError::TargetOutOfRange { row, id: target_ids[row], vocab }),
        None => Ok(()),
    }
}

fn upload<B: Backend>(ids: &[u32], device: &B::Device) -> Tensor<B, 1, Int> {
    let len = ids.len();
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [len]), device)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn the_reverse_mutual_information_is_the_mean_divergence_from_the_mean() {
        let passes = [[0.5f64, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]];
        let logits: Vec<f32> = passes.iter().flatten().map(|p| p.ln() as f32 + 3.0).collect();
        let device = stepfn_cpu::device("0").unwrap();
        let logits = Tensor::<stepfn_cpu::Backend, 3>::from_data(TensorData::new(logits, [3, 1, 3]), &device);
        let found = NoisyPredictions::unchecked(logits).reverse_mutual_information(2).into_scalar();
        let mean: Vec<f64> = (0..3).map(|token| (passes[0][token] + passes[1][token]) / 2.0).collect();
        let divergence = |pass: &[f64; 3]| mean.iter().zip(pass).map(|(mean, p)| mean * (mean / p).ln()).sum::<f64>();
        let expected = (divergence(&passes[0]) + divergence(&passes[1])) / 2.0;
        assert!((f64::from(found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}
