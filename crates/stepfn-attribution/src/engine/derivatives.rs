//! Derivatives of the attributed function with respect to what the model reads, and on their way there.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_models::tape::{InputGradients, Tape};
use stepfn_models::transformer::{Dropout, Keep, Rule, Starts, WeightGradients};

use super::{PullBack, Subject, Variants, of_each_sample};
use crate::AttributionError;

/// Where derivatives start.
struct Start<B: Backend> {
    /// What the tapes have.
    keep: Keep,
    tape: Tape<B>,
    /// With the pass of the baseline, if there is one.
    rule: Rule<Tape<B>>,
    /// With respect to the hidden states that predict the steps, `[variants · steps, hidden]`.
    grad: Tensor<B, 2>,
    /// The number of passes with dropout, where the function reads any, what they left behind, and the derivatives
    /// `[samples · variants · steps, hidden]`.
    noisy: Option<(usize, Tape<B>, Tensor<B, 2>)>,
}

impl<B: Backend> Subject<'_, B> {
    /// The attributed function's derivatives at these steps with respect to each variant's input: the cotangents are steps, and gradients
    /// `[variants · steps · width, size]`.
    pub(crate) fn differentiate(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: &Range<usize>,
    ) -> Result<InputGradients<B>, AttributionError> {
        let Start { keep, tape, rule, grad, noisy } = self.start(variants, rule, steps)?;
        let together = |passes: usize| self.steps_together(passes * variants.count, keep, steps);
        let mut inputs = self.pull_back(&tape, rule.map(|baseline| baseline), grad, &together(1), steps)?;
        if let Some((samples, tape, grad)) = noisy {
            let more = self.pull_back(&tape, Rule::Gradient, grad, &together(samples), steps)?;
            inputs.target = inputs.target + over_samples(more.target, samples);
            inputs.source = match (inputs.source, more.source) {
                (Some(sum), Some(more)) => Some(sum + over_samples(more, samples)),
                (sum, _) => sum,
            };
        }
        Ok(inputs)
    }

    /// Pulls derivatives with respect to the hidden states that predict these steps back through a tape, those that go together at a time: they
    /// look at no place behind the last of them.
    fn pull_back(
        &self,
        tape: &Tape<B>,
        rule: Rule<&Tape<B>>,
        grad: Tensor<B, 2>,
        together: &[Range<usize>],
        steps: &Range<usize>,
    ) -> Result<InputGradients<B>, AttributionError> {
        let (width, variants) = (self.width(steps), grad.dims()[0] / steps.len());
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for few in together {
            let seen = self.width(few);
            let places: Vec<usize> = few.clone().map(|step| step - 1).collect();
            let starts = Starts::one_each(&places);
            let grad = of_each_sample(&grad, steps.len(), &(few.start - steps.start..few.end - steps.start));
            let inputs = match seen == width {
                true => self.model.pull_back(tape, rule.map(|baseline| *baseline), grad, &starts)?,
                false => {
                    let rule = rule.map(|baseline| baseline.first(seen));
                    self.model.pull_back(&tape.first(seen), rule.map(|baseline| baseline), grad, &starts)?
                }
            };
            let apart = |x: Tensor<B, 2>| {
                let [rows, size] = x.dims();
                x.reshape([variants, few.len(), rows / (variants * few.len()), size])
            };
            let mut of_target = vec![apart(inputs.target)];
            if seen < width {
                let [_, _, _, size] = of_target[0].dims();
                let like = (&of_target[0].device(), of_target[0].dtype());
                of_target.push(Tensor::zeros([variants, few.len(), width - seen, size], like));
            }
            target.push(Tensor::cat(of_target, 2));
            source.extend(inputs.source.map(apart));
        }
        let joined = |parts: Vec<Tensor<B, 4>>| {
            let all = Tensor::cat(parts, 1);
            let [variants, steps, width, size] = all.dims();
            all.reshape([variants * steps * width, size])
        };
        Ok(InputGradients { source: (!source.is_empty()).then(|| joined(source)), target: joined(target) })
    }

    /// Shows the attributed function's derivatives at these steps on their way back through each of the decoder's attentions: those of the text
    /// as it is, then those of its passes with dropout, where the function reads any.
    pub(crate) fn weight_gradients(
        &self,
        steps: &Range<usize>,
        each: &mut dyn FnMut(WeightGradients<'_, B>),
    ) -> Result<(), AttributionError> {
        let Start { tape, grad, noisy, .. } = self.start(&self.input(steps), Rule::Gradient, steps)?;
        let places: Vec<usize> = steps.clone().map(|step| step - 1).collect();
        let starts = Starts::one_each(&places);
        self.model.weight_gradients(&tape, grad, &starts, each)?;
        if let Some((_, tape, grad)) = noisy {
            self.model.weight_gradients(&tape, grad, &starts, each)?;
        }
        Ok(())
    }

    /// Runs the variants, and finds the derivatives that go back through them.
    fn start(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: &Range<usize>,
    ) -> Result<Start<B>, AttributionError> {
        if !self.function.tracked().is_differentiable() {
            return Err(AttributionError::Parameter {
                of: "a gradient method".to_owned(),
                parameter: "attributed_fn".to_owned(),
                expected: "a function that has a gradient".to_owned(),
                found: format!("`{}`, which counts", self.function.name()),
            });
        }
        let keep = self.keep(variants.count * self.passes(), steps);
        let record = |variants: &Variants<B>, dropout: &Dropout| -> Result<Tape<B>, AttributionError> {
            let batches = self.batches(variants, steps)?;
            Ok(self.model.record(self.model_input(variants, &batches, dropout), keep)?)
        };
        let tape = record(variants, &Dropout::Off)?;
        let hidden = self.at_steps(tape.hidden().clone(), variants.count, steps);
        let rule = rule.try_map(|baseline| record(baseline, &Dropout::Off))?;
        let rule_at_steps = rule.map(|tape| self.at_steps(tape.hidden().clone(), variants.count, steps));
        let noise = self.noise(variants.count);
        if noise.is_some() && !matches!(rule, Rule::Gradient) {
            return Err(AttributionError::Parameter {
                of: "a method with rules of its own".to_owned(),
                parameter: "attributed_fn".to_owned(),
                expected: "a function of one pass".to_owned(),
                found: format!("`{}`, which reads passes with dropout", self.function.name()),
            });
        }
        let noisy = match &noise {
            None => None,
            Some((samples, dropout)) => {
                let tape = record(&variants.repeated(*samples), dropout)?;
                let hidden = self.at_steps(tape.hidden().clone(), samples * variants.count, steps);
                Some((*samples, tape, hidden))
            }
        };

        let rows = variants.count * steps.len();
        let (mut grads, mut noisy_grads) = (Vec::new(), Vec::new());
        for chunk in self.row_chunks(rows) {
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
            (samples, tape, grad.reshape([samples * rows, size]))
        });
        Ok(Start { keep, tape, rule, grad: Tensor::cat(grads, 0), noisy })
    }
}

/// The sum over samples of `[samples · rows, size]`.
fn over_samples<B: Backend>(x: Tensor<B, 2>, samples: usize) -> Tensor<B, 2> {
    let [all, size] = x.dims();
    x.reshape([samples, all / samples * size]).sum_dim(0).reshape([all / samples, size])
}
