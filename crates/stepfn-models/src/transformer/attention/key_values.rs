//! Keys and values of a layer, as attention reads them and as a cache keeps them.

use burn::tensor::{Int, Tensor, backend::Backend};
use stepfn_kernels::places::written;

use crate::transformer::places::Places;

/// Keys and values, `[texts, width, key-value heads · head_dim]`. After their last place there may be room for more.
#[derive(Debug, Clone)]
pub(crate) struct KeyValues<B: Backend> {
    keys: Tensor<B, 3>,
    values: Tensor<B, 3>,
    /// Places that are filled.
    width: usize,
    /// The keys before they were normalized, `[texts · width, key-value heads · head_dim]`, if they are, and are not from a cache.
    pub(super) unnormalized: Option<Tensor<B, 2>>,
}

impl<B: Backend> KeyValues<B> {
    /// Of `texts` texts.
    ///
    /// # Shapes
    /// - `keys`, `values`, `unnormalized`: `[texts · width, key-value heads · head_dim]`
    pub(super) fn new(
        texts: usize,
        keys: Tensor<B, 2>,
        values: Tensor<B, 2>,
        unnormalized: Option<Tensor<B, 2>>,
    ) -> Self {
        let apart = |x: Tensor<B, 2>| {
            let [rows, size] = x.dims();
            x.reshape([texts, rows / texts, size])
        };
        let width = keys.dims()[0] / texts;
        Self { keys: apart(keys), values: apart(values), width, unnormalized }
    }

    /// Earlier places, if there are any, then later ones, and places up to `room` in all. Where there was room, nothing is copied.
    pub(super) fn joined(earlier: Option<Self>, later: Self, room: usize) -> Self {
        if earlier.is_none() && later.width == room {
            return later;
        }
        let first = earlier.as_ref().map_or(0, |earlier| earlier.width);
        let width = first + later.width;
        let (earlier_keys, earlier_values) = earlier.map(|earlier| (earlier.keys, earlier.values)).unzip();
        let join = |earlier: Option<Tensor<B, 3>>, later: Tensor<B, 3>| {
            let [texts, _, size] = later.dims();
            match earlier {
                Some(earlier) if earlier.dims()[1] == room => written(earlier, first, later),
                earlier => {
                    let empty = (room > width)
                        .then(|| Tensor::zeros([texts, room - width, size], (&later.device(), later.dtype())));
                    let earlier = earlier.map(|earlier| earlier.slice_dim(1, 0..first));
                    let parts: Vec<Tensor<B, 3>> = earlier.into_iter().chain([later]).chain(empty).collect();
                    Tensor::cat(parts, 1)
                }
            }
        };
        let (keys, values) = (join(earlier_keys, later.keys), join(earlier_values, later.values));
        Self { keys, values, width, unnormalized: None }
    }

    /// The keys of all texts and the room after them, `[texts · places, key-value heads · head_dim]`.
    pub(super) fn keys(&self) -> Tensor<B, 2> {
        packed(&self.keys)
    }

    /// The values of all texts and the room after them, `[texts · places, key-value heads · head_dim]`.
    pub(super) fn values(&self) -> Tensor<B, 2> {
        packed(&self.values)
    }

    /// Places of each text that are filled.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The first `places` of the only text, `copies` times.
    pub(crate) fn prefix(&self, places: usize, copies: usize) -> Self {
        let part = |tensor: &Tensor<B, 3>| {
            let [_, _, size] = tensor.dims();
            tensor.clone().slice([0..1, 0..places]).expand([copies, places, size])
        };
        Self { keys: part(&self.keys), values: part(&self.values), width: places, unnormalized: None }
    }

    /// The first places of each text.
    pub(super) fn first(&self, places: &Places<B>) -> Self {
        let [texts, _, _] = self.keys.dims();
        let unnormalized = places.of_optional(&self.unnormalized);
        Self::new(texts, places.of(&self.keys()), places.of(&self.values()), unnormalized)
    }

    /// Those of texts `parents`.
    pub(crate) fn select(&self, parents: &Tensor<B, 1, Int>) -> Self {
        // Backends copy whole rows of a matrix.
        let select = |tensor: &Tensor<B, 3>| {
            let [texts, width, size] = tensor.dims();
            let selected = tensor.clone().reshape([texts, width * size]).select(0, parents.clone());
            selected.reshape([parents.dims()[0], width, size])
        };
        Self { keys: select(&self.keys), values: select(&self.values), width: self.width, unnormalized: None }
    }
}

fn packed<B: Backend>(x: &Tensor<B, 3>) -> Tensor<B, 2> {
    let [texts, width, size] = x.dims();
    x.clone().reshape([texts * width, size])
}
