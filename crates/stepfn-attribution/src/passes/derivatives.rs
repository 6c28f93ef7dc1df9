//! Derivatives of the attributed function with respect to the model's input and to intermediate results.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_core::StepScore;
use stepfn_models::tape::{InputGradients, Tape};
use stepfn_models::transformer::{Cache, Dropout, Keep, Rule, Starts, WeightGradients};

use super::{Passes, Perturbation, PullBack, Variants, at_steps, of_each_sample, select};
use crate::AttributionError;
use crate::steps::Steps;

/// Recorded passes, and the derivatives that start from their hidden states.
struct Recorded<B: Backend> {
    /// What the tapes have.
    keep: Keep,
    tape: Tape<B>,
    /// With the pass of the baseline, if there is one.
    rule: Rule<Tape<B>>,
    /// With respect to the hidden states that predict the steps, `[variants · steps, hidden]`.
    grad: Tensor<B, 2>,
    noisy: Option<Noisy<B>>,
}

/// Passes with dropout.
struct Noisy<B: Backend> {
    samples: usize,
    tape: Tape<B>,
    /// `[samples · variants · steps, hidden]`
    grad: Tensor<B, 2>,
}

impl<'a, B: Backend> Passes<'a, B> {
    /// The attributed function's derivatives at these steps with respect to each variant's input. The cotangents are steps, or
    /// [spans](crate::Question::spans) of them.
    ///
    /// # Shapes
    /// - gradients: `[variants · columns · tokens, size]`, with [`Question::columns`](crate::Question::columns)
    ///
    /// # Errors
    /// If the function has no gradient, or the rule can't be applied to the model or the function.
    pub fn differentiate(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: Steps,
    ) -> Result<InputGradients<B>, AttributionError> {
        self.to_inputs(self.record(variants, rule, steps, None)?, variants.count, steps)
    }

