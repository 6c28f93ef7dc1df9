//! Multipliers of attention against a baseline (DeepLIFT; Shrikumar et al. 2017, arXiv:1704.02685).
//!
//! Every product shares the difference of its result evenly between its factors: `Q Kᵀ`, `(A ⊙ D) V`, and the softmax `e / Z` as well, the
//! product of `e` and `1 / Z` with `Z = Σ e`.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{AttentionGradients, AttentionInputs, attention_probabilities};

use super::heads::Heads;
use crate::transformer::rule::slope;

/// Pulls cotangents at all queries back by multipliers against a baseline.
///
/// # Shapes
/// - `grad`: `[texts · cotangents · queries, n_heads · head_dim]`
pub(super) fn deep_lift_backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    baseline: &AttentionInputs<B>,
    grad: Tensor<B, 2>,
    per_text: usize,
) -> AttentionGradients<B> {
    let heads = Heads::of(inputs);
    let Heads { texts, groups, group, head_dim, queries, keys } = heads;
    let all = texts * groups * group;
    let (here, there) = (Compared::of(inputs, &heads), Compared::of(baseline, &heads));
    let halved = |a: &Tensor<B, 3>, b: &Tensor<B, 3>| (a.clone() + b.clone()).div_scalar(2);

    // [texts · heads, queries, cotangents, head_dim]
    let grad = grad.reshape([texts, per_text, queries, groups * group, head_dim]).permute([0, 3, 2, 1, 4]);
    let by_query = grad.reshape([all, queries, per_text * head_dim]);
    let rows = by_query.clone().reshape([all, queries * per_text, head_dim]);
    let seen = heads.seen(inputs); // [texts · heads, queries, keys]: 1 where a query sees a key

    // O = (A ⊙ D) V
    let mut kept = halved(&here.probabilities, &there.probabilities);
    let mut to_probabilities =
        rows.matmul(halved(&here.value, &there.value).transpose()).reshape([all, queries, per_text, keys]);
    if let Some(dropout) = inputs.dropout {
        let dropout = heads.broadcast(dropout);
        kept = kept * dropout.clone();
        to_probabilities = to_probabilities * dropout.reshape([all, queries, 1, keys]);
    }
    let to_value = kept.transpose().matmul(by_query); // [texts · heads, keys, cotangents · head_dim]

    // A = e / Z with Z = Σ e, of scores whose mean is taken off: a linear step, which keeps Z above the number of keys.
    let count = seen.clone().sum_dim(2).clamp_min(1.0);
    let centered = |pass: &Compared<B>| {
        let scores = pass.scores.clone() * seen.clone();
        (scores.clone() - scores.sum_dim(2) / count.clone()) * seen.clone()
    };
    let (s, s0) = (centered(&here), centered(&there));
    /// The greatest exponent that single precision can sum.
    const GREATEST: f64 = 60.0;
    let shift = s.clone().max_pair(s0.clone()).max_dim(2).sub_scalar(GREATEST).clamp_min(0.0);
    let (s, s0) = (s - shift.clone(), s0 - shift);
    let exponentials = |s: &Tensor<B, 3>| s.clone().exp() * seen.clone();
    let (e, e0) = (exponentials(&s), exponentials(&s0));
    let least = f64::from(f32::MIN_POSITIVE);
    let (z, z0) = (e.clone().sum_dim(2).clamp_min(least), e0.clone().sum_dim(2).clamp_min(least));
    let steepness = slope(s, s0, |s| s.exp(), |s| s.exp()) * seen.clone();
    let four = |x: Tensor<B, 3>| {
        let [a, b, c] = x.dims();
        x.reshape([a, b, 1, c])
    };
    let both = (e + e0).div_scalar(2) / z.clone() / z0.clone();
    let through_sum = (to_probabilities.clone() * four(both)).sum_dim(3);
    let through_self = to_probabilities * four((z.recip() + z0.recip()).div_scalar(2));
    let to_scores = (through_self - through_sum) * four(steepness);
    let mean = to_scores.clone().sum_dim(3) / four(count);
    let mut to_scores = (to_scores - mean) * four(seen);
    if let Some(cap) = inputs.shape.soft_cap {
        let derivative = |x: Tensor<B, 3>| x.div_scalar(cap).tanh().powi_scalar(2).neg().add_scalar(1);
        let steepness = slope(here.uncapped, there.uncapped, |x| x.div_scalar(cap).tanh().mul_scalar(cap), derivative);
        to_scores = to_scores * four(steepness);
    }
    let to_scores = to_scores.mul_scalar(inputs.shape.scale); // [texts · heads, queries, cotangents, keys]

    let to_query = to_scores.clone().reshape([all, queries * per_text, keys]).matmul(halved(&here.key, &there.key));
    let by_key = to_scores.permute([0, 3, 2, 1]).reshape([all, keys * per_text, queries]);
    let to_key = by_key.matmul(halved(&here.query, &there.query)); // [texts · heads, keys · cotangents, head_dim]
    let gathered = |x: Tensor<B, 3>, places: usize| {
        let x = x.reshape([texts, groups * group, places, per_text, head_dim]).permute([0, 3, 2, 1, 4]);
        x.reshape([texts * per_text * places, groups * group * head_dim])
    };
    let summed = |x: Tensor<B, 2>| {
        let [rows, _] = x.dims();
        x.reshape([rows, groups, group, head_dim]).sum_dim(2).reshape([rows, groups * head_dim])
    };
    AttentionGradients {
        query: gathered(to_query, queries),
        key: summed(gathered(to_key, keys)),
        value: summed(gathered(to_value, keys)),
    }
}

/// One of the two passes that DeepLIFT compares, heads apart: `[texts · heads, places, ·]`.
struct Compared<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    /// Before the soft cap.
    uncapped: Tensor<B, 3>,
    scores: Tensor<B, 3>,
    probabilities: Tensor<B, 3>,
}

impl<B: Backend> Compared<B> {
    fn of(inputs: &AttentionInputs<B>, heads: &Heads) -> Self {
        let query = heads.split(inputs.query.clone(), heads.queries);
        let (key, value) = (heads.shared(inputs.key), heads.shared(inputs.value));
        let uncapped = query.clone().matmul(key.clone().transpose()).mul_scalar(inputs.shape.scale);
        let mut scores = match inputs.shape.soft_cap {
            Some(cap) => uncapped.clone().div_scalar(cap).tanh().mul_scalar(cap),
            None => uncapped.clone(),
        };
        if let Some(bias) = inputs.bias {
            scores = scores + heads.broadcast(bias);
        }
        let all = heads.texts * heads.groups * heads.group;
        let probabilities = attention_probabilities(inputs).reshape([all, heads.queries, heads.keys]);
        Self { query, key, value, uncapped, scores, probabilities }
    }
}
