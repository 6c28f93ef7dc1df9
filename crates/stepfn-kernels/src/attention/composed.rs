//! Attention composed of burn's own operations, for any backend. Query heads that share keys are stacked as extra rows of one matrix
//! product: keys and values are never repeated, and the product itself sums over the group.

use burn::tensor::{Tensor, activation, backend::Backend};

use super::{AttentionGradients, AttentionInputs};

pub(super) fn attention<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 2> {
    let shape = inputs.shape;
    let [texts, n_heads, queries, keys] = sizes(inputs);
    let kept = dropped(probabilities(inputs), inputs);
    let kept = kept.reshape([texts, shape.n_kv_heads, shape.group() * queries, keys]);
    let mixed = kept.matmul(heads(inputs.value, texts, shape.n_kv_heads)); // [texts, n_kv_heads, group · queries, head_dim]
    let mixed = mixed.reshape([texts, n_heads, queries, shape.head_dim]).swap_dims(1, 2);
    mixed.reshape([texts * queries, n_heads * shape.head_dim])
}

pub(super) fn probabilities<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 4> {
    let scores = capped_scores(inputs);
    let scores = if inputs.visible.all() { scores } else { scores.clone() + inputs.visible.mask(scores.dtype()) };
    let scores = inputs.bias.iter().fold(scores, |scores, &bias| scores + bias.clone());
    let Some(sinks) = inputs.sinks else { return activation::softmax(scores, 3) };
    let [texts, n_heads, queries, keys] = scores.dims();
    let sinks = sinks.clone().reshape([1, n_heads, 1, 1]).expand([texts, n_heads, queries, 1]);
    activation::softmax(Tensor::cat(vec![scores, sinks], 3), 3).slice_dim(3, 0..keys)
}

pub(super) fn backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: Tensor<B, 2>,
    per_text: usize,
) -> AttentionGradients<B> {
    let shape = inputs.shape;
    let (n_kv_heads, group, head_dim) = (shape.n_kv_heads, shape.group(), shape.head_dim);
    let [texts, n_heads, queries, keys] = sizes(inputs);
    let heads_together = |x: Tensor<B, 4>| x.reshape([texts, n_kv_heads, group * queries, keys]);
    let probabilities = probabilities(inputs);

    // dV = (A ⊙ D)ᵀ G: the cotangents of a text are laid out as extra columns.
    let grad = grad.reshape([texts, per_text, queries, n_heads, head_dim]);
    let side_by_side = grad.clone().permute([0, 3, 2, 1, 4]); // [texts, n_heads, queries, per_text, head_dim]
    let side_by_side = side_by_side.reshape([texts, n_kv_heads, group * queries, per_text * head_dim]);
    let kept = heads_together(dropped(probabilities.clone(), inputs));
    let value = kept.swap_dims(2, 3).matmul(side_by_side).reshape([texts, n_kv_heads, keys, per_text, head_dim]);
    let value = value.permute([0, 3, 2, 1, 4]).reshape([texts * per_text * keys, n_kv_heads * head_dim]);

    // dA = G Vᵀ ⊙ D, then dS: the cotangents of a text are laid out as extra rows.
    let stacked = grad.permute([0, 3, 1, 2, 4]); // [texts, n_heads, per_text, queries, head_dim]
    let stacked = stacked.reshape([texts, n_kv_heads, group * per_text * queries, head_dim]);
    let scores = stacked.matmul(heads(inputs.value, texts, n_kv_heads).swap_dims(2, 3));
    let scores = scores.reshape([texts, n_heads, per_text, queries, keys]);
    let scores = match inputs.dropout {
        Some(dropout) => scores * dropout.clone().unsqueeze_dim::<5>(2),
        None => scores,
    };
    let probabilities = probabilities.unsqueeze_dim::<5>(2); // [texts, n_heads, 1, queries, keys]
    let along = (scores.clone() * probabilities.clone()).sum_dim(4);
    let scores = match shape.soft_cap {
        Some(cap) => {
            let slope = capped_scores(inputs).div_scalar(cap).powi_scalar(2).neg().add_scalar(1);
            (scores - along) * (probabilities * slope.unsqueeze_dim::<5>(2))
        }
        None => (scores - along) * probabilities,
    };
    let scores = scores.mul_scalar(shape.scale);

    let stacked = scores.clone().reshape([texts, n_kv_heads, group * per_text * queries, keys]);
    let query = stacked.matmul(heads(inputs.key, texts, n_kv_heads)); // [texts, n_kv_heads, group · per_text · queries, head_dim]
    let query = query.reshape([texts, n_heads, per_text, queries, head_dim]).permute([0, 2, 3, 1, 4]);

    // dK = dSᵀ Q, summed over the heads that share keys.
    let across = scores.reshape([texts, n_kv_heads, group, per_text, queries, keys]).permute([0, 1, 3, 5, 2, 4]);
    let across = across.reshape([texts, n_kv_heads, per_text * keys, group * queries]);
    let key = across.matmul(stacked_queries(inputs)); // [texts, n_kv_heads, per_text · keys, head_dim]
    let key = key.reshape([texts, n_kv_heads, per_text, keys, head_dim]).permute([0, 2, 3, 1, 4]);
    AttentionGradients {
        query: query.reshape([texts * per_text * queries, n_heads * head_dim]),
        key: key.reshape([texts * per_text * keys, n_kv_heads * head_dim]),
        value,
    }
}

/// `cap(s · Q Kᵀ)`, `[texts, n_heads, queries, keys]`.
fn capped_scores<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 4> {
    let [texts, n_heads, queries, keys] = sizes(inputs);
    let key = heads(inputs.key, texts, inputs.shape.n_kv_heads);
    let scores = stacked_queries(inputs).matmul(key.swap_dims(2, 3)).mul_scalar(inputs.shape.scale);
    let scores = scores.reshape([texts, n_heads, queries, keys]);
    match inputs.shape.soft_cap {
        Some(cap) => scores.mul_scalar(cap.recip()).tanh().mul_scalar(cap),
        None => scores,
    }
}

/// `[texts, n_kv_heads, group · queries, head_dim]`: query heads that share keys, stacked as rows.
fn stacked_queries<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 4> {
    let shape = inputs.shape;
    let [texts, _, queries, _] = sizes(inputs);
    let stacked = [texts, shape.n_kv_heads, shape.group() * queries, shape.head_dim];
    heads(inputs.query, texts, shape.n_heads).reshape(stacked)
}

fn dropped<B: Backend>(probabilities: Tensor<B, 4>, inputs: &AttentionInputs<B>) -> Tensor<B, 4> {
    match inputs.dropout {
        Some(dropout) => probabilities * dropout.clone(),
        None => probabilities,
    }
}

/// Numbers of texts, heads, queries and keys.
fn sizes<B: Backend>(inputs: &AttentionInputs<B>) -> [usize; 4] {
    let texts = inputs.shape.texts;
    let [queries, keys] = [inputs.query, inputs.key].map(|x| x.dims()[0] / texts.max(1));
    [texts, inputs.shape.n_heads, queries, keys]
}

/// `[texts · width, n_heads · head_dim]` as `[texts, n_heads, width, head_dim]`.
fn heads<B: Backend>(x: &Tensor<B, 2>, texts: usize, n_heads: usize) -> Tensor<B, 4> {
    let [rows, columns] = x.dims();
    x.clone().reshape([texts, rows / texts.max(1), n_heads, columns / n_heads]).swap_dims(1, 2)
}
