//! A block: attention and feed-forward around a residual stream, normalized before, after or around each branch.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::dropout::Site;

use super::attention::{Attention, KeyValues, View};
use super::dropout::Masks;
use super::feed_forward::FeedForward;
use super::norm::Norm;
use crate::ModelError;
use crate::config::{NormPlacement, Residual, StackConfig};
use crate::parameters::Parameters;

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

/// What a block leaves behind.
pub(crate) struct BlockOutput<B: Backend> {
    pub(crate) hidden: Tensor<B, 2>,
    pub(crate) self_attention: Tensor<B, 4>,
    pub(crate) cross_attention: Option<Tensor<B, 4>>,
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

    /// # Shapes
    /// - `x`: `[texts · places, hidden]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>, around: Surroundings<B>) -> BlockOutput<B> {
        let Surroundings { view, memory, masks, mut cache } = around;
        let rate = masks.rates().residual;
        let drop = |x, site| masks.apply(x, self.layer, site, rate);
        let mut attend = |x: Tensor<B, 2>| {
            let attention = &self.self_attention.body;
            let new = attention.keys_and_values(x.clone(), view.texts, view.rotation);
            let seen = match cache.as_mut().map(|cache| &mut cache.own) {
                None => new,
                Some(own) => {
                    let joined = KeyValues::joined(own.take(), new);
                    own.insert(joined).clone()
                }
            };
            let (y, probabilities) = attention.forward(x, &seen, &view);
            (drop(y, Site::SelfAttentionOutput), probabilities)
        };
        let feed = |x: Tensor<B, 2>| {
            let y = self
                .feed_forward
                .body
                .forward(x, |hidden| masks.apply(hidden, self.layer, Site::Activation, masks.rates().activation));
            drop(y, Site::FeedForwardOutput)
        };
        if self.residual == Residual::Parallel {
            let (attended, self_attention) = attend(self.self_attention.norms.before(x.clone()));
            let fed = feed(self.feed_forward.norms.before(x.clone()));
            return BlockOutput { hidden: x + attended + fed, self_attention, cross_attention: None };
        }
        let (x, self_attention) = self.self_attention.norms.around(x, attend);
        let (x, cross_attention) = match (&self.cross_attention, memory) {
            (Some(cross), Some((hidden, view))) => {
                let make = || cross.body.keys_and_values(hidden.clone(), view.texts, None);
                let seen = match cache.map(|cache| &mut cache.memory) {
                    None => make(),
                    Some(kept) => kept.get_or_insert_with(make).clone(),
                };
                let (x, probabilities) = cross.norms.around(x, |x| {
                    let (y, probabilities) = cross.body.forward(x, &seen, &view);
                    (drop(y, Site::CrossAttentionOutput), probabilities)
                });
                (x, Some(probabilities))
            }
            _ => (x, None),
        };
        let (hidden, ()) = self.feed_forward.norms.around(x, |x| (feed(x), ()));
        BlockOutput { hidden, self_attention, cross_attention }
    }
}

impl<B: Backend> Norms<B> {
    /// What the branch reads.
    fn before(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Norms::Pre(norm) | Norms::Sandwich(norm, _) => norm.forward(x),
            Norms::Post(_) => x,
        }
    }

    /// The residual stream behind the branch, and what the branch tells beside.
    fn around<T>(&self, x: Tensor<B, 2>, branch: impl FnOnce(Tensor<B, 2>) -> (Tensor<B, 2>, T)) -> (Tensor<B, 2>, T) {
        let (y, beside) = branch(self.before(x.clone()));
        let x = match self {
            Norms::Pre(_) => x + y,
            Norms::Post(norm) => norm.forward(x + y),
            Norms::Sandwich(_, norm) => x + norm.forward(y),
        };
        (x, beside)
    }
}
