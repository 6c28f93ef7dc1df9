//! A block: self-attention, cross-attention in a decoder with an encoder, and a feed-forward, as branches of a residual stream.
//!
//! The branches follow each other, or attention and feed-forward read the same stream and are both added to it.

mod outline;
mod removal;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};

use super::attention::{Attention, AttentionTape, KeyValues};
use super::branch::{Branch, BranchAround, BranchTape};
use super::fed::{Fed, FedTape};
use super::front::Gradients;
use super::inside::AttentionKind;
use super::part::{Forward, Part, Streams, WithMemory};
use super::places::Places;
use super::rule::Saved;
use super::tables::{Sees, Tables};
use super::view::View;
use crate::ModelError;
use crate::config::{Residual, StackConfig};
use crate::parameters::Parameters;

pub(crate) use outline::BlockOutline;
pub(crate) use removal::Without;

/// A block.
#[derive(Debug, Clone)]
pub(crate) struct Block<B: Backend> {
    pub(super) self_attention: Branch<B, Attention<B>>,
    pub(super) cross_attention: Option<Branch<B, Attention<B>>>,
    pub(super) feed_forward: Branch<B, Fed<B>>,
    residual: Residual,
}

/// What surrounds a block: what its attentions see, and dropout masks.
#[derive(Debug, Clone)]
pub(crate) struct BlockAround<B: Backend> {
    pub(crate) self_attention: BranchAround<B, View<B>>,
    pub(crate) cross_attention: Option<BranchAround<B, View<B>>>,
    pub(crate) feed_forward: BranchAround<B, Option<Tensor<B, 2>>>,
    /// What self-attention takes from the tables.
    pub(crate) sees: Sees,
}

/// What one layer keeps while a text is being written.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache<B: Backend> {
    pub(crate) own: Option<KeyValues<B>>,
    pub(crate) memory: Option<KeyValues<B>>,
}

/// What the way back reads.
#[derive(Debug, Clone)]
pub(crate) struct BlockTape<B: Backend> {
    self_attention: BranchTape<B, AttentionTape<B>>,
    cross_attention: Option<BranchTape<B, AttentionTape<B>>>,
    feed_forward: BranchTape<B, FedTape<B>>,
}

/// A block before its feed-forward network.
struct Attended<B: Backend> {
    /// The residual stream.
    stream: Tensor<B, 2>,
    /// What the feed-forward network reads of it, before its normalization.
    read: Tensor<B, 2>,
    self_attention: BranchTape<B, AttentionTape<B>>,
    cross_attention: Option<BranchTape<B, AttentionTape<B>>>,
}

impl<B: Backend> BlockTape<B> {
    /// What enters the block, `[texts · places, hidden]`.
    pub(crate) fn input(&self) -> &Tensor<B, 2> {
        &self.self_attention.x
    }
}

impl<B: Backend> BlockAround<B> {
    /// What one of its attentions sees.
    pub(crate) fn view(&self, kind: AttentionKind) -> Option<&View<B>> {
        match kind {
            AttentionKind::Own => Some(&self.self_attention.body),
            AttentionKind::Cross => self.cross_attention.as_ref().map(|around| &around.body),
        }
    }

    /// The same for a pass over the first places of each text, from the tables of that pass.
    pub(crate) fn first(&self, places: &Places<B>, tables: &Tables<B>) -> Self {
        let own = self.self_attention.body.dropout.clone();
        let own = own.map(|dropout| places.of_queries(dropout).slice_dim(3, 0..places.len()));
        let cross_attention = self.cross_attention.as_ref().and_then(|around| {
            let dropout = around.body.dropout.clone().map(|dropout| places.of_queries(dropout));
            Some(BranchAround { body: tables.memory(dropout)?, mask: places.of_optional(&around.mask) })
        });
        Self {
            self_attention: BranchAround {
                body: tables.own(self.sees, own),
                mask: places.of_optional(&self.self_attention.mask),
            },
            cross_attention,
            feed_forward: BranchAround {
                body: places.of_optional(&self.feed_forward.body),
                mask: places.of_optional(&self.feed_forward.mask),
            },
            sees: self.sees,
        }
    }
}

