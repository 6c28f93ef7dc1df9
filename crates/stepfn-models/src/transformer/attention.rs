//! Attention (Vaswani et al. 2017): `softmax(s · Q Kᵀ + bias) V` per head, with grouped heads, rotary positions, normalized queries and keys, and
//! soft-capped scores, as the configuration says. The products and the softmax are [`stepfn_kernels::attention`]; here are the projections
//! around them.

mod removal;
mod rules;
mod weights;

use burn::tensor::{Int, Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::attention::{
    AttentionGradients, AttentionInputs, AttentionShape, Visible, attention, attention_backward,
    attention_probabilities,
};
use stepfn_kernels::rotary::{Rotation, rotate};

use super::Linear;
use super::norm::Norm;
use super::rows::{First, Places};
use super::rules::{Rule, Saved};
use crate::ModelError;
use crate::config::{AttentionConfig, NormConfig};
use crate::parameters::{Blocks, Parameters};

pub(crate) use removal::Removals;
pub use weights::WeightGradients;
pub(crate) use weights::{Watch, Watched};

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

/// Keys and values of a layer, as attention reads them: `[texts, width, key-value heads · head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct KeyValues<B: Backend> {
    keys: Tensor<B, 3>,
    values: Tensor<B, 3>,
    /// The keys before they were normalized, `[texts · width, key-value heads · head_dim]`, where they are.
    unnormalized: Option<Tensor<B, 2>>,
}

impl<B: Backend> KeyValues<B> {
    /// Earlier places, if there are any, then later ones.
    pub(crate) fn joined(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            None => later,
            Some(earlier) => Self {
                keys: Tensor::cat(vec![earlier.keys, later.keys], 1),
                values: Tensor::cat(vec![earlier.values, later.values], 1),
                unnormalized: None,
            },
        }
    }

    /// Places of each text.
    pub(crate) fn width(&self) -> usize {
        self.keys.dims()[1]
    }

    /// The first `places` of the only text, `copies` times.
    pub(crate) fn prefix(&self, places: usize, copies: usize) -> Self {
        let part = |tensor: &Tensor<B, 3>| {
            let [_, _, size] = tensor.dims();
            tensor.clone().slice([0..1, 0..places]).expand([copies, places, size])
        };
        Self { keys: part(&self.keys), values: part(&self.values), unnormalized: None }
    }

    /// The first places of each text.
    fn first(&self, first: &First<B>) -> Self {
        let part = |tensor: &Tensor<B, 3>| {
            let [texts, _, size] = tensor.dims();
            first.of(&packed(tensor)).reshape([texts, first.len(), size])
        };
        let unnormalized = first.of_optional(&self.unnormalized);
        Self { keys: part(&self.keys), values: part(&self.values), unnormalized }
    }

    /// Those of texts `parents`.
    pub(crate) fn select(&self, parents: &Tensor<B, 1, Int>) -> Self {
        let select = |tensor: &Tensor<B, 3>| tensor.clone().select(0, parents.clone());
        Self { keys: select(&self.keys), values: select(&self.values), unnormalized: None }
    }
}

/// What a layer of attention looks at, beside its own hidden states.
#[derive(Debug, Clone)]
pub(crate) struct View<'a, B: Backend> {
    /// Which places each query sees.
    pub(crate) visible: &'a Visible<B>,
    /// Added to the scores, broadcast over `[texts, heads, queries, keys]`: relative positions.
    pub(crate) bias: Option<&'a Tensor<B, 4>>,
    /// Rotary positions, of queries and keys alike.
    pub(crate) rotation: Option<&'a Rotation<B>>,
    /// What the probabilities are multiplied by where dropout is on, `[texts, heads, queries, keys]`.
    pub(crate) dropout: Option<Tensor<B, 4>>,
}

/// What a backward reads of a forward.
#[derive(Debug, Clone)]
pub(crate) struct AttentionTape<B: Backend> {
    /// Normalized and rotated, `[texts · queries, heads · head_dim]`.
    query: Tensor<B, 2>,
    unnormalized_query: Option<Tensor<B, 2>>,
    seen: KeyValues<B>,
    dropout: Option<Tensor<B, 4>>,
}

