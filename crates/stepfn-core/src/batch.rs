//! The input of step functions: what the model predicted, what it should have, and what it is compared with.

use std::sync::OnceLock;

use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::mixture::{Mixture, mixture, mixture_entropy};
use stepfn_kernels::softmax::Softmax;

use crate::{Alignment, Pass, Prediction, StepError};

/// What the model said at a batch of steps, one row per (text, step), and what it was asked to say.
///
/// Can't be built with targets outside the vocabulary, logits that are not finite, or parts of different sizes. Targets come as
/// they leave the tokenizer, in host memory, so that checking them waits for no device.
#[derive(Debug)]
pub struct StepBatch<B: Backend> {
    prediction: Prediction<B>,
    target_ids: Tensor<B, 1, Int>,
    contrast: Option<Contrast<B>>,
    noisy: Option<NoisyPredictions<B>>,
}

impl<B: Backend> StepBatch<B> {
    /// The steps of one forward pass.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, any floating-point type
    /// - `target_ids`: `[rows]`
    ///
    /// # Errors
    /// If there are no rows, fewer than two tokens, another number of targets, a target outside the vocabulary, or a logit that
    /// is NaN or infinite.
    pub fn new(logits: Tensor<B, 2>, target_ids: &[u32]) -> Result<Self, StepError> {
        let [rows, vocab] = logits.dims();
        check_targets(target_ids, rows, vocab)?;
        let target_ids = upload(target_ids, &logits.device());
        Ok(Self { prediction: Prediction::new(logits, Pass::Original)?, target_ids, contrast: None, noisy: None })
    }

    /// The same steps, compared with `contrast`.
    ///
    /// # Errors
    /// If the contrast is aligned with another number of steps or has another vocabulary.
    pub fn with_contrast(self, contrast: Contrast<B>) -> Result<Self, StepError> {
        expect("steps that the contrast is aligned with", self.rows(), contrast.target_ids.dims()[0])?;
        match &contrast.context {
            Some(prediction) => expect("tokens in the contrast's vocabulary", self.vocab(), prediction.vocab())?,
            None => check_targets(&contrast.host_ids, self.rows(), self.vocab())?,
        }
        Ok(Self { contrast: Some(contrast), ..self })
    }

