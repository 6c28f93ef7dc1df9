//! The fused and the composed route must agree with each other, and gradients with automatic differentiation.

use core::ops::Range;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use proptest::prelude::*;

use super::*;
use crate::Cotangents;
use crate::testing::{Flex, NdArray, assert_same, autodiff, noise, one_by_one};

/// An attention layer without its numbers.
#[derive(Debug, Clone)]
struct Case {
    shape: AttentionShape,
    queries: usize,
    keys: usize,
    per_text: usize,
    ranges: Vec<Range<u32>>,
    /// Which dimensions of the bias are broadcast.
    bias: Option<[bool; 4]>,
    sinks: bool,
    dropout: bool,
}

/// Tensors of a case.
struct Tensors<B: Backend> {
    query: Tensor<B, 2>,
    key: Tensor<B, 2>,
    value: Tensor<B, 2>,
    visible: Visible<B>,
    bias: Option<Tensor<B, 4>>,
    sinks: Option<Tensor<B, 2>>,
    dropout: Option<Tensor<B, 4>>,
}

impl Case {
    fn tensors<B: Backend>(&self, dtype: DType) -> Tensors<B> {
        let AttentionShape { texts, n_heads, n_kv_heads, head_dim, .. } = self.shape;
        let full = [texts, n_heads, self.queries, self.keys];
        let multipliers = || noise::<B, 4>(full, 5).greater_elem(-0.5).float().cast(dtype).mul_scalar(1.5);
        Tensors {
            query: noise([texts * self.queries, n_heads * head_dim], 1).cast(dtype),
            key: noise([texts * self.keys, n_kv_heads * head_dim], 2).cast(dtype),
            value: noise([texts * self.keys, n_kv_heads * head_dim], 3).cast(dtype),
            visible: Visible::new(self.ranges.clone(), texts, self.queries, self.keys, &Default::default()),
            bias: self.bias.map(|broadcast| {
                noise(core::array::from_fn(|dim| if broadcast[dim] { 1 } else { full[dim] }), 4).cast(dtype)
            }),
            sinks: self.sinks.then(|| noise([1, n_heads], 7).cast(dtype).mul_scalar(3)),
            dropout: self.dropout.then(multipliers),
        }
    }

    fn grad<B: Backend>(&self, dtype: DType) -> Tensor<B, 2> {
        let AttentionShape { texts, n_heads, head_dim, .. } = self.shape;
        noise([texts * self.per_text * self.queries, n_heads * head_dim], 6).cast(dtype)
    }

    /// For every query of every text, whether it sees any key.
    fn seeing(&self) -> impl Iterator<Item = (usize, usize, bool)> {
        let per_text = self.ranges.len() == self.shape.texts;
        (0..self.shape.texts).flat_map(move |text| {
            (0..self.queries).map(move |query| {
                let range = &self.ranges[if per_text { text } else { text * self.queries + query }];
                (text, query, !range.is_empty())
            })
        })
    }
}

impl<B: Backend> Tensors<B> {
    fn inputs(&self, shape: AttentionShape) -> AttentionInputs<'_, B> {
        AttentionInputs {
            query: &self.query,
            key: &self.key,
            value: &self.value,
            shape,
            visible: &self.visible,
            bias: self.bias.as_ref(),
            sinks: self.sinks.as_ref(),
            dropout: self.dropout.as_ref(),
        }
    }
}

/// Sizes around the block size, with key ranges like those of causal order, windows, padding, or none of these.
fn cases() -> impl Strategy<Value = Case> {
    let width = || prop_oneof![Just(1usize), Just(3), Just(17), Just(33), Just(129), Just(260), 1usize..80];
    let heads = (1usize..3, 1usize..4, prop_oneof![Just(1usize), Just(3), Just(8), Just(17)]);
    let looks = (prop::option::of(1usize..40), 0usize..5, 0usize..3);
    let extras = (prop::option::of(any::<[bool; 4]>()), any::<[bool; 2]>(), prop::option::of(Just(0.7)));
    (1usize..3, heads, 1usize..4, width(), width(), looks, extras).prop_map(
        |(texts, (n_kv_heads, group, head_dim), per_text, queries, keys, (window, kind, padding), extras)| {
            let (bias, [sinks, dropout], soft_cap) = extras;
            let n_heads = n_kv_heads * group;
            let shape = AttentionShape { texts, n_heads, n_kv_heads, head_dim, scale: 0.8, soft_cap };
            // Causal queries are the last positions.
            let queries = if kind > 1 { queries.min(keys) } else { queries };
            let pad = |text: usize| (padding * text).min(keys - 1);
            let causal = |text: usize, query: usize| {
                let place = keys - queries + query;
                let first = window.map_or(0, |window| (place + 1).saturating_sub(window)).max(pad(text));
                first as u32..(place + 1).max(first) as u32
            };
            let ranges = match kind {
                0 => (0..texts).map(|_| 0..keys as u32).collect(),
                1 => (0..texts).map(|text| 0..(keys - pad(text)) as u32).collect(),
                _ => (0..texts).flat_map(|text| (0..queries).map(move |query| causal(text, query))).collect(),
            };
            Case { shape, queries, keys, per_text, ranges, bias, sinks, dropout }
        },
    )
}