    /// The gradients of the text itself as of [`differentiate`](Self::differentiate), and what its variants share, both of one pass. `steps` are those from
    /// some step to the question's last.
    pub(crate) fn differentiate_text<'p>(
        &'p self,
        steps: Steps,
    ) -> Result<(InputGradients<B>, Perturbation<'p, 'a, B>), AttributionError> {
        let mut cache = self.model.decoder().cache();
        let recorded = self.record(&self.input(steps), Rule::Gradient, steps, Some(&mut cache))?;
        let (hidden, context) = (recorded.tape.hidden().clone(), recorded.tape.context().clone());
        let gradients = self.to_inputs(recorded, 1, steps)?;
        Ok((gradients, Perturbation { passes: self, hidden, context, cache }))
    }

    /// Pulls derivatives back to what was read.
    fn to_inputs(
        &self,
        recorded: Recorded<B>,
        count: usize,
        steps: Steps,
    ) -> Result<InputGradients<B>, AttributionError> {
        let Recorded { keep, tape, rule, grad, noisy } = recorded;
        let chunks = |passes: usize| {
            let variants = passes * count;
            let overhead = self.budget.chunk_overhead(keep, variants, steps.width());
            let together = self.budget.steps_together(self.question.lengths(steps), variants, overhead);
            let spans = self.question.spans(steps);
            // Of about the same size.
            let size = spans.len().div_ceil(spans.len().div_ceil(together).max(1)).max(1);
            spans.chunks(size).map(<[Steps]>::to_vec).collect::<Vec<_>>()
        };
        let mut inputs = self.pull_back(&tape, rule.map(|baseline| baseline), grad, &chunks(1), steps)?;
        if let Some(Noisy { samples, tape, grad }) = noisy {
            let more = self.pull_back(&tape, Rule::Gradient, grad, &chunks(samples), steps)?;
            inputs.target = inputs.target + over_samples(more.target, samples);
            inputs.source = match (inputs.source, more.source) {
                (Some(sum), Some(more)) => Some(sum + over_samples(more, samples)),
                (sum, _) => sum,
            };
        }
        Ok(inputs)
    }

    /// Pulls derivatives with respect to the hidden states that predict these steps back through a tape, a chunk of spans at a time. A chunk sees
    /// no place after the one that predicts its last step, so it goes through the tape of the places up to there.
    fn pull_back(
        &self,
        tape: &Tape<B>,
        rule: Rule<&Tape<B>>,
        grad: Tensor<B, 2>,
        chunks: &[Vec<Steps>],
        steps: Steps,
    ) -> Result<InputGradients<B>, AttributionError> {
        let (width, variants) = (steps.width(), grad.dims()[0] / steps.len());
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let seen = chunk.iter().map(|span| span.width()).max().unwrap_or(width);
            let (starts, grad) = self.starts(chunk, &grad, steps);
            let inputs = match seen == width {
                true => self.model.pull_back(tape, rule.map(|baseline| *baseline), grad, &starts)?,
                false => {
                    let rule = rule.map(|baseline| baseline.first(seen));
                    self.model.pull_back(&tape.first(seen), rule.map(|baseline| baseline), grad, &starts)?
                }
            };
            let apart = |x: Tensor<B, 2>| {
                let [rows, size] = x.dims();
                x.reshape([variants, chunk.len(), rows / (variants * chunk.len()), size])
            };
            let mut of_target = vec![apart(inputs.target)];
            if seen < width {
                let [_, _, _, size] = of_target[0].dims();
                let like = (&of_target[0].device(), of_target[0].dtype());
                of_target.push(Tensor::zeros([variants, chunk.len(), width - seen, size], like));
            }
            target.push(Tensor::cat(of_target, 2));
            source.extend(inputs.source.map(apart));
        }
        let joined = |parts: Vec<Tensor<B, 4>>| {
            let all = Tensor::cat(parts, 1);
            let [variants, columns, width, size] = all.dims();
            all.reshape([variants * columns * width, size])
        };
        Ok(InputGradients { source: (!source.is_empty()).then(|| joined(source)), target: joined(target) })
    }

    /// Where the cotangents of spans start, and the rows of `grad` there.
    ///
    /// # Shapes
    /// - `grad`: `[variants · steps, hidden]`; result: `[variants · places, hidden]`
    fn starts(&self, spans: &[Steps], grad: &Tensor<B, 2>, steps: Steps) -> (Starts, Tensor<B, 2>) {
        if self.question.span_target().is_none() {
            let places: Vec<usize> = spans.iter().flat_map(|step| step.places()).collect();
            let chunk = places[0] - steps.places().start..places[places.len() - 1] + 1 - steps.places().start;
            return (Starts::one_each(&places), of_each_sample(grad, steps.len(), &chunk));
        }
        let counted: Vec<Vec<usize>> = spans.iter().map(|&span| self.counted(span)).collect();
        let rows: Vec<usize> = counted.iter().flatten().map(|position| position - steps.start()).collect();
        let weights: Vec<f64> =
            counted.iter().flat_map(|span| core::iter::repeat_n(self.weight(span.len()), span.len())).collect();
        let [all, size] = grad.dims();
        let (samples, count) = (all / steps.len(), rows.len());
        let chosen: Vec<usize> =
            (0..samples).flat_map(|sample| rows.iter().map(move |row| sample * steps.len() + row)).collect();
        let weights = TensorData::new(weights, [1, count, 1]).convert_dtype(grad.dtype());
        let weights = Tensor::<B, 3>::from_data(weights, (&grad.device(), grad.dtype()));
        let grad = select(grad, &chosen).reshape([samples, count, size]) * weights;
        let places = counted.into_iter().map(|span| span.into_iter().map(|position| position - 1).collect());
        (Starts::new(places.collect()), grad.reshape([samples * count, size]))
    }

    /// Shows the attributed function's derivatives at these steps at each of the decoder's attentions: those of the text as it is, then those of
    /// its passes with dropout, if the function reads any.
    pub(crate) fn weight_gradients(
        &self,
        steps: Steps,
        each: &mut dyn FnMut(WeightGradients<'_, B>),
    ) -> Result<(), AttributionError> {
        let Recorded { tape, grad, noisy, .. } = self.record(&self.input(steps), Rule::Gradient, steps, None)?;
        let spans = self.question.spans(steps);
        let (starts, grad) = self.starts(&spans, &grad, steps);
        self.model.weight_gradients(&tape, grad, &starts, each)?;
        if let Some(Noisy { tape, grad, .. }) = noisy {
            let (starts, grad) = self.starts(&spans, &grad, steps);
            self.model.weight_gradients(&tape, grad, &starts, each)?;
        }
        Ok(())
    }

    /// Chunks of steps that have forward passes of their own.
    pub(crate) fn chunks_with_own_passes(&self) -> Vec<Steps> {
        let lengths = self.question.lengths(self.question.steps());
        self.question.chunks(self.budget.steps_together(lengths, self.budget.passes(), lengths.target as f64))
    }

    /// Runs the variants, and finds the derivatives with respect to their hidden states. The cache is filled by the pass of the variants as they are.
    fn record(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: Steps,
        cache: Option<&mut Cache<B>>,
    ) -> Result<Recorded<B>, AttributionError> {
        if !self.function.tracked().is_differentiable() {
            return Err(AttributionError::Unsuited(format!(
                "`{}` has no gradient, so a gradient method can't attribute it; use a perturbation method such as occlusion",
                self.function.name()
            )));
        }
        // Other rules than the gradient compare two tapes.
        let tapes = self.budget.passes() + usize::from(!rule.is_gradient());
        let columns = self.question.columns(steps);
        let keep = self.budget.keep(self.question.lengths(steps), variants.count * tapes, columns);
        let record = |variants: &Variants<B>, dropout: &Dropout, cache: Option<&mut Cache<B>>| {
            let batches = self.batches(variants, steps)?;
            Ok::<_, AttributionError>(self.model.record(variants.model_input(&batches, dropout), keep, cache)?)
        };
        let tape = record(variants, &Dropout::Off, cache)?;
        let hidden = at_steps(tape.hidden().clone(), variants.count, steps);
        let noise = self.noise(variants.count);
        if noise.is_some() && !rule.is_gradient() {
            return Err(AttributionError::Unsuited(format!(
                "`{}` reads passes with dropout, and DeepLIFT and AttnLRP can't attribute such a function; use a gradient method",
                self.function.name()
            )));
        }
        let rule = rule.try_map(|baseline| record(baseline, &Dropout::Off, None))?;
        let rule_at_steps = rule.map(|tape| at_steps(tape.hidden().clone(), variants.count, steps));
        let noisy = match &noise {
            None => None,
            Some((samples, dropout)) => {
                let tape = record(&variants.repeated(*samples), dropout, None)?;
                let hidden = at_steps(tape.hidden().clone(), samples * variants.count, steps);
                Some((*samples, tape, hidden))
            }
        };

        let rows = variants.count * steps.len();
        let (mut grads, mut noisy_grads) = (Vec::new(), Vec::new());
        for chunk in self.logit_chunks(rows) {
            let hidden = hidden.clone().slice(chunk.clone());
            let noisy = noisy.as_ref().map(|(_, _, noisy)| of_each_sample(noisy, rows, &chunk));
            let rule = rule_at_steps.map(|baseline| baseline.clone().slice(chunk.clone()));
            let local = self.local_derivatives(&hidden, &rule, noisy.as_ref(), &chunk, steps)?;
            grads.push(self.model.logits_backward(&hidden, rule.map(|baseline| baseline), local.logits)?);
            if let (Some(hidden), Some(grad)) = (&noisy, local.noisy_logits) {
                let grad = self.model.logits_backward(hidden, Rule::Gradient, grad)?;
                let [all, size] = grad.dims();
                let samples = all / chunk.len();
                noisy_grads.push(grad.reshape([samples, chunk.len(), size]));
            }
        }
        let noisy = noisy.map(|(samples, tape, _)| {
            let grad = Tensor::cat(noisy_grads, 1);
            let [_, _, size] = grad.dims();
            Noisy { samples, tape, grad: grad.reshape([samples * rows, size]) }
        });
        Ok(Recorded { keep, tape, rule, grad: Tensor::cat(grads, 0), noisy })
    }
}

/// The sum over samples of `[samples · rows, size]`.
fn over_samples<B: Backend>(x: Tensor<B, 2>, samples: usize) -> Tensor<B, 2> {
    let [all, size] = x.dims();
    x.reshape([samples, all / samples * size]).sum_dim(0).reshape([all / samples, size])
}
