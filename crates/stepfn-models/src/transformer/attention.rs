//! Attention (Vaswani et al. 2017, arXiv:1706.03762): `softmax(s · Q Kᵀ + bias) V` per head, with grouped heads, rotary positions, normalized
//! queries and keys, soft-capped scores and sinks, as the configuration says.
//!
//! A head's sink is a constant score: by every rule it passes nothing on, as a bias passes nothing on. Under DeepLIFT it does not differ between
//! the two passes, so that what the keys get still adds up to the whole difference. Under AttnLRP the softmax has its derivative, also with a sink.
//!
//! The products and the softmax are [`stepfn_kernels::attention`]. This file has the projections around them, and the choice of the way back:
//! the kernel for cotangents at all queries, `at_rows.rs` for cotangents at one query each, `multipliers.rs` for rules that replace the derivative.

mod at_rows;
mod forward;
mod halves;
mod head_norm;
mod heads;
mod key_values;
mod multipliers;
mod removal;
mod softmax;
mod weights;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::attention::{AttentionGradients, AttentionInputs, AttentionShape, attention_backward};
use stepfn_kernels::rotary::{Rotation, rotate};

use super::Linear;
use super::front::{Front, Gradients, scaled};
use super::in_range::Inverse;
use super::inside::AttentionKind;
use super::part::{Forward, Part, Streams, WithMemory, constant};
use super::places::Places;
use super::rule::{Rule, Saved};
use super::view::View;
use crate::ModelError;
use crate::config::{AttentionConfig, StackConfig};
use crate::parameters::{PackedRows, Parameters};

use halves::halves_first;
use head_norm::HeadNorm;
pub(crate) use key_values::KeyValues;
pub(crate) use removal::Removals;
pub use weights::WeightGradients;
pub(crate) use weights::{Show, Watch};

/// Attention of a text's hidden states to themselves, or to the encoder's output.
#[derive(Debug, Clone)]
pub(crate) struct Attention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    query_key_norm: Option<(HeadNorm<B>, HeadNorm<B>)>,
    /// `[1, n_heads]`
    sinks: Option<Tensor<B, 2>>,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    scale: f64,
    soft_cap: Option<f64>,
}

/// What the way back reads.
#[derive(Debug, Clone)]
pub(crate) struct AttentionTape<B: Backend> {
    /// Normalized, rotated and grown, `[texts · queries, heads · head_dim]`.
    query: Tensor<B, 2>,
    /// What its normalization reads.
    unnormalized_query: Option<Tensor<B, 2>>,
    seen: KeyValues<B>,
    kind: AttentionKind,
}

impl<B: Backend> AttentionTape<B> {
    /// Some of the queries, and all keys.
    pub(crate) fn rows(&self, places: &Places<B>) -> Self {
        Self {
            query: places.of(&self.query),
            unnormalized_query: places.of_optional(&self.unnormalized_query),
            seen: self.seen.clone(),
            kind: self.kind,
        }
    }

    /// The keys and values.
    pub(crate) fn seen(&self) -> &KeyValues<B> {
        &self.seen
    }
}

