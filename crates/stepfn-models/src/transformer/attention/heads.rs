//! Packed projections with their heads apart: where several steps need them so, outside the kernels.

use burn::tensor::{DType, Tensor, backend::Backend};
use stepfn_kernels::attention::AttentionInputs;

/// The sizes of an attention: `groups · group` query heads, of which each `group` shares keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) texts: usize,
    pub(super) groups: usize,
    pub(super) group: usize,
    pub(super) head_dim: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
}

impl Heads {
    pub(super) fn of<B: Backend>(inputs: &AttentionInputs<B>) -> Self {
        let shape = &inputs.shape;
        let places = |x: &Tensor<B, 2>| x.dims()[0] / shape.texts;
        Self {
            texts: shape.texts,
            groups: shape.n_kv_heads,
            group: shape.n_heads / shape.n_kv_heads,
            head_dim: shape.head_dim,
            queries: places(inputs.query),
            keys: places(inputs.key),
        }
    }

    /// `[texts · places, heads · head_dim]` as `[texts · heads, places, head_dim]`.
    pub(super) fn split<B: Backend>(&self, x: Tensor<B, 2>, places: usize) -> Tensor<B, 3> {
        let heads = self.groups * self.group;
        let x = x.reshape([self.texts, places, heads, self.head_dim]).swap_dims(1, 2);
        x.reshape([self.texts * heads, places, self.head_dim])
    }

    /// The reverse of [`split`](Self::split).
    pub(super) fn join<B: Backend>(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let heads = self.groups * self.group;
        let [_, places, _] = x.dims();
        let x = x.reshape([self.texts, heads, places, self.head_dim]).swap_dims(1, 2);
        x.reshape([self.texts * places, heads * self.head_dim])
    }

    /// Keys or values once for every query head, `[texts · heads, keys, head_dim]`.
    pub(super) fn shared<B: Backend>(&self, x: &Tensor<B, 2>) -> Tensor<B, 3> {
        let &Self { texts, groups, group, head_dim, keys, .. } = self;
        let x = x.clone().reshape([texts, keys, groups, 1, head_dim]).permute([0, 2, 3, 1, 4]);
        x.expand([texts, groups, group, keys, head_dim]).reshape([texts * groups * group, keys, head_dim])
    }

    /// Something broadcast over `[texts, heads, queries, keys]`, as `[texts · heads, queries, keys]`.
    pub(super) fn broadcast<B: Backend>(&self, x: &Tensor<B, 4>) -> Tensor<B, 3> {
        let heads = self.groups * self.group;
        let x = x.clone().expand([self.texts, heads, self.queries, self.keys]);
        x.reshape([self.texts * heads, self.queries, self.keys])
    }

    /// One number of each head, `[1, heads]`, as `[texts · heads, queries, 1]`.
    pub(super) fn each<B: Backend>(&self, x: &Tensor<B, 2>) -> Tensor<B, 3> {
        let (texts, heads) = (self.texts, self.groups * self.group);
        let x = x.clone().reshape([1, heads, 1]).expand([texts, heads, self.queries]);
        x.reshape([texts * heads, self.queries, 1])
    }

    /// 1 where a query sees a key, else 0, `[texts · heads, queries, keys]`.
    pub(super) fn seen<B: Backend>(&self, inputs: &AttentionInputs<B>, dtype: DType) -> Tensor<B, 3> {
        let seen = self.broadcast(&inputs.visible.mask(dtype)).equal_elem(0.0).float();
        if seen.dtype() == dtype { seen } else { seen.cast(dtype) }
    }
}