impl<B: Backend> Block<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &StackConfig,
        cross: bool,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let norms = (Some(config.norm_placement), config.norm, config.residual);
        let attention = |branch: &str| -> Result<Branch<B, Attention<B>>, ModelError> {
            let name = format!("{name}.{branch}");
            let body = Attention::load(parameters, &name, hidden, config)?;
            let placement = norms.0.filter(|_| layer > 0 || config.first_norm);
            Branch::load(parameters, &name, body, hidden, (placement, norms.1, norms.2))
        };
        let feed_forward = format!("{name}.feed_forward");
        let body = Fed::load(parameters, &feed_forward, hidden, config, layer)?;
        Ok(Self {
            self_attention: attention("self_attention")?,
            cross_attention: if cross { Some(attention("cross_attention")?) } else { None },
            feed_forward: Branch::load(parameters, &feed_forward, body, hidden, norms)?,
            residual: config.residual,
        })
    }

    /// [`record`](Part::record) with a cache of the places before those that are computed.
    pub(crate) fn record_with(
        &self,
        x: Streams<Tensor<B, 2>>,
        around: &BlockAround<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> (Tensor<B, 2>, BlockTape<B>) {
        let Attended { stream, read, self_attention, cross_attention } = self.attend(x, around, cache);
        let feed = |x| self.feed_forward.body.record(x, &around.feed_forward.body);
        let (x, feed_forward) = self.feed_forward.record_onto(stream, read, around.feed_forward.mask.as_ref(), feed);
        (x, BlockTape { self_attention, cross_attention, feed_forward })
    }

    /// What leaves the block at some places, of a pass without dropout: of the others, it only computes what attention sees.
    ///
    /// # Shapes
    /// - `x`: `[texts · width, hidden]`; of twins one row
    /// - result: `[texts · places, hidden]`
    pub(crate) fn forward_at(
        &self,
        Streams { x, memory }: Streams<Tensor<B, 2>>,
        around: &BlockAround<B>,
        cache: Option<&mut LayerCache<B>>,
        places: &Places<B>,
    ) -> Tensor<B, 2> {
        let (own_cache, memory_cache) = cache.map(|LayerCache { own, memory }| (own, memory)).unzip();
        let own = &around.self_attention.body;
        let here = places.of(&own.everywhere(x.clone()));
        let attend = |x| (self.self_attention.body.forward_at(x, own, own_cache, places), ());
        let (mut stream, _) = self.self_attention.record_onto(here.clone(), x, None, attend);
        if let (Some(cross), Some(around)) = (&self.cross_attention, &around.cross_attention) {
            let view = around.body.rows(places);
            let attend = |x| cross.body.record_with(Streams { x, memory }, &view, memory_cache);
            (stream, _) = cross.record_onto(stream.clone(), stream, None, attend);
        }
        let read = match self.residual {
            Residual::Sequential | Residual::Scaled(_) => stream.clone(),
            Residual::Parallel => here,
        };
        self.feed_forward.record_onto(stream, read, None, |x| self.feed_forward.body.record(x, &None)).0
    }

    /// All but the feed-forward network.
    fn attend(
        &self,
        Streams { x, memory }: Streams<Tensor<B, 2>>,
        around: &BlockAround<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Attended<B> {
        let (own_cache, memory_cache) = cache.map(|LayerCache { own, memory }| (own, memory)).unzip();
        let own = &around.self_attention;
        let attend = |x| self.self_attention.body.record_with(Streams { x, memory: None }, &own.body, own_cache);
        let (attended, self_attention) =
            self.self_attention.record_onto(x.clone(), x.clone(), own.mask.as_ref(), attend);
        let (stream, cross_attention) = match (&self.cross_attention, &around.cross_attention) {
            (Some(cross), Some(around)) => {
                let attend = |x| cross.body.record_with(Streams { x, memory }, &around.body, memory_cache);
                let (x, tape) = cross.record_onto(attended.clone(), attended, around.mask.as_ref(), attend);
                (x, Some(tape))
            }
            _ => (attended, None),
        };
        let read = match self.residual {
            Residual::Sequential | Residual::Scaled(_) => stream.clone(),
            Residual::Parallel => x,
        };
        Attended { stream, read, self_attention, cross_attention }
    }

    /// The attention probabilities `[texts, heads, queries, keys]` of self-attention and of cross-attention.
    pub(crate) fn probabilities(&self, tape: &BlockTape<B>, around: &BlockAround<B>) -> [Option<Tensor<B, 4>>; 2] {
        [AttentionKind::Own, AttentionKind::Cross].map(|kind| {
            let (branch, saved) = self.attention(kind, tape)?;
            Some(branch.body.probabilities(&saved.body, around.view(kind)?))
        })
    }
}

impl<B: Backend> Forward<B> for Block<B> {
    type Inputs = WithMemory;
    type Around = BlockAround<B>;
    type Lifted = Block<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        Block {
            self_attention: self.self_attention.lift(),
            cross_attention: self.cross_attention.as_ref().map(Branch::lift),
            feed_forward: self.feed_forward.lift(),
            residual: self.residual,
        }
    }

    fn lift_around(around: &BlockAround<B>) -> BlockAround<Autodiff<B>> {
        let attention = Branch::<B, Attention<B>>::lift_around;
        BlockAround {
            self_attention: attention(&around.self_attention),
            cross_attention: around.cross_attention.as_ref().map(attention),
            feed_forward: Branch::<B, Fed<B>>::lift_around(&around.feed_forward),
            sees: around.sees,
        }
    }

    fn forward(&self, x: Streams<Tensor<B, 2>>, around: &BlockAround<B>) -> Tensor<B, 2> {
        self.record(x, around).0
    }
}

