//! The gradient of attention for cotangents at one query each: those of the last block, where only the predicting places have any.
//!
//! The formulas are those of [`stepfn_kernels::attention`], but every cotangent has one query instead of all of them.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{
    AttentionGradients, AttentionInputs, attention_backward_at_queries, attention_probabilities,
};

use super::heads::Heads;
use crate::transformer::soft_cap::SoftCap;

/// Pulls cotangents back that are at one query each. `inputs` has these queries alone, one for each cotangent, and all keys.
///
/// # Shapes
/// - `grad`: `[texts · cotangents, n_heads · head_dim]`
/// - result: queries like `grad`, keys and values `[texts · cotangents · keys, n_kv_heads · head_dim]`
pub(super) fn backward_at_rows<B: Backend>(inputs: &AttentionInputs<B>, grad: Tensor<B, 2>) -> AttentionGradients<B> {
    if let Some(gradients) = attention_backward_at_queries(inputs, &grad) {
        return gradients;
    }
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
        let scores = query.clone().matmul(key.clone().transpose()).mul_scalar(inputs.shape.scale);
        to_scores = to_scores * SoftCap(cap).derivative(scores);
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