impl<B: Backend> AttentionTape<B> {
    /// Some of the queries.
    pub(crate) fn rows(&self, rows: &impl Places<B>) -> Self {
        Self {
            query: rows.of(&self.query),
            unnormalized_query: rows.of_optional(&self.unnormalized_query),
            seen: self.seen.clone(),
            dropout: self.dropout.clone().map(|dropout| rows.of_queries(dropout)),
        }
    }

    /// Of attention to the text itself, the first places of each text.
    pub(crate) fn first(&self, first: &First<B>) -> Self {
        let Self { query, unnormalized_query, dropout, .. } = self.rows(first);
        let dropout = dropout.map(|dropout| dropout.slice_dim(3, 0..first.len()));
        Self { query, unnormalized_query, seen: self.seen.first(first), dropout }
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> &KeyValues<B> {
        &self.seen
    }

    fn keys(&self) -> Tensor<B, 2> {
        packed(&self.seen.keys)
    }

    fn values(&self) -> Tensor<B, 2> {
        packed(&self.seen.values)
    }
}

/// Which queries cotangents come from, and what these see.
#[derive(Debug)]
pub(crate) struct Sight<'a, B: Backend> {
    pub(crate) visible: &'a Visible<B>,
    pub(crate) bias: Option<&'a Tensor<B, 4>>,
    /// Of the keys.
    pub(crate) rotation: Option<&'a Rotation<B>>,
    /// Of the queries.
    pub(crate) query_rotation: Option<&'a Rotation<B>>,
    /// Rows of all places over the pass's.
    pub(crate) cotangents: Cotangents,
    /// Whether each cotangent comes from one query of its own, or from all queries.
    pub(crate) own: bool,
    /// Who is shown what passes through.
    pub(crate) watched: Option<Watched<'a, B>>,
}

impl<B: Backend> Clone for Sight<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Sight<'_, B> {}