impl<B: Backend> Attention<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &StackConfig,
    ) -> Result<Self, ModelError> {
        let &AttentionConfig { n_heads, n_kv_heads, head_dim, scale, qkv_bias, output_bias, soft_cap, .. } =
            &config.attention;
        let (queries, keys) = (n_heads * head_dim, n_kv_heads * head_dim);
        // Scores don't depend on the order of units, so that rotations only have to know one.
        let rotary = config.positions.rotations().first().filter(|rotary| rotary.interleaved);
        let order = rotary.map(|rotary| halves_first(rotary.dim, head_dim, n_heads));
        let ordered = |linear: Linear<B>, outputs: usize| match &order {
            Some(order) => linear.reordered(&order[..outputs]),
            None => linear,
        };
        let packed = Some(PackedRows { rows: [queries, keys, keys], head_dim });
        let linear = |part: &str, outputs| {
            Linear::load(parameters, &format!("{name}.{part}"), [hidden, outputs], qkv_bias, packed)
        };
        let query_key_norm = match &config.attention.query_key_norm {
            Some(config) => {
                let norm = |part: &str, heads: usize| {
                    HeadNorm::load(parameters, &format!("{name}.{part}"), [heads, head_dim], config, order.as_deref())
                };
                Some((norm("query_norm", n_heads)?, norm("key_norm", n_kv_heads)?))
            }
            None => None,
        };
        let sinks = match config.attention.sinks {
            true => Some(parameters.vector(&format!("{name}.sinks"), n_heads, None)?.unsqueeze_dim(0)),
            false => None,
        };
        Ok(Self {
            query: ordered(linear("query", queries)?, queries),
            key: ordered(linear("key", keys)?, keys),
            value: linear("value", keys)?,
            output: Linear::load(parameters, &format!("{name}.output"), [queries, hidden], output_bias, None)?,
            query_key_norm,
            sinks,
            n_heads,
            n_kv_heads,
            head_dim,
            scale,
            soft_cap,
        })
    }

    /// The gradients of queries, keys and values by the tape's rule. `tape` and `view` have the queries that cotangents are at.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents · queries, n_heads · head_dim]`, or `[texts · cotangents, n_heads · head_dim]` at one query each
    fn through_products(
        &self,
        tape: Saved<'_, B, AttentionTape<B>>,
        view: &View<B>,
        grad: Tensor<B, 2>,
        front: &Front<B>,
    ) -> AttentionGradients<B> {
        let (key, value) = (tape.here.seen.keys(), tape.here.seen.values());
        let inputs = self.inputs(tape.here, &key, &value, view);
        if let Some(Watch { show, layer }) = tape.watch {
            let (kind, front) = (tape.here.kind, front.clone());
            show(WeightGradients {
                inputs: inputs.clone(),
                grad: grad.clone(),
                front,
                kind,
                layer,
                inverse: Inverse::none(),
            });
        }
        let gradient = |grad| match front {
            Front::Rows(_) => at_rows::backward_at_rows(&inputs, grad),
            Front::All(cotangents) => attention_backward(&inputs, grad, cotangents.per_text),
        };
        match tape.rule {
            Rule::Gradient => gradient(grad),
            Rule::AttnLrp if self.soft_cap.is_some() => {
                multipliers::attn_lrp_backward(&inputs, grad, front.cotangents().per_text)
            }
            // Without a soft cap the rules are halves of the gradient: of probabilities and values, then of queries and keys.
            Rule::AttnLrp => {
                let AttentionGradients { query, key, value } = gradient(grad.mul_scalar(0.5));
                AttentionGradients { query: query.mul_scalar(0.5), key: key.mul_scalar(0.5), value }
            }
            Rule::DeepLift { baseline } => {
                let (key, value) = (baseline.seen.keys(), baseline.seen.values());
                let baseline = self.inputs(baseline, &key, &value, view);
                multipliers::deep_lift_backward(&inputs, &baseline, grad, front.cotangents().per_text)
            }
        }
    }

    /// Whether a rule's way back is not that of the gradient times constants.
    fn needs_multipliers<T>(&self, rule: &Rule<T>) -> bool {
        match rule {
            Rule::Gradient => false,
            Rule::AttnLrp => self.soft_cap.is_some(),
            Rule::DeepLift { .. } => true,
        }
    }

    /// The way back from [`placed`](Self::placed).
    fn placed_backward(
        &self,
        grad: Tensor<B, 2>,
        norm: Option<&HeadNorm<B>>,
        unnormalized: Option<Saved<'_, B, Tensor<B, 2>>>,
        rotation: Option<&Rotation<B>>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let rotated_back = |grad| match rotation {
            Some(rotation) => rotate(grad, rotation, self.head_dim, true, cotangents),
            None => grad,
        };
        match norm.zip(unnormalized) {
            None => rotated_back(grad),
            Some((norm, x)) if norm.after_rotation => rotated_back(norm.pull(x, grad, cotangents)),
            Some((norm, x)) => norm.pull(x, rotated_back(grad), cotangents),
        }
    }

    fn inputs<'a>(
        &'a self,
        tape: &'a AttentionTape<B>,
        key: &'a Tensor<B, 2>,
        value: &'a Tensor<B, 2>,
        view: &'a View<B>,
    ) -> AttentionInputs<'a, B> {
        let &Self { n_heads, n_kv_heads, head_dim, scale, soft_cap, .. } = self;
        let View { visible, bias, dropout, .. } = view;
        let shape = AttentionShape { texts: visible.texts(), n_heads, n_kv_heads, head_dim, scale, soft_cap };
        let (bias, sinks, dropout) = (bias.as_ref(), self.sinks.as_ref(), dropout.as_ref());
        AttentionInputs { query: &tape.query, key, value, shape, visible, bias, sinks, dropout }
    }
}

