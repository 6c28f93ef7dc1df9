//! Keys and values of a layer, as attention reads them and as a cache keeps them.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::transformer::places::Places;

/// Keys and values, `[texts, width, key-value heads · head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct KeyValues<B: Backend> {
    keys: Tensor<B, 3>,
    values: Tensor<B, 3>,
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
        Self { keys: apart(keys), values: apart(values), unnormalized }
    }

    /// Earlier places, if there are any, then later ones.
    pub(super) fn joined(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            None => later,
            Some(earlier) => Self {
                keys: Tensor::cat(vec![earlier.keys, later.keys], 1),
                values: Tensor::cat(vec![earlier.values, later.values], 1),
                unnormalized: None,
            },
        }
    }

    /// The keys of all texts, `[texts · width, key-value heads · head_dim]`.
    pub(super) fn keys(&self) -> Tensor<B, 2> {
        packed(&self.keys)
    }

    /// The values of all texts, `[texts · width, key-value heads · head_dim]`.
    pub(super) fn values(&self) -> Tensor<B, 2> {
        packed(&self.values)
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
    pub(super) fn first(&self, places: &Places<B>) -> Self {
        let [texts, _, _] = self.keys.dims();
        let unnormalized = places.of_optional(&self.unnormalized);
        Self::new(texts, places.of(&self.keys()), places.of(&self.values()), unnormalized)
    }

    /// Those of texts `parents`.
    pub(crate) fn select(&self, parents: &Tensor<B, 1, Int>) -> Self {
        let select = |tensor: &Tensor<B, 3>| tensor.clone().select(0, parents.clone());
        Self { keys: select(&self.keys), values: select(&self.values), unnormalized: None }
    }
}

fn packed<B: Backend>(x: &Tensor<B, 3>) -> Tensor<B, 2> {
    let [texts, width, size] = x.dims();
    x.clone().reshape([texts * width, size])
}
