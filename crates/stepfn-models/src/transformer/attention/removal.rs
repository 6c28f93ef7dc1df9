//! The output of attention without single values: `O − A_qk v_k`, from the probabilities of the pass.
//!
//! Value zeroing (Mohebbi et al. 2023, arXiv:2301.12971) asks what changes if a query reads zeros at one key.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::attention::attention_probabilities;

use super::heads::Heads;
use super::{Attention, AttentionTape};
use crate::transformer::inside::Removal;
use crate::transformer::tokens::indices;
use crate::transformer::view::View;

/// Values that are removed, each from one of some queries.
#[derive(Debug)]
pub(crate) struct Removals<'a, B: Backend> {
    /// The number of its query, and its key.
    places: Vec<(usize, usize)>,
    /// The queries' numbers on the device, `[removals]`.
    queries: Tensor<B, 1, Int>,
    /// The heads that lose the values; `None` is all.
    heads: Option<&'a [usize]>,
}

impl<'a, B: Backend> Removals<'a, B> {
    /// Removals of one query follow each other, in the order of `queries`.
    pub(crate) fn new(removals: &[Removal], heads: Option<&'a [usize]>, queries: &[usize], device: &B::Device) -> Self {
        let mut number = 0;
        let place = |removal: &Removal| {
            while queries[number] != removal.query {
                number += 1;
            }
            (number, removal.key)
        };
        let places: Vec<(usize, usize)> = removals.iter().map(place).collect();
        let numbers = places.iter().map(|&(query, _)| query as i32).collect();
        Self { queries: indices(numbers, device), places, heads }
    }

    /// Rows of queries, once for each removal.
    ///
    /// # Shapes
    /// - `x`: `[queries, size]`, result: `[removals, size]`
    pub(crate) fn of_queries(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.select(0, self.queries.clone())
    }

    /// What the removed values are multiplied by: their probabilities, and 0 in heads that keep them.
    ///
    /// # Shapes
    /// - `probabilities`: `[heads, queries, keys]`, result: `[removals, heads]`
    fn weights(&self, probabilities: Tensor<B, 3>) -> Tensor<B, 2> {
        let [heads, queries, keys] = probabilities.dims();
        let (dtype, device) = (probabilities.dtype(), probabilities.device());
        let pairs = self.places.iter().map(|&(query, key)| (query * keys + key) as i32).collect();
        let weights = probabilities.reshape([heads, queries * keys]).select(1, indices(pairs, &device)).transpose();
        let Some(chosen) = self.heads else { return weights };
        let mut kept = vec![0.0f32; heads];
        chosen.iter().for_each(|&head| kept[head] = 1.0);
        let kept = TensorData::new(kept, [1, heads]).convert_dtype(dtype);
        weights * Tensor::from_data(kept, (&device, dtype))
    }

    fn keys(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        indices(self.places.iter().map(|&(_, key)| key as i32).collect(), device)
    }
}

impl<B: Backend> Attention<B> {
    /// The output at the query of each removal.
    ///
    /// # Shapes
    /// - `tape`: of the queries alone; result: `[removals, hidden]`
    pub(crate) fn without_values(
        &self,
        tape: &AttentionTape<B>,
        view: &View<B>,
        removals: &Removals<B>,
    ) -> Tensor<B, 2> {
        let (key, value) = (tape.seen.keys(), tape.seen.values());
        let inputs = self.inputs(tape, &key, &value, view);
        let heads = Heads::of(&inputs);
        let n_heads = self.n_heads;
        let probabilities = attention_probabilities(&inputs).reshape([n_heads, heads.queries, heads.keys]);
        let values = heads.shared(inputs.value); // [heads, keys, head_dim]
        let mixed = removals.of_queries(heads.join(probabilities.clone().matmul(values.clone())));
        let removed = heads.join(values).select(0, removals.keys(&mixed.device())); // [removals, heads · head_dim]
        let [count, width] = removed.dims();
        let weights = removals.weights(probabilities).reshape([count, n_heads, 1]);
        let removed = removed.reshape([count, n_heads, self.head_dim]) * weights;
        self.output.apply(mixed - removed.reshape([count, width]))
    }
}
