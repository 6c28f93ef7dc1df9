//! The ways back through attention that no fused kernel has: from single queries, and by DeepLIFT's multipliers.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{AttentionGradients, AttentionInputs, attention_probabilities};

use crate::transformer::rules::slope;

/// Pulls cotangents back that come from one query each: those behind the last block, where only the predicting place has any. As many
/// queries as cotangents are in `inputs`; nothing but keys and values gets gradients at all places.
///
/// # Shapes
/// - `grad`: `[texts · cotangents, n_heads · head_dim]`
/// - result: queries like `grad`, keys and values `[texts · cotangents · keys, n_kv_heads · head_dim]`
pub(super) fn own_backward<B: Backend>(inputs: &AttentionInputs<B>, grad: Tensor<B, 2>) -> AttentionGradients<B> {
    let heads = Heads::of(inputs);
    let Heads { texts, groups, group, head_dim, queries: cotangents, keys } = heads;
    let probabilities = attention_probabilities(inputs); // [texts, heads, cotangents, keys]
    let grad = heads.split(grad, cotangents); // [texts · heads, cotangents, head_dim]
    let query = heads.split(inputs.query.clone(), cotangents);
    let (key, value) = (heads.shared(inputs.key), heads.shared(inputs.value)); // [texts · heads, keys, head_dim]

    let probabilities = probabilities.reshape([texts * groups * group, cotangents, keys]);
    let mut to_probabilities = grad.clone().matmul(value.transpose());
    let mut kept = probabilities.clone();
    if let Some(dropout) = inputs.dropout {
        let dropout = heads.broadcast(dropout);
        to_probabilities = to_probabilities * dropout.clone();
        kept = kept * dropout;
    }
    let mean = (to_probabilities.clone() * probabilities.clone()).sum_dim(2);
    let mut to_scores = probabilities * (to_probabilities - mean);
    if let Some(cap) = inputs.shape.soft_cap {
        let scores = query.clone().matmul(key.clone().transpose()).mul_scalar(inputs.shape.scale / cap);
        to_scores = to_scores * scores.tanh().powi_scalar(2).neg().add_scalar(1);
    }
    let to_scores = to_scores.mul_scalar(inputs.shape.scale);

    // One column of scores times one row of a query for each head; summed over the heads that share keys.
    let spread = |weights: Tensor<B, 3>, rows: Tensor<B, 3>| {
        let weights = weights.reshape([texts, groups, group, cotangents, keys]).permute([0, 3, 1, 4, 2]);
        let rows = rows.reshape([texts, groups, group, cotangents, head_dim]).permute([0, 3, 1, 2, 4]);
        let merged = texts * cotangents * groups;
        let weights = weights.reshape([merged, keys, group]);
        let rows = rows.reshape([merged, group, head_dim]);
        let spread = if group == 1 {
            weights.expand([merged, keys, head_dim]) * rows.expand([merged, keys, head_dim])
        } else {
            weights.matmul(rows)
        };
        let spread = spread.reshape([texts * cotangents, groups, keys, head_dim]).swap_dims(1, 2);
        spread.reshape([texts * cotangents * keys, groups * head_dim])
    };
    AttentionGradients {
        value: spread(kept, grad),
        key: spread(to_scores.clone(), query),
        query: heads.join(to_scores.matmul(key)),
    }
}

/// Pulls cotangents back by multipliers against a baseline. The softmax `eʲ / Σ e` is a product too, of `eʲ` and `1 / Σ e`.
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
    let (here, there) = (Side::of(inputs, &heads), Side::of(baseline, &heads));
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
    let centered = |side: &Side<B>| {
        let scores = side.scores.clone() * seen.clone();
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

/// Sizes: `groups · group` query heads, of which each `group` shares keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) texts: usize,
    pub(super) groups: usize,
    pub(super) group: usize,
    pub(super) head_dim: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
}

/// One of the two passes that DeepLIFT compares, heads apart: `[texts · heads, places, ·]`.
struct Side<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    /// Before the soft cap.
    uncapped: Tensor<B, 3>,
    scores: Tensor<B, 3>,
    probabilities: Tensor<B, 3>,
}

impl<B: Backend> Side<B> {
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

impl Heads {
    pub(super) fn of<B: Backend>(inputs: &AttentionInputs<B>) -> Self {
        let shape = &inputs.shape;
        let places = |x: &Tensor<B, 2>| x.dims()[0] / shape.texts;
        Self {
            texts: shape.texts,
            groups: shape.n_kv_heads,
            group: shape.n_heads / shape.n_kv_heads,
            head_dim: shape.head_dim,
            queries: places(inputs.query),
            keys: places(inputs.key),
        }
    }

    /// `[texts · places, heads · head_dim]` as `[texts · heads, places, head_dim]`.
    pub(super) fn split<B: Backend>(&self, x: Tensor<B, 2>, places: usize) -> Tensor<B, 3> {
        let heads = self.groups * self.group;
        let x = x.reshape([self.texts, places, heads, self.head_dim]).swap_dims(1, 2);
        x.reshape([self.texts * heads, places, self.head_dim])
    }

    /// The reverse of [`split`](Self::split).
    pub(super) fn join<B: Backend>(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let heads = self.groups * self.group;
        let [_, places, _] = x.dims();
        let x = x.reshape([self.texts, heads, places, self.head_dim]).swap_dims(1, 2);
        x.reshape([self.texts * places, heads * self.head_dim])
    }

    /// Keys or values once for every query head, `[texts · heads, keys, head_dim]`.
    pub(super) fn shared<B: Backend>(&self, x: &Tensor<B, 2>) -> Tensor<B, 3> {
        let &Self { texts, groups, group, head_dim, keys, .. } = self;
        let x = x.clone().reshape([texts, keys, groups, 1, head_dim]).permute([0, 2, 3, 1, 4]);
        x.expand([texts, groups, group, keys, head_dim]).reshape([texts * groups * group, keys, head_dim])
    }

    /// Something broadcast over `[texts, heads, queries, keys]`, as `[texts · heads, queries, keys]`.
    pub(super) fn broadcast<B: Backend>(&self, x: &Tensor<B, 4>) -> Tensor<B, 3> {
        let heads = self.groups * self.group;
        let x = x.clone().expand([self.texts, heads, self.queries, self.keys]);
        x.reshape([self.texts * heads, self.queries, self.keys])
    }

    /// 1 where a query sees a key, else 0, `[texts · heads, queries, keys]`.
    fn seen<B: Backend>(&self, inputs: &AttentionInputs<B>) -> Tensor<B, 3> {
        let mask = inputs.visible.mask(inputs.query.dtype());
        let seen = self.broadcast(&mask).equal_elem(0.0).float();
        if seen.dtype() == inputs.query.dtype() { seen } else { seen.cast(inputs.query.dtype()) }
    }
}
