//! A block: attention and feed-forward around a residual stream, normalized before, after or around each branch.

mod removal;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::attention::Visible;
use stepfn_kernels::dropout::Site;

use super::attention::{Attention, AttentionTape, KeyValues, Sight, View};
use super::dropout::Masks;
use super::feed_forward::{FeedForward, FeedForwardTape};
use super::norm::Norm;
use super::rows::{First, Places, Rows};
use super::rules::{Saved, scaled};
use super::tables::Tables;
use crate::ModelError;
use crate::config::{NormPlacement, Residual, StackConfig};
use crate::parameters::Parameters;

pub(crate) use removal::Without;

#[derive(Debug, Clone)]
pub(crate) struct Block<B: Backend> {
    self_attention: Branch<B, Attention<B>>,
    cross_attention: Option<Branch<B, Attention<B>>>,
    feed_forward: Branch<B, FeedForward<B>>,
    residual: Residual,
    layer: usize,
}

/// One branch of a block, with its normalization.
#[derive(Debug, Clone)]
struct Branch<B: Backend, T> {
    body: T,
    norms: Norms<B>,
}

/// Where a branch is normalized.
#[derive(Debug, Clone)]
enum Norms<B: Backend> {
    /// Its input.
    Pre(Norm<B>),
    /// The residual sum.
    Post(Norm<B>),
    /// Its input, and its output before the residual sum.
    Sandwich(Norm<B>, Norm<B>),
}

/// What a block sees beside the residual stream.
pub(crate) struct Surroundings<'a, B: Backend> {
    /// Of self-attention.
    pub(crate) view: View<'a, B>,
    /// The encoder's output `[texts · source width, hidden]`, and how cross-attention sees it.
    pub(crate) memory: Option<(&'a Tensor<B, 2>, View<'a, B>)>,
    pub(crate) masks: &'a Masks<'a>,
    /// Keys and values of the places before those that are computed.
    pub(crate) cache: Option<&'a mut LayerCache<B>>,
}

/// What one layer keeps while a text is being written.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache<B: Backend> {
    pub(crate) own: Option<KeyValues<B>>,
    pub(crate) memory: Option<KeyValues<B>>,
}

/// What a backward reads of a block's forward.
#[derive(Debug, Clone)]
pub(crate) struct BlockTape<B: Backend> {
    self_attention: BranchTape<B, AttentionTape<B>>,
    cross_attention: Option<BranchTape<B, AttentionTape<B>>>,
    feed_forward: BranchTape<B, FeedForwardTape<B>>,
}

/// What a backward reads of a branch's forward.
#[derive(Debug, Clone)]
struct BranchTape<B: Backend, T> {
    /// The residual stream before the branch.
    x: Tensor<B, 2>,
    /// What the branch's second normalization reads: the residual sum, or the branch's output.
    unnormalized: Option<Tensor<B, 2>>,
    mask: Option<Tensor<B, 2>>,
    body: T,
}

impl<B: Backend, T> BranchTape<B, T> {
    fn rows(&self, rows: &impl Places<B>, body: impl FnOnce(&T) -> T) -> Self {
        Self {
            x: rows.of(&self.x),
            unnormalized: rows.of_optional(&self.unnormalized),
            mask: rows.of_optional(&self.mask),
            body: body(&self.body),
        }
    }
}

impl<B: Backend> BlockTape<B> {
    /// What enters the block, `[texts · places, hidden]`.
    pub(crate) fn input(&self) -> &Tensor<B, 2> {
        &self.self_attention.x
    }

    fn rows(&self, rows: &Rows<B>) -> Self {
        let attention = |branch: &BranchTape<B, AttentionTape<B>>| branch.rows(rows, |body| body.rows(rows));
        Self {
            self_attention: attention(&self.self_attention),
            cross_attention: self.cross_attention.as_ref().map(attention),
            feed_forward: self.feed_forward.rows(rows, |body| body.rows(rows)),
        }
    }

    /// The first places of each text.
    pub(crate) fn first(&self, first: &First<B>) -> Self {
        Self {
            self_attention: self.self_attention.rows(first, |body| body.first(first)),
            cross_attention: self.cross_attention.as_ref().map(|branch| branch.rows(first, |body| body.rows(first))),
            feed_forward: self.feed_forward.rows(first, |body| body.rows(first)),
        }
    }
}

/// Where cotangents of a block's output lie, and what the queries there see.
#[derive(Debug)]
pub(crate) struct Sights<'a, B: Backend> {
    pub(crate) own: Sight<'a, B>,
    pub(crate) memory: Option<Sight<'a, B>>,
    /// The only rows that have cotangents, if not all do.
    pub(crate) rows: Option<&'a Rows<B>>,
}