/// Sets rows that nobody reads to 0.
fn read<B: Backend>(rows: Tensor<B, 2>, case: &Case) -> Tensor<B, 2> {
    let read: Vec<f32> = case.seeing().map(|(_, _, sees)| f32::from(sees)).collect();
    let read = TensorData::new(read.clone(), [read.len(), 1]);
    rows.clone() * Tensor::from_data(read, (&rows.device(), DType::F32))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_routes_agree(case in cases()) {
        let (flex, composed) = (case.tensors::<Flex>(DType::F32), case.tensors::<NdArray>(DType::F32));
        let (flex, composed) = (flex.inputs(case.shape), composed.inputs(case.shape));
        assert_same(&read(attention(&flex), &case), &read(attention(&composed), &case), 1e-4);

        let [texts, heads, queries, keys] = attention_probabilities(&flex).dims();
        let rows = |probabilities: Tensor<NdArray, 4>| {
            let rows = probabilities.swap_dims(1, 2).reshape([texts * queries, heads * keys]);
            read(rows, &case)
        };
        let flex = Tensor::from_data(attention_probabilities(&flex).into_data(), (&Default::default(), DType::F32));
        assert_same(&rows(flex), &rows(attention_probabilities(&composed)), 1e-5);
    }

    #[test]
    fn both_routes_agree_backward(case in cases()) {
        // Gradients of keys that nobody reads are 0.
        let seen = |grad: Tensor<NdArray, 2>| {
            let cotangents = Cotangents { texts: case.shape.texts, per_text: case.per_text };
            one_by_one(&grad, cotangents, |grad| read(grad, &case))
        };
        let grad = seen(case.grad(DType::F32));
        let (flex, composed) = (case.tensors::<Flex>(DType::F32), case.tensors::<NdArray>(DType::F32));
        let expected = attention_backward(&composed.inputs(case.shape), grad.clone(), case.per_text);
        let grad = Tensor::from_data(grad.into_data(), (&Default::default(), DType::F32));
        let found = attention_backward(&flex.inputs(case.shape), grad, case.per_text);
        assert_same(&found.query, &expected.query, 1e-4);
        assert_same(&found.key, &expected.key, 1e-4);
        assert_same(&found.value, &expected.value, 1e-4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cotangents of all queries each, that are zero but at their own.
    #[test]
    fn cotangents_at_one_query_each_have_a_shorter_way(case in cases()) {
        let (shape, queries) = (case.shape, case.queries.min(7));
        let case = Case { per_text: queries, queries, ranges: match case.ranges.len() == shape.texts {
            true => case.ranges,
            false => case.ranges.chunks(case.queries).flat_map(|of_text| of_text[..queries].to_vec()).collect(),
        }, ..case };
        let tensors = case.tensors::<Flex>(DType::F32);
        let size = shape.n_heads * shape.head_dim;
        let grad: Tensor<Flex, 2> = read(noise([shape.texts * queries, size], 8), &case);
        let own = |x: Tensor<Flex, 2>| x.reshape([shape.texts, queries, 1, size]);
        let eye = Tensor::<Flex, 2>::eye(queries, &Default::default()).reshape([1, queries, queries, 1]);
        let spread = (own(grad.clone()) * eye.clone()).reshape([shape.texts * queries * queries, size]);
        let expected = attention_backward(&tensors.inputs(shape), spread, queries);
        let to_query = expected.query.reshape([shape.texts, queries, queries, size]) * eye;
        let to_query = to_query.sum_dim(2).reshape([shape.texts * queries, size]);
        let found = attention_backward_at_queries(&tensors.inputs(shape), &grad).expect("tensors in memory");
        assert_same(&found.query, &to_query, 1e-4);
        assert_same(&found.key, &expected.key, 1e-4);
        assert_same(&found.value, &expected.value, 1e-4);
    }
}

#[test]
fn backward_is_the_gradient() {
    let ranges: Vec<Range<u32>> = vec![0..3, 0..4, 1..5, 2..6, 0..5, 0..5, 0..5, 1..5];
    // Automatic differentiation rounds the inverse of the cap to `f32`, which is exact for a power of two.
    let shape = AttentionShape { texts: 2, n_heads: 4, n_kv_heads: 2, head_dim: 3, scale: 0.75, soft_cap: Some(0.5) };
    let options = [(None, false, false), (Some([false, false, true, false]), false, true), (None, true, true)];
    for (bias, sinks, dropout) in options {
        let case = Case { shape, queries: 4, keys: 6, per_text: 3, ranges: ranges.clone(), bias, sinks, dropout };
        let cotangents = Cotangents { texts: 2, per_text: 3 };
        let tensors = case.tensors::<Flex>(DType::F64);
        let found = attention_backward(&tensors.inputs(shape), case.grad(DType::F64), case.per_text);
        let forward = |part: usize, x: Tensor<_, 2>| {
            let mut tensors = case.tensors(DType::F64);
            *[&mut tensors.query, &mut tensors.key, &mut tensors.value][part] = x;
            attention(&tensors.inputs(shape))
        };
        let parts = [(&tensors.query, found.query), (&tensors.key, found.key), (&tensors.value, found.value)];
        for (part, (x, found)) in parts.into_iter().enumerate() {
            let expected =
                one_by_one(&case.grad(DType::F64), cotangents, |grad| autodiff(x, grad, |x| forward(part, x)));
            assert_same(&found, &expected, 1e-9);
        }
    }
}

#[test]
fn a_query_that_sees_one_key_returns_its_value() {
    let case = Case {
        shape: AttentionShape { texts: 1, n_heads: 1, n_kv_heads: 1, head_dim: 2, scale: 1.0, soft_cap: None },
        queries: 3,
        keys: 3,
        per_text: 1,
        ranges: vec![0..1, 1..2, 2..3],
        bias: None,
        sinks: false,
        dropout: false,
    };
    let tensors = case.tensors::<Flex>(DType::F32);
    assert_same(&attention(&tensors.inputs(case.shape)), &tensors.value, 1e-6);
}

/// However large a sink is, both routes stay finite, and a row has what the sink leaves.
#[test]
fn sinks_take_their_share() {
    fn sums<B: Backend>(case: &Case, sink: f32) -> Vec<f32> {
        let tensors = case.tensors::<B>(DType::F32);
        let sinks = Tensor::full([1, 1], sink, (&Default::default(), DType::F32));
        let inputs = AttentionInputs { sinks: Some(&sinks), ..tensors.inputs(case.shape) };
        attention_probabilities(&inputs).sum_dim(3).into_data().iter::<f32>().collect()
    }
    let shape = AttentionShape { texts: 1, n_heads: 1, n_kv_heads: 1, head_dim: 2, scale: 0.0, soft_cap: None };
    let ranges: Vec<Range<u32>> = vec![0..1, 0..3, 1..5];
    let case = Case { shape, queries: 3, keys: 5, per_text: 1, ranges, bias: None, sinks: false, dropout: false };
    for sink in [-300.0, -1.0, 0.0, 2.0, 300.0f32] {
        // All scores are 0.
        let expected = [1.0, 3.0, 4.0].map(|seen: f64| (seen / (seen + f64::from(sink).exp())) as f32);
        for found in [sums::<Flex>(&case, sink), sums::<NdArray>(&case, sink)] {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "a sink of {sink} leaves {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn non_finite_texts_do_not_affect_others() {
    let shape = AttentionShape { texts: 2, n_heads: 1, n_kv_heads: 1, head_dim: 8, scale: 1.0, soft_cap: Some(2.0) };
    let ranges: Vec<Range<u32>> = (0..8).map(|query| 0..query % 4 + 1).collect();
    let case = Case { shape, queries: 4, keys: 4, per_text: 2, ranges, bias: None, sinks: true, dropout: false };
    let mut tensors = case.tensors::<Flex>(DType::F32);
    let expected = attention_backward(&tensors.inputs(shape), case.grad(DType::F32), 2);
    let spoiled = TensorData::new([vec![f32::NAN; 4], vec![0.0; 4]].concat(), [8, 1]);
    tensors.query = tensors.query.clone() + Tensor::from_data(spoiled, &tensors.query.device());
    let found = attention_backward(&tensors.inputs(shape), case.grad(DType::F32), 2);
    for (found, expected) in [(found.query, expected.query), (found.key, expected.key), (found.value, expected.value)] {
        assert!(found.clone().slice(0..8).contains_nan().into_scalar());
        assert_same(&found.slice(8..16), &expected.slice(8..16), 0.0);
    }
}