impl<B: Backend> Forward<B> for Attention<B> {
    /// Queries are made of the text's hidden states; keys and values of the encoder's output if there is one, else of the same hidden states.
    type Inputs = WithMemory;
    type Around = View<B>;
    type Lifted = Attention<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        let &Self { n_heads, n_kv_heads, head_dim, scale, soft_cap, .. } = self;
        Attention {
            query: self.query.lift(),
            key: self.key.lift(),
            value: self.value.lift(),
            output: self.output.lift(),
            query_key_norm: self.query_key_norm.as_ref().map(|(query, key)| (query.lift(), key.lift())),
            sinks: self.sinks.as_ref().map(constant),
            n_heads,
            n_kv_heads,
            head_dim,
            scale,
            soft_cap,
        }
    }

    fn lift_around(view: &View<B>) -> View<Autodiff<B>> {
        view.lift()
    }

    fn forward(&self, x: Streams<Tensor<B, 2>>, view: &View<B>) -> Tensor<B, 2> {
        self.record(x, view).0
    }
}

impl<B: Backend> Part<B> for Attention<B> {
    const NAME: &'static str = "attention";

    type Tape = AttentionTape<B>;

    fn record(&self, x: Streams<Tensor<B, 2>>, view: &View<B>) -> (Tensor<B, 2>, AttentionTape<B>) {
        self.record_with(x, view, None)
    }

    fn tape(&self, x: Streams<Tensor<B, 2>>, view: &View<B>) -> AttentionTape<B> {
        self.projected(x, view, None)
    }

    fn backward(
        &self,
        tape: Saved<'_, B, AttentionTape<B>>,
        view: &View<B>,
        grad: Gradients<B>,
    ) -> Result<Streams<Gradients<B>>, ModelError> {
        let (mut grad, mut front) = grad.map(|grad, _| self.output.pull(grad)).settled();
        // Only gradients at one query each have a shorter way.
        if self.needs_multipliers(&tape.rule) || !front.is_one_each() {
            let (spread, cotangents) = Gradients::new(grad, front).everywhere();
            (grad, front) = (spread, Front::All(cotangents));
        }
        let at_queries = front.places().map(|places| view.rows(places));
        let at_queries = at_queries.as_ref().unwrap_or(view);

        let norms = self.query_key_norm.as_ref();
        let (to_query, to) = tape.at(&front, AttentionTape::rows, |tape| {
            let to = self.through_products(tape, at_queries, grad, &front);
            let (norm, x) = (norms.map(|(norm, _)| norm), tape.optional(|tape| tape.unnormalized_query.as_ref()));
            let to_query = match &at_queries.growth {
                Some(growth) => scaled(to.query, growth.clone(), front.over()),
                None => to.query,
            };
            let to_query = self.placed_backward(to_query, norm, x, at_queries.rotation.as_ref(), front.over());
            (to_query, (to.key, to.value))
        });
        let (to_key, to_value) = to;
        let (norm, x) = (norms.map(|(_, norm)| norm), tape.optional(|tape| tape.seen.unnormalized.as_ref()));
        let to_key = self.placed_backward(to_key, norm, x, view.rotation.as_ref(), front.cotangents());
        let everywhere = Front::All(front.cotangents());
        let of_seen = [(&self.key, to_key), (&self.value, to_value)];
        if let (AttentionKind::Own, Front::All(_)) = (tape.here.kind, &front) {
            let [of_key, of_value] = of_seen;
            let to_x = Linear::pull_all([(&self.query, to_query), of_key, of_value]);
            return Ok(Streams { x: Gradients::new(to_x, everywhere), memory: None });
        }
        let to_seen = Gradients::new(Linear::pull_all(of_seen), everywhere);
        let to_query = Gradients::new(self.query.pull(to_query), front);
        Ok(match tape.here.kind {
            AttentionKind::Own => Streams { x: to_query.plus(to_seen), memory: None },
            AttentionKind::Cross => Streams { x: to_query, memory: Some(to_seen) },
        })
    }

    fn first(tape: &AttentionTape<B>, places: &Places<B>) -> AttentionTape<B> {
        let rows = tape.rows(places);
        match tape.kind {
            AttentionKind::Own => AttentionTape { seen: tape.seen.first(places), ..rows },
            AttentionKind::Cross => rows,
        }
    }
}
