//! Attention's way back by multipliers that are not the derivative: those of DeepLIFT against a baseline (Shrikumar et al. 2017,
//! arXiv:1704.02685), and those of AttnLRP (Achtibat et al. 2024, arXiv:2402.05602).
//!
//! Under DeepLIFT, products share the difference of their result evenly between their factors, `Δ(ab) = Δa (b + b̄)/2 + Δb (a + ā)/2`; the
//! softmax is in `softmax.rs`. Under AttnLRP, factors take half each of what the other is worth, the softmax has its derivative, and the soft
//! cap has the ratio `cap(u) / u`.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{AttentionGradients, AttentionInputs};
use stepfn_kernels::{narrowed, widened};

use super::heads::Heads;
use super::softmax::{Softmax, SoftmaxMultipliers};
use crate::transformer::rule::halfway;
use crate::transformer::soft_cap::SoftCap;

/// What cotangents are multiplied by on their way, heads apart. Half precision is widened, because sums and quotients would lose digits.
struct Multipliers<B: Backend> {
    /// What cotangents of keys are multiplied by: half of both queries, `[texts · heads, queries, head_dim]`.
    query: Tensor<B, 3>,
    /// What cotangents of queries are multiplied by, `[texts · heads, keys, head_dim]`.
    key: Tensor<B, 3>,
    /// What cotangents of probabilities are multiplied by, `[texts · heads, keys, head_dim]`.
    value: Tensor<B, 3>,
    /// What cotangents of values are multiplied by, before dropout, `[texts · heads, queries, keys]`.
    probabilities: Tensor<B, 3>,
    softmax: SoftmaxMultipliers<B>,
    /// Of the soft cap, `[texts · heads, queries, keys]`.
    cap: Option<Tensor<B, 3>>,
}

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
    let (here, there) = (Pass::of(inputs, &heads), Pass::of(baseline, &heads));
    let multipliers = Multipliers {
        query: halfway(here.query, there.query),
        key: halfway(here.key, there.key),
        value: halfway(here.value, there.value),
        probabilities: halfway(here.softmax.probabilities(), there.softmax.probabilities()),
        softmax: here.softmax.against(&there.softmax),
        cap: inputs.shape.soft_cap.map(|cap| SoftCap(cap).slope(here.uncapped, there.uncapped)),
    };
    multipliers.pull(inputs, &heads, grad, per_text)
}

/// Pulls cotangents at all queries back by AttnLRP's rules.
///
/// # Shapes
/// - `grad`: `[texts · cotangents · queries, n_heads · head_dim]`
pub(super) fn attn_lrp_backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: Tensor<B, 2>,
    per_text: usize,
) -> AttentionGradients<B> {
    let heads = Heads::of(inputs);
    let here = Pass::of(inputs, &heads);
    let multipliers = Multipliers {
        query: here.query.div_scalar(2),
        key: here.key.div_scalar(2),
        value: here.value.div_scalar(2),
        probabilities: here.softmax.probabilities().div_scalar(2),
        softmax: here.softmax.derivative(),
        cap: inputs.shape.soft_cap.map(|cap| SoftCap(cap).ratio(here.uncapped)),
    };
    multipliers.pull(inputs, &heads, grad, per_text)
}

impl<B: Backend> Multipliers<B> {
    fn pull(
        self,
        inputs: &AttentionInputs<B>,
        heads: &Heads,
        grad: Tensor<B, 2>,
        per_text: usize,
    ) -> AttentionGradients<B> {
        let &Heads { texts, groups, group, head_dim, queries, keys } = heads;
        let all = texts * groups * group;
        let dtype = grad.dtype();
        // [texts · heads, queries, cotangents, head_dim]
        let grad = widened(grad).reshape([texts, per_text, queries, groups * group, head_dim]).permute([0, 3, 2, 1, 4]);
        let by_query = grad.reshape([all, queries, per_text * head_dim]);
        let rows = by_query.clone().reshape([all, queries * per_text, head_dim]);

        // O = (A ⊙ D) V
        let mut kept = self.probabilities;
        let mut to_probabilities = rows.matmul(self.value.transpose()).reshape([all, queries, per_text, keys]);
        if let Some(dropout) = inputs.dropout {
            let dropout = widened(heads.broadcast(dropout));
            kept = kept * dropout.clone();
            to_probabilities = to_probabilities * dropout.unsqueeze_dim(2);
        }
        let to_value = kept.transpose().matmul(by_query); // [texts · heads, keys, cotangents · head_dim]

        // A = softmax(cap(s · Q Kᵀ))
        let mut to_scores = self.softmax.pull(to_probabilities);
        if let Some(cap) = self.cap {
            to_scores = to_scores * cap.unsqueeze_dim(2);
        }
        let to_scores = to_scores.mul_scalar(inputs.shape.scale); // [texts · heads, queries, cotangents, keys]
        let to_query = to_scores.clone().reshape([all, queries * per_text, keys]).matmul(self.key);
        let by_key = to_scores.permute([0, 3, 2, 1]).reshape([all, keys * per_text, queries]);
        let to_key = by_key.matmul(self.query); // [texts · heads, keys · cotangents, head_dim]

        let gathered = |x: Tensor<B, 3>, places: usize| {
            let x = x.reshape([texts, groups * group, places, per_text, head_dim]).permute([0, 3, 2, 1, 4]);
            x.reshape([texts * per_text * places, groups * group * head_dim])
        };
        let summed = |x: Tensor<B, 2>| {
            let [rows, _] = x.dims();
            x.reshape([rows, groups, group, head_dim]).sum_dim(2).reshape([rows, groups * head_dim])
        };
        AttentionGradients {
            query: narrowed(gathered(to_query, queries), dtype),
            key: narrowed(summed(gathered(to_key, keys)), dtype),
            value: narrowed(summed(gathered(to_value, keys)), dtype),
        }
    }
}

/// A pass with its heads apart, `[texts · heads, places, ·]`, in single precision or better.
struct Pass<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    /// Scores before the soft cap.
    uncapped: Tensor<B, 3>,
    softmax: Softmax<B>,
}

impl<B: Backend> Pass<B> {
    fn of(inputs: &AttentionInputs<B>, heads: &Heads) -> Self {
        let query = heads.split(widened(inputs.query.clone()), heads.queries);
        let (key, value) = (heads.shared(&widened(inputs.key.clone())), heads.shared(&widened(inputs.value.clone())));
        let uncapped = query.clone().matmul(key.clone().transpose()).mul_scalar(inputs.shape.scale);
        let scores = match inputs.shape.soft_cap {
            Some(cap) => SoftCap(cap).apply(uncapped.clone()),
            None => uncapped.clone(),
        };
        let scores = match inputs.bias {
            Some(bias) => scores + widened(heads.broadcast(bias)),
            None => scores,
        };
        let seen = heads.seen(inputs, query.dtype());
        let softmax = match inputs.sinks {
            Some(sinks) => Softmax::with_sinks(scores, seen, heads.each(&widened(sinks.clone()))),
            None => Softmax::of(scores, seen),
        };
        Self { query, key, value, uncapped, softmax }
    }
}
