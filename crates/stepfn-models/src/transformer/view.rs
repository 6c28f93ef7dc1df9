//! What a layer of attention sees: which keys each query may read, and what positions add to that.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::Visible;
use stepfn_kernels::rotary::Rotation;

use super::part::constant;
use super::places::Places;
use super::twins::Twins;

/// What a layer of attention sees.
#[derive(Debug, Clone)]
pub(crate) struct View<B: Backend> {
    /// The keys of each query. Layers that see the same share it, and the mask that it makes.
    pub(crate) visible: Arc<Visible<B>>,
    /// Added to the scores, broadcast over `[texts, heads, queries, keys]`: relative positions.
    pub(crate) bias: Option<Tensor<B, 4>>,
    /// Rotary positions of the queries, and of the keys that are made of the same hidden states.
    pub(crate) rotation: Option<Rotation<B>>,
    /// What queries are multiplied by, `[texts · queries, 1]`.
    pub(crate) growth: Option<Tensor<B, 2>>,
    /// What dropout multiplies the probabilities by, `[texts, heads, queries, keys]`.
    pub(crate) dropout: Option<Tensor<B, 4>>,
    /// Places that are computed once outside of attention, in a pass without a way back.
    pub(crate) twins: Option<Arc<Twins<B>>>,
}

impl<B: Backend> View<B> {
    /// Rows of all places, of those that were computed.
    pub(crate) fn everywhere(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.twins {
            Some(twins) => twins.everywhere(x),
            None => x,
        }
    }

    /// The reverse of [`everywhere`](Self::everywhere).
    pub(crate) fn once(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.twins {
            Some(twins) => twins.once(x),
            None => x,
        }
    }

    /// What queries at some places see.
    pub(crate) fn rows(&self, places: &Places<B>) -> Self {
        Self {
            visible: Arc::new(visible_from(&self.visible, places, self.visible.keys())),
            bias: self.bias.clone().map(|bias| places.of_queries(bias)),
            rotation: self.rotation.as_ref().map(|rotation| rotation_at(rotation, places)),
            growth: places.of_optional(&self.growth),
            dropout: self.dropout.clone().map(|dropout| places.of_queries(dropout)),
            twins: None,
        }
    }

    /// The same on a backend with automatic differentiation.
    pub(crate) fn lift(&self) -> View<Autodiff<B>> {
        let Self { visible, bias, rotation, growth, dropout, .. } = self;
        let (texts, queries) = (visible.texts(), visible.queries());
        let ranges = (0..texts).flat_map(|text| (0..queries).map(move |query| (text, query)));
        let ranges = ranges.map(|(text, query)| visible.range(text, query));
        let ranges = ranges.map(|range| range.start as u32..range.end as u32).collect();
        View {
            visible: Arc::new(Visible::new(ranges, texts, queries, visible.keys(), visible.device())),
            bias: bias.as_ref().map(constant),
            rotation: rotation
                .as_ref()
                .map(|Rotation { cos, sin }| Rotation { cos: constant(cos), sin: constant(sin) }),
            growth: growth.as_ref().map(constant),
            dropout: dropout.as_ref().map(constant),
            twins: None,
        }
    }
}

/// What queries at some places see of the first `keys` keys.
pub(super) fn visible_from<B: Backend>(visible: &Visible<B>, places: &Places<B>, keys: usize) -> Visible<B> {
    let texts = visible.texts();
    let of_text = |text: usize| places.numbers().iter().map(move |&place| visible.range(text, place));
    let ranges = (0..texts).flat_map(of_text).map(|range| range.start as u32..range.end as u32).collect();
    Visible::new(ranges, texts, places.len(), keys, visible.device())
}

/// The rotation of some places.
pub(super) fn rotation_at<B: Backend>(rotation: &Rotation<B>, places: &Places<B>) -> Rotation<B> {
    Rotation { cos: places.of(&rotation.cos), sin: places.of(&rotation.sin) }
}