impl<B: Backend> Block<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        (name, layer): (&str, usize),
        hidden: usize,
        config: &StackConfig,
        cross: bool,
    ) -> Result<Self, ModelError> {
        let name = format!("{name}.layers.{layer}");
        let norms = |branch: &str| -> Result<Norms<B>, ModelError> {
            let norm = |suffix: &str| Norm::load(parameters, &format!("{name}.{branch}{suffix}"), hidden, config.norm);
            Ok(match config.norm_placement {
                NormPlacement::Pre => Norms::Pre(norm("_norm")?),
                NormPlacement::Post => Norms::Post(norm("_norm")?),
                NormPlacement::Sandwich => Norms::Sandwich(norm("_norm")?, norm("_post_norm")?),
            })
        };
        let attention = |branch: &str| -> Result<Branch<B, Attention<B>>, ModelError> {
            let name = format!("{name}.{branch}");
            let body = Attention::load(parameters, &name, hidden, &config.attention, config.norm)?;
            Ok(Branch { body, norms: norms(branch)? })
        };
        let feed_forward =
            FeedForward::load(parameters, &format!("{name}.feed_forward"), hidden, &config.feed_forward)?;
        Ok(Self {
            self_attention: attention("self_attention")?,
            cross_attention: if cross { Some(attention("cross_attention")?) } else { None },
            feed_forward: Branch { body: feed_forward, norms: norms("feed_forward")? },
            residual: config.residual,
            layer,
        })
    }

    /// The residual stream behind the block, and what a backward reads.
    ///
    /// # Shapes
    /// - `x`: `[texts · places, hidden]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>, around: Surroundings<B>) -> (Tensor<B, 2>, BlockTape<B>) {
        let Surroundings { view, memory, masks, mut cache } = around;
        let mask = |site| {
            let [_, hidden] = x.dims();
            masks.multipliers(self.layer, site, masks.rates().residual, hidden, &x.device())
        };
        let texts = view.visible.texts();
        let attend = |x: Tensor<B, 2>| {
            let attention = &self.self_attention.body;
            let new = attention.keys_and_values(x.clone(), texts, view.rotation);
            let seen = match cache.as_mut().map(|cache| &mut cache.own) {
                None => new,
                Some(own) => {
                    let joined = KeyValues::joined(own.take(), new);
                    own.insert(joined).clone()
                }
            };
            attention.forward(x, seen, view)
        };
        let feed = |x: Tensor<B, 2>| {
            let size = self.feed_forward.body.size();
            let mask = masks.multipliers(self.layer, Site::Activation, masks.rates().activation, size, &x.device());
            self.feed_forward.body.forward(x, mask)
        };
        let self_mask = mask(Site::SelfAttentionOutput);
        let feed_mask = mask(Site::FeedForwardOutput);
        if self.residual == Residual::Parallel {
            let (attended, self_attention) = self.self_attention.norms.around(x.clone(), x.clone(), self_mask, attend);
            let (x, feed_forward) = self.feed_forward.norms.around(x, attended, feed_mask, feed);
            return (x, BlockTape { self_attention, cross_attention: None, feed_forward });
        }
        let cross_mask = mask(Site::CrossAttentionOutput);
        let (x, self_attention) = self.self_attention.norms.around(x.clone(), x, self_mask, attend);
        let (x, cross_attention) = match (&self.cross_attention, memory) {
            (Some(cross), Some((hidden, view))) => {
                let make = || cross.body.keys_and_values(hidden.clone(), texts, None);
                let seen = match cache.map(|cache| &mut cache.memory) {
                    None => make(),
                    Some(kept) => kept.get_or_insert_with(make).clone(),
                };
                let (x, tape) = cross.norms.around(x.clone(), x, cross_mask, |x| cross.body.forward(x, seen, view));
                (x, Some(tape))
            }
            _ => (x, None),
        };
        let (x, feed_forward) = self.feed_forward.norms.around(x.clone(), x, feed_mask, feed);
        (x, BlockTape { self_attention, cross_attention, feed_forward })
    }

    /// The attention probabilities `[texts, heads, queries, keys]` of self-attention and of cross-attention.
    pub(crate) fn probabilities(
        &self,
        tape: &BlockTape<B>,
        visible: &Visible<B>,
        tables: &Tables<B>,
    ) -> [Option<Tensor<B, 4>>; 2] {
        let own = self.self_attention.body.probabilities(&tape.self_attention.body, visible, tables.bias.as_ref());
        let cross = self.cross_attention.as_ref().zip(tape.cross_attention.as_ref()).zip(tables.memory.as_ref());
        let cross = cross.map(|((cross, tape), visible)| cross.body.probabilities(&tape.body, visible, None));
        [Some(own), cross]
    }

    /// Pulls cotangents back to what enters the block, and to the encoder's output.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents · places, hidden]`, or `[texts · cotangents, hidden]` where only single rows have any
    /// - result: `[texts · cotangents · places, hidden]`; `[texts · cotangents · source width, hidden]`
    pub(crate) fn backward(
        &self,
        tape: Saved<BlockTape<B>>,
        grad: Tensor<B, 2>,
        sights: Sights<B>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let Some(rows) = sights.rows else { return self.backward_at(tape, tape, grad, sights) };
        tape.made(|tape| tape.rows(rows), |at| self.backward_at(tape, at, grad, sights))
    }

    /// `at` is what was saved of the rows that have cotangents.
    fn backward_at(
        &self,
        all: Saved<BlockTape<B>>,
        at: Saved<BlockTape<B>>,
        grad: Tensor<B, 2>,
        sights: Sights<B>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let queries = sights.own.query_rows();
        let feed_forward = at.part(|tape| &tape.feed_forward);
        let (residual, to_feed) = self.feed_forward.norms.before_branch(feed_forward, grad.clone(), queries);
        let body = self.feed_forward.body.backward(feed_forward.part(|tape| &tape.body), to_feed, queries);
        let fed = self.feed_forward.norms.behind_branch(feed_forward, body, queries);
        let (mut grad, beside) = match self.residual {
            Residual::Sequential => (residual + fed, None),
            Residual::Parallel => (grad, Some(fed)),
        };

        let mut to_memory = None;
        if let (Some(cross), Some(tape), Some(sight)) =
            (&self.cross_attention, at.optional(|tape| tape.cross_attention.as_ref()), sights.memory)
        {
            let (residual, to_body) = cross.norms.before_branch(tape, grad, queries);
            let (to_queries, to_keys) = cross.body.backward(tape.part(|tape| &tape.body), to_body, sight);
            grad = residual + cross.norms.behind_branch(tape, to_queries, queries);
            to_memory = Some(to_keys);
        }

        let norms = &self.self_attention.norms;
        let tape = at.part(|tape| &tape.self_attention);
        let (residual, to_body) = norms.before_branch(tape, grad, queries);
        let residual = beside.into_iter().fold(residual, |residual, fed| residual + fed);
        let (to_queries, to_keys) =
            self.self_attention.body.backward(tape.part(|tape| &tape.body), to_body, sights.own);
        let everywhere = all.part(|tape| &tape.self_attention);
        let grad = match sights.rows {
            None => residual + norms.behind_branch(everywhere, to_queries + to_keys, queries),
            Some(rows) => {
                let at_rows = residual + norms.behind_branch(tape, to_queries, queries);
                rows.add_to(norms.behind_branch(everywhere, to_keys, sights.own.cotangents), at_rows)
            }
        };
        (grad, to_memory)
    }
}

