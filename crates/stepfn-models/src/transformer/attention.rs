//! Attention (Vaswani et al. 2017): `softmax(s · Q Kᵀ + bias) V` per head, with grouped heads, rotary positions, normalized queries and keys, and
//! soft-capped scores, as the configuration says.

use burn::tensor::{Int, Tensor, activation, backend::Backend};

use super::Linear;
use super::norm::Norm;
use super::positions::Rotation;
use crate::ModelError;
use crate::config::{AttentionConfig, NormConfig};
use crate::parameters::{Blocks, Parameters};

#[derive(Debug, Clone)]
pub(crate) struct Attention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    query_key_norm: Option<(Norm<B>, Norm<B>)>,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    scale: f64,
    soft_cap: Option<f64>,
}

/// Keys and values of a layer, kept while a text is being written: `[texts, key-value heads, width, head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct KeyValues<B: Backend> {
    pub(crate) keys: Tensor<B, 4>,
    pub(crate) values: Tensor<B, 4>,
}

impl<B: Backend> KeyValues<B> {
    /// Earlier places, if there are any, then later ones.
    pub(crate) fn joined(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            None => later,
            Some(earlier) => Self {
                keys: Tensor::cat(vec![earlier.keys, later.keys], 2),
                values: Tensor::cat(vec![earlier.values, later.values], 2),
            },
        }
    }

    /// Those of texts `parents`.
    pub(crate) fn select(&self, parents: &Tensor<B, 1, Int>) -> Self {
        let select = |tensor: &Tensor<B, 4>| tensor.clone().select(0, parents.clone());
        Self { keys: select(&self.keys), values: select(&self.values) }
    }
}

/// What a layer of attention looks at, beside its own hidden states.
#[derive(Debug, Clone)]
pub(crate) struct View<'a, B: Backend> {
    /// Texts in the batch.
    pub(crate) texts: usize,
    /// Added to the scores, broadcast over `[texts, heads, queries, keys]`: masks, relative positions.
    pub(crate) bias: &'a Tensor<B, 4>,
    /// Rotary positions.
    pub(crate) rotation: Option<&'a Rotation<B>>,
    /// What the probabilities are multiplied by where dropout is on, `[texts, heads, queries, keys]`.
    pub(crate) dropout: Option<Tensor<B, 4>>,
}

impl<B: Backend> Attention<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &AttentionConfig,
        norm: NormConfig,
    ) -> Result<Self, ModelError> {
        let &AttentionConfig { n_heads, n_kv_heads, head_dim, scale, qkv_bias, output_bias, soft_cap, .. } = config;
        let (queries, keys) = (n_heads * head_dim, n_kv_heads * head_dim);
        let blocks = Some(Blocks { rows: [queries, keys, keys], head_dim });
        let part = |part: &str, outputs| {
            Linear::load(parameters, &format!("{name}.{part}"), [hidden, outputs], qkv_bias, blocks)
        };
        let query_key_norm = match config.query_key_norm {
            true => {
                let norm = |part: &str| Norm::load(parameters, &format!("{name}.{part}"), head_dim, norm);
                Some((norm("query_norm")?, norm("key_norm")?))
            }
            false => None,
        };
        Ok(Self {
            query: part("query", queries)?,
            key: part("key", keys)?,
            value: part("value", keys)?,
            output: Linear::load(parameters, &format!("{name}.output"), [queries, hidden], output_bias, None)?,
            query_key_norm,
            n_heads,
            n_kv_heads,
            head_dim,
            scale,
            soft_cap,
        })
    }

    /// Keys and values of hidden states, the keys normalized and rotated.
    ///
    /// # Shapes
    /// - `hidden`: `[texts · width, hidden]`
    pub(crate) fn keys_and_values(
        &self,
        hidden: Tensor<B, 2>,
        texts: usize,
        rotation: Option<&Rotation<B>>,
    ) -> KeyValues<B> {
        let mut key = self.key.forward(hidden.clone());
        if let Some((_, norm)) = &self.query_key_norm {
            key = self.per_head(key, norm);
        }
        let mut keys = heads(key, texts, self.n_kv_heads);
        if let Some(rotation) = rotation {
            keys = rotation.rotate(keys);
        }
        KeyValues { keys, values: heads(self.value.forward(hidden), texts, self.n_kv_heads) }
    }

    /// The output, and the attention probabilities `[texts, heads, queries, keys]`, before dropout.
    ///
    /// # Shapes
    /// - `queries`: `[texts · queries, hidden]`; result: the same
    pub(crate) fn forward(
        &self,
        queries: Tensor<B, 2>,
        seen: &KeyValues<B>,
        view: &View<B>,
    ) -> (Tensor<B, 2>, Tensor<B, 4>) {
        let mut query = self.query.forward(queries);
        if let Some((norm, _)) = &self.query_key_norm {
            query = self.per_head(query, norm);
        }
        let mut query = heads(query, view.texts, self.n_heads);
        if let Some(rotation) = view.rotation {
            query = rotation.rotate(query);
        }
        let keys = self.repeated(seen.keys.clone());
        let mut scores = query.matmul(keys.swap_dims(2, 3)).mul_scalar(self.scale);
        if let Some(cap) = self.soft_cap {
            scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
        }
        let probabilities = activation::softmax(scores + view.bias.clone(), 3);
        let kept = match &view.dropout {
            Some(mask) => probabilities.clone() * mask.clone(),
            None => probabilities.clone(),
        };
        let mixed = kept.matmul(self.repeated(seen.values.clone())); // [texts, heads, queries, head_dim]
        let [texts, n_heads, width, head_dim] = mixed.dims();
        let mixed = mixed.swap_dims(1, 2).reshape([texts * width, n_heads * head_dim]);
        (self.output.forward(mixed), probabilities)
    }

    /// `norm` of every head by itself.
    fn per_head(&self, x: Tensor<B, 2>, norm: &Norm<B>) -> Tensor<B, 2> {
        let [rows, width] = x.dims();
        norm.forward(x.reshape([rows * width / self.head_dim, self.head_dim])).reshape([rows, width])
    }

    /// Keys or values once for every query head that shares them.
    fn repeated(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let group = self.n_heads / self.n_kv_heads;
        if group == 1 {
            return x;
        }
        let [texts, n_kv_heads, width, head_dim] = x.dims();
        let shared = x.unsqueeze_dim::<5>(2).expand([texts, n_kv_heads, group, width, head_dim]);
        shared.reshape([texts, n_kv_heads * group, width, head_dim])
    }
}

/// `[texts · width, heads · head_dim]` as `[texts, heads, width, head_dim]`.
fn heads<B: Backend>(x: Tensor<B, 2>, texts: usize, n_heads: usize) -> Tensor<B, 4> {
    let [rows, columns] = x.dims();
    x.reshape([texts, rows / texts, n_heads, columns / n_heads]).swap_dims(1, 2)
}