impl<B: Backend> Part<B> for Block<B> {
    const NAME: &'static str = "block";

    type Tape = BlockTape<B>;

    fn record(&self, x: Streams<Tensor<B, 2>>, around: &BlockAround<B>) -> (Tensor<B, 2>, BlockTape<B>) {
        self.record_with(x, around, None)
    }

    fn backward(
        &self,
        tape: Saved<'_, B, BlockTape<B>>,
        around: &BlockAround<B>,
        grad: Gradients<B>,
    ) -> Result<Streams<Gradients<B>>, ModelError> {
        let feed_forward = tape.part(|tape| &tape.feed_forward);
        let (grad, to_fed) = self.feed_forward.backward_apart(feed_forward, &around.feed_forward, grad)?;
        let (mut grad, fed_in_parallel) = match self.residual {
            Residual::Sequential | Residual::Scaled(_) => (grad.plus(to_fed), None),
            Residual::Parallel => (grad, Some(to_fed)),
        };
        let mut to_memory = None;
        if let (Some(cross), Some(around), Some(tape)) =
            (&self.cross_attention, &around.cross_attention, tape.optional(|tape| tape.cross_attention.as_ref()))
        {
            Streams { x: grad, memory: to_memory } = cross.backward(tape, around, grad)?;
        }
        let own = tape.part(|tape| &tape.self_attention);
        let Streams { x, .. } = self.self_attention.backward(own, &around.self_attention, grad)?;
        Ok(Streams { x: fed_in_parallel.into_iter().fold(x, Gradients::plus), memory: to_memory })
    }

    fn first(tape: &BlockTape<B>, places: &Places<B>) -> BlockTape<B> {
        let attention = |tape| Branch::<B, Attention<B>>::first(tape, places);
        BlockTape {
            self_attention: attention(&tape.self_attention),
            cross_attention: tape.cross_attention.as_ref().map(attention),
            feed_forward: Branch::<B, Fed<B>>::first(&tape.feed_forward, places),
        }
    }
}