impl<B: Backend> Norms<B> {
    /// The residual stream behind a branch that reads `x` and is added to `stream`, and what a backward reads. `mask` is what dropout
    /// multiplies the branch's output with.
    fn around<T>(
        &self,
        x: Tensor<B, 2>,
        stream: Tensor<B, 2>,
        mask: Option<Tensor<B, 2>>,
        branch: impl FnOnce(Tensor<B, 2>) -> (Tensor<B, 2>, T),
    ) -> (Tensor<B, 2>, BranchTape<B, T>) {
        let input = match self {
            Norms::Pre(norm) | Norms::Sandwich(norm, _) => norm.forward(x.clone()),
            Norms::Post(_) => x.clone(),
        };
        let (y, body) = branch(input);
        let y = match &mask {
            Some(mask) => y * mask.clone(),
            None => y,
        };
        let (out, unnormalized) = match self {
            Norms::Pre(_) => (stream + y, None),
            Norms::Post(norm) => {
                let sum = stream + y;
                (norm.forward(sum.clone()), Some(sum))
            }
            Norms::Sandwich(_, norm) => (stream + norm.forward(y.clone()), Some(y)),
        };
        (out, BranchTape { x, unnormalized, mask, body })
    }

    /// From behind the residual sum: to the stream that goes past the branch, and to the branch's output.
    fn before_branch<T>(
        &self,
        tape: Saved<BranchTape<B, T>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let unnormalized = tape.optional(|tape| tape.unnormalized.as_ref());
        let back = |norm: &Norm<B>, grad: Tensor<B, 2>| match unnormalized {
            Some(unnormalized) => norm.backward(unnormalized, grad, cotangents),
            None => grad,
        };
        let (residual, to_branch) = match self {
            Norms::Pre(_) => (grad.clone(), grad),
            Norms::Post(norm) => {
                let grad = back(norm, grad);
                (grad.clone(), grad)
            }
            Norms::Sandwich(_, norm) => (grad.clone(), back(norm, grad)),
        };
        let to_branch = match &tape.here.mask {
            Some(mask) => scaled(to_branch, mask.clone(), cotangents),
            None => to_branch,
        };
        (residual, to_branch)
    }

    /// From what the branch reads to the residual stream before it.
    fn behind_branch<T>(
        &self,
        tape: Saved<BranchTape<B, T>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        match self {
            Norms::Pre(norm) | Norms::Sandwich(norm, _) => norm.backward(tape.part(|tape| &tape.x), grad, cotangents),
            Norms::Post(_) => grad,
        }
    }
}