    /// The same steps, with what the model said of them while dropout was on.
    ///
    /// # Shapes
    /// - `noisy_logits`: `[n_samples, rows, vocab]`
    ///
    /// # Errors
    /// If there is no sample, another number of steps or another vocabulary (an auxiliary model must share the tokenizer), or a
    /// logit that is NaN or infinite.
    pub fn with_noisy(self, noisy_logits: Tensor<B, 3>) -> Result<Self, StepError> {
        let [n_samples, rows, vocab] = noisy_logits.dims();
        expect("rows of the noisy logits", self.rows(), rows)?;
        expect("tokens in the noisy predictions' vocabulary", self.vocab(), vocab)?;
        let logits = noisy_logits.reshape([n_samples * rows, vocab]);
        let prediction = Prediction::new(logits, Pass::Noisy { sample: 0 }).map_err(|error| match error {
            StepError::NonFinite { row, .. } => {
                StepError::NonFinite { pass: Pass::Noisy { sample: row / rows }, row: row % rows }
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

    /// What the model said.
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

    /// The contrastive side, seen from these steps, if there is one.
    pub fn contrast(&self) -> Option<ContrastView<'_, B>> {
        self.contrast.as_ref().map(|contrast| ContrastView { steps: self, contrast })
    }

    /// The contrastive side, for a function that can't do without.
    ///
    /// # Errors
    /// [`StepError::MissingContrast`] naming `function`.
    pub fn require_contrast(&self, function: &str) -> Result<ContrastView<'_, B>, StepError> {
        self.contrast().ok_or_else(|| StepError::MissingContrast { function: function.to_owned() })
    }

    /// The first `n` predictions with dropout, for a function that can't do without.
    ///
    /// # Errors
    /// [`StepError::MissingNoisy`] naming `function` if there are fewer.
    pub fn require_noisy(&self, function: &str, n: usize) -> Result<&NoisyPredictions<B>, StepError> {
        let found = self.noisy.as_ref().map_or(0, |noisy| noisy.n_samples);
        match &self.noisy {
            Some(noisy) if found >= n => Ok(noisy),
            _ => Err(StepError::MissingNoisy { function: function.to_owned(), needed: n, found }),
        }
    }
}

/// The contrastive pass `z', y'`, aligned row by row with the steps that it is compared with.
#[derive(Debug)]
pub struct Contrast<B: Backend> {
    /// The contrast's own prediction; `None` where the original context is kept.
    context: Option<Prediction<B>>,
    target_ids: Tensor<B, 1, Int>,
    host_ids: Vec<u32>,
    /// Rows without a partner, where there are any.
    absent: Option<Tensor<B, 1, Bool>>,
}

impl<B: Backend> Contrast<B> {
    /// A contrast with its own context: the logits of its own forward pass.
    ///
    /// # Shapes
    /// - `logits`: `[contrast rows, vocab]`
    /// - `target_ids`: `[contrast rows]`
    /// - `rows`: how many steps it is to be compared with
    ///
    /// # Errors
    /// As [`StepBatch::new`], and if the alignment points outside either text.
    pub fn new(
        logits: Tensor<B, 2>,
        target_ids: &[u32],
        alignment: &Alignment,
        rows: usize,
    ) -> Result<Self, StepError> {
        let [contrast_rows, vocab] = logits.dims();
        check_targets(target_ids, contrast_rows, vocab)?;
        let device = logits.device();
        // Before they are aligned: an error names the row as the caller knows it.
        let context = Prediction::new(logits, Pass::Contrast)?;
        let partners = alignment.partners(rows, contrast_rows)?;
        let context = if partners.iter().copied().eq((0..contrast_rows).map(Some)) {
            context
        } else {
            let indices: Vec<u32> = partners.iter().map(|partner| partner.unwrap_or(0) as u32).collect();
            context.select(&upload(&indices, &device))
        };
        Ok(Self::from_partners(Some(context), target_ids, &partners, &device))
    }

    /// A contrast of target tokens alone: `z' = z`, and only `y'` differs. What contrastive attribution differentiates.
    ///
    /// # Shapes
    /// - `target_ids`: `[contrast rows]`
    /// - `rows`: how many steps it is to be compared with
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

/// A contrast as the steps see it that are compared with it.
#[derive(Debug, Clone, Copy)]
pub struct ContrastView<'a, B: Backend> {
    steps: &'a StepBatch<B>,
    contrast: &'a Contrast<B>,
}

impl<'a, B: Backend> ContrastView<'a, B> {
    /// The contrastive prediction, row by row; the original one where the context is kept.
    pub fn prediction(&self) -> &'a Prediction<B> {
        self.contrast.context.as_ref().unwrap_or(&self.steps.prediction)
    }

    /// `z'_{y'}`, `[rows]`.
    pub fn logit(&self) -> Tensor<B, 1> {
        self.prediction().logit(self.contrast.target_ids.clone())
    }

    /// `ln p'_{y'}` in nats, `[rows]`.
    pub fn log_prob(&self) -> Tensor<B, 1> {
        self.prediction().log_prob(self.contrast.target_ids.clone())
    }

    /// `scores` with NaN where the step has no partner to be compared with, `[rows]`.
    pub fn where_aligned(&self, scores: Tensor<B, 1>) -> Tensor<B, 1> {
        match &self.contrast.absent {
            Some(absent) => scores.mask_fill(absent.clone(), f32::NAN),
            None => scores,
        }
    }
}

/// What a model said of the same steps in several passes with dropout on.
#[derive(Debug)]
pub struct NoisyPredictions<B: Backend> {
    /// All samples, one after the other: `[n_samples · rows, vocab]`.
    prediction: Prediction<B>,
    n_samples: usize,
    rows: usize,
    /// The mixture of the first so many samples: entropy and mutual information of one ensemble come from one pass.
    mixture: OnceLock<(usize, Mixture<B>)>,
}

impl<B: Backend> NoisyPredictions<B> {
    /// Noisy predictions whose logits nobody has checked: NaN and ±∞ in a row make its scores NaN.
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

    fn members(&self, n: usize) -> Vec<Softmax<B>> {
        let softmax = self.prediction.softmax();
        // Before they part: the samples share one pass over all logits.
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
