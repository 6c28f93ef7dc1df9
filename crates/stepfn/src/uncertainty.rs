//! How good and how certain a text is as a whole, from the predictions of all its tokens and from passes with dropout.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_attribution::TextScores;
use stepfn_core::{Join, Needs, StepBatch, StepError, StepFunction, StepScore};

/// What is computed of each token for [`measures`], in passes that all functions share.
enum Part {
    /// `ln p_y` in a pass with dropout.
    Pass(usize),
    /// Of the mean prediction of all passes, in nats.
    Entropy,
    /// `H(mean) − mean H`, in nats.
    MutualInformation,
    /// `mean KL(mean ‖ pass)`, in nats.
    ReverseMutualInformation,
}

struct PartScore {
    name: String,
    part: Part,
    passes: usize,
}

impl StepScore for PartScore {
    fn name(&self) -> &str {
        &self.name
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn needs(&self) -> Needs {
        Needs::noisy(self.passes)
    }
}

impl<B: Backend> StepFunction<B> for PartScore {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let noisy = steps.require_noisy(&self.name, self.passes)?;
        Ok(match self.part {
            Part::Pass(pass) => noisy.log_prob(steps.target_ids(), pass + 1).slice(pass..pass + 1).squeeze_dim(0),
            Part::Entropy => noisy.mixture(self.passes).entropy.squeeze_dim(1),
            Part::MutualInformation => noisy.mixture(self.passes).mutual_information.squeeze_dim(1),
            Part::ReverseMutualInformation => noisy.reverse_mutual_information(self.passes).squeeze_dim(1),
        })
    }
}

/// What has to be computed in so many passes with dropout.
pub(crate) fn parts<B: Backend>(passes: usize) -> Vec<Box<dyn StepFunction<B>>> {
    let others = [Part::Entropy, Part::MutualInformation, Part::ReverseMutualInformation];
    let parts = (0..passes).map(Part::Pass).chain(others).enumerate();
    // No function of a user's has such a name.
    let part = |(number, part)| PartScore { name: format!("uncertainty {number}"), part, passes };
    parts.map(|numbered| Box::new(part(numbered)) as Box<dyn StepFunction<B>>).collect()
}

/// The names of the measures, in their order.
pub(crate) const MEASURES: [&str; 11] = [
    "tp",
    "softmax_entropy",
    "sent_std",
    "d_tp",
    "d_var",
    "d_combo",
    "total_uncertainty",
    "data_uncertainty",
    "knowledge_uncertainty",
    "expected_pairwise_kl",
    "reverse_mutual_information",
];

/// Takes what was computed of each token out of the scores of a text, and makes measures of the whole text of it, with their names.
///
/// Of Fomicheva et al. 2020 (arXiv:2005.10608), with `TP` the mean log-probability of the tokens in nats: `tp`; `softmax_entropy`, the mean
/// entropy; `sent_std`, the standard deviation of the log-probabilities; over the passes `d_tp`, the mean of `TP`, `d_var`, its variance, and `d_combo = 1 −
/// d_tp / d_var`, which is NaN where all passes agree. Of Malinin & Gales 2021 (arXiv:2002.07650), as means over tokens in nats: `total_uncertainty`, the entropy of the mean
/// prediction; `data_uncertainty`, the mean entropy of the passes; `knowledge_uncertainty`, the mutual information, which is the difference of these; `expected_pairwise_kl`, the mean divergence of
/// two passes; and `reverse_mutual_information`, the difference of the last two.
pub(crate) fn measures(scores: &mut TextScores, passes: usize) -> Vec<(String, f64)> {
    let first = scores.scores.len() - (passes + 3).min(scores.scores.len());
    let parts: Vec<(String, Vec<f32>)> = scores.scores.drain(first..).collect();
    parts.iter().for_each(|(name, _)| {
        scores.joins.remove(name);
    });
    let of_parts: Vec<f64> = parts.iter().map(|(_, values)| moments(values.iter().map(|&x| f64::from(x)))[0]).collect();
    let (of_passes, others) = of_parts.split_at(passes.min(of_parts.len()));
    let [tp, spread] = moments(scores.log_probs.iter().map(|&x| f64::from(x)));
    let [softmax_entropy, _] = moments(scores.entropies.iter().map(|&x| f64::from(x)));
    let [d_tp, d_var] = moments(of_passes.iter().copied());
    let d_combo = if d_var > 0.0 { 1.0 - d_tp / d_var } else { f64::NAN };
    let &[total, knowledge, reverse] = others else { return Vec::new() };
    let of_dropout = [d_tp, d_var, d_combo];
    let of_passes = [total, total - knowledge, knowledge, knowledge + reverse, reverse];
    let all = [tp, softmax_entropy, spread.sqrt()].into_iter().chain(of_dropout).chain(of_passes);
    MEASURES.into_iter().map(str::to_owned).zip(all).collect()
}

/// Mean and variance of all values, which are the whole population.
fn moments(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    [mean, values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / n]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use burn::tensor::TensorData;
    use serde_json::Value;
    use stepfn_attribution::SequenceScores;
    use stepfn_core::functions::{Entropy, Probability};

    use super::*;
    use crate::backend::DefaultBackend;

    /// The numbers of a list of lists, and its sizes.
    fn numbers<const D: usize>(value: &Value) -> Tensor<DefaultBackend, D> {
        fn collect(value: &Value, depth: usize, sizes: &mut Vec<usize>, into: &mut Vec<f32>) {
            match value.as_array() {
                Some(list) => {
                    if sizes.len() == depth {
                        sizes.push(list.len());
                    }
                    list.iter().for_each(|value| collect(value, depth + 1, sizes, into));
                }
                None => into.push(value.as_f64().unwrap() as f32),
            }
        }
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        collect(value, 0, &mut sizes, &mut all);
        Tensor::from_data(TensorData::new(all, sizes), &Default::default())
    }

    #[test]
    fn measures_are_those_of_published_formulas() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/uncertainty/uncertainty.json");
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in &cases {
            let target = case["target"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
            let target: Vec<u32> = target.collect();
            let passes = case["noisy"].as_array().unwrap().len();
            let steps = StepBatch::new(numbers(&case["logits"]), &target).unwrap();
            let steps = steps.with_noisy(numbers(&case["noisy"])).unwrap();
            let values = |function: &dyn StepFunction<DefaultBackend>| -> Vec<f32> {
                function.score(&steps).unwrap().into_data().to_vec().unwrap()
            };
            let log_probs = values(&Probability { logprob: true });
            let entropies = values(&Entropy::default());
            let mut scores = TextScores {
                first: 0,
                scores: parts(passes).iter().map(|part| (part.name().to_owned(), values(part.as_ref()))).collect(),
                joins: Default::default(),
                sequence: SequenceScores { logprob: 0.0, mean_entropy: 0.0, perplexity: 0.0 },
                log_probs,
                entropies,
                likely: Vec::new(),
            };
            let found = measures(&mut scores, passes);
            let expected = case["measures"].as_object().unwrap();
            assert_eq!(found.len(), expected.len());
            for (name, value) in found {
                let expected = expected[&name].as_f64().unwrap();
                // Differences of logarithms are as fine as these.
                let tolerance = 1e-5 + 1e-4 * expected.abs();
                assert!((value - expected).abs() < tolerance, "{name}: {value} and {expected}");
            }
            assert!(scores.scores.is_empty());
        }
        assert_eq!(cases.len(), 4);
    }
}