impl<B: Backend> Sight<'_, B> {
    /// Rows of queries over what was saved of them.
    pub(crate) fn query_rows(&self) -> Cotangents {
        if self.own { Cotangents::one_each(1) } else { self.cotangents }
    }
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
        let norm = self.query_key_norm.as_ref().map(|(_, norm)| norm);
        let (keys, unnormalized) = self.placed(self.key.forward(hidden.clone()), norm, rotation, texts);
        let apart = |x: Tensor<B, 2>| {
            let [rows, size] = x.dims();
            x.reshape([texts, rows / texts, size])
        };
        KeyValues { keys: apart(keys), values: apart(self.value.forward(hidden)), unnormalized }
    }

    /// The output, and what a backward reads.
    ///
    /// # Shapes
    /// - `queries`: `[texts · queries, hidden]`; result: the same
    pub(crate) fn forward(
        &self,
        queries: Tensor<B, 2>,
        seen: KeyValues<B>,
        view: View<B>,
    ) -> (Tensor<B, 2>, AttentionTape<B>) {
        let norm = self.query_key_norm.as_ref().map(|(norm, _)| norm);
        let texts = view.visible.texts();
        let (query, unnormalized_query) = self.placed(self.query.forward(queries), norm, view.rotation, texts);
        let tape = AttentionTape { query, unnormalized_query, seen, dropout: view.dropout };
        let (key, value) = (tape.keys(), tape.values());
        let mixed = attention(&self.inputs(&tape, &key, &value, view.visible, view.bias));
        (self.output.forward(mixed), tape)
    }

    /// The attention probabilities `[texts, heads, queries, keys]`, before dropout.
    pub(crate) fn probabilities(
        &self,
        tape: &AttentionTape<B>,
        visible: &Visible<B>,
        bias: Option<&Tensor<B, 4>>,
    ) -> Tensor<B, 4> {
        let (key, value) = (tape.keys(), tape.values());
        attention_probabilities(&self.inputs(tape, &key, &value, visible, bias))
    }

    /// Pulls cotangents back to the hidden states that queries were made of, and to those that keys and values were made of.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents · queries, hidden]`, or `[texts · cotangents, hidden]` if each comes from a query of its own
    /// - result: like `grad`; `[texts · cotangents · keys, hidden]`
    pub(crate) fn backward(
        &self,
        tape: Saved<AttentionTape<B>>,
        grad: Tensor<B, 2>,
        sight: Sight<B>,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let grad = self.output.backward(grad);
        let (key, value) = (tape.here.keys(), tape.here.values());
        let inputs = self.inputs(tape.here, &key, &value, sight.visible, sight.bias);
        if let Some(Watched { watch, kind, layer }) = sight.watched {
            let per_text = (!sight.own).then_some(sight.cotangents.per_text);
            watch(WeightGradients { inputs: inputs.clone(), grad: grad.clone(), per_text, kind, layer });
        }
        let plain = |grad| match sight.own {
            true => rules::own_backward(&inputs, grad),
            false => attention_backward(&inputs, grad, sight.cotangents.per_text),
        };
        let to = match tape.rule {
            Rule::Gradient => plain(grad),
            // Probabilities and values take half each, and so do queries and keys of what probabilities took.
            Rule::AttnLrp => {
                let AttentionGradients { query, key, value } = plain(grad.mul_scalar(0.5));
                AttentionGradients { query: query.mul_scalar(0.5), key: key.mul_scalar(0.5), value }
            }
            Rule::DeepLift { baseline } => {
                let (key, value) = (baseline.keys(), baseline.values());
                let baseline = self.inputs(baseline, &key, &value, sight.visible, sight.bias);
                rules::deep_lift_backward(&inputs, &baseline, grad, sight.cotangents.per_text)
            }
        };
        let norms = self.query_key_norm.as_ref();
        let query_norm = norms.map(|(norm, _)| norm).zip(tape.optional(|tape| tape.unnormalized_query.as_ref()));
        let key_norm = norms.map(|(_, norm)| norm).zip(tape.optional(|tape| tape.seen.unnormalized.as_ref()));
        let to_query = self.placed_backward(to.query, query_norm, sight.query_rotation, sight.query_rows());
        let to_key = self.placed_backward(to.key, key_norm, sight.rotation, sight.cotangents);
        (self.query.backward(to_query), self.key.backward(to_key) + self.value.backward(to.value))
    }

    /// Queries or keys, normalized and rotated; also as they were before, if they are normalized.
    fn placed(
        &self,
        x: Tensor<B, 2>,
        norm: Option<&Norm<B>>,
        rotation: Option<&Rotation<B>>,
        texts: usize,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let (x, unnormalized) = match norm {
            Some(norm) => (self.per_head(x.clone(), |x| norm.forward(x)), Some(x)),
            None => (x, None),
        };
        match rotation {
            Some(rotation) => (rotate(x, rotation, self.head_dim, false, Cotangents::one_each(texts)), unnormalized),
            None => (x, unnormalized),
        }
    }

    /// The way back from [`placed`](Self::placed).
    fn placed_backward(
        &self,
        grad: Tensor<B, 2>,
        norm: Option<(&Norm<B>, Saved<Tensor<B, 2>>)>,
        rotation: Option<&Rotation<B>>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let grad = match rotation {
            Some(rotation) => rotate(grad, rotation, self.head_dim, true, cotangents),
            None => grad,
        };
        let Some((norm, x)) = norm else { return grad };
        let by_head = |x: &Tensor<B, 2>| {
            let [rows, width] = x.dims();
            x.clone().reshape([rows * width / self.head_dim, self.head_dim])
        };
        self.per_head(grad, |grad| x.made(by_head, |x| norm.backward(x, grad, cotangents)))
    }

    /// `f` of every head by itself.
    fn per_head(&self, x: Tensor<B, 2>, f: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, width] = x.dims();
        f(x.reshape([rows * width / self.head_dim, self.head_dim])).reshape([rows, width])
    }

    fn inputs<'a>(
        &self,
        tape: &'a AttentionTape<B>,
        key: &'a Tensor<B, 2>,
        value: &'a Tensor<B, 2>,
        visible: &'a Visible<B>,
        bias: Option<&'a Tensor<B, 4>>,
    ) -> AttentionInputs<'a, B> {
        let &Self { n_heads, n_kv_heads, head_dim, scale, soft_cap, .. } = self;
        let shape = AttentionShape { texts: visible.texts(), n_heads, n_kv_heads, head_dim, scale, soft_cap };
        AttentionInputs { query: &tape.query, key, value, shape, visible, bias, dropout: tape.dropout.as_ref() }
    }
}

/// Places of all texts one after the other.
fn packed<B: Backend>(x: &Tensor<B, 3>) -> Tensor<B, 2> {
    let [texts, width, size] = x.dims();
    x.clone().reshape([texts * width, size])
}
