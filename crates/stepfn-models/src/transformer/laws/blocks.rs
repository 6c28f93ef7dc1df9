//! The laws for a block of the transformer and what it is made of, over options, and in every element type.

use burn::tensor::{DType, Tensor};
use proptest::prelude::*;

use super::parts::{Nudge, activations, any_variant, batch, norm_kind, parameters, parameters_as};
use super::{B, Case, check, random};
use crate::config::{
    Activation, AttentionConfig, DropoutRates, FeedForwardConfig, NormConfig, NormOver, NormPlacement, Positions,
    QueryGrowth, QueryKeyNorm, Residual, RotaryConfig, RotaryScaling, StackConfig,
};
use crate::parameters::Parameters;
use crate::transformer::block::BlockAround;
use crate::transformer::part::{Part, Streams};
use crate::transformer::places::Places;
use crate::transformer::rule::Rule;
use crate::transformer::tables::Tables;
use crate::transformer::{Dropout, NoisyPass, PaddingSide, Stack, TokenBatch};

/// Options of a stack of one layer, cross-attention or not, and how to run it.
#[derive(Debug, Clone)]
struct Setup {
    config: StackConfig,
    cross: bool,
    lens: Vec<usize>,
    side: PaddingSide,
    dropout: bool,
}

const HIDDEN: usize = 6;
const SOURCE: [usize; 2] = [3, 2];

fn setups() -> impl Strategy<Value = Setup> {
    let (flat, peaked) = (0.5, 500.0);
    let over = any_variant!(NormOver: Head, EachHead, Token);
    let query_key_norm = (norm_kind(), over, any::<bool>()).prop_map(|(kind, over, after_rotation)| QueryKeyNorm {
        norm: NormConfig { kind, epsilon: 1e-5 },
        over,
        after_rotation,
    });
    let query_key_norm = prop::option::of(query_key_norm);
    let scales = prop_oneof![Just(flat), Just(peaked)];
    let attention = (1..=2usize, 1..=2usize, any::<[bool; 2]>(), query_key_norm, any::<[bool; 4]>(), scales);
    let attention = attention.prop_map(
        |(n_kv_heads, group, [qkv_bias, output_bias], query_key_norm, [cap, sinks, window, growth], scale)| {
            AttentionConfig {
                n_heads: n_kv_heads * group,
                n_kv_heads,
                head_dim: 4,
                scale,
                qkv_bias,
                output_bias,
                query_key_norm,
                query_growth: growth.then_some(QueryGrowth { rate: 0.4, positions: 2.0 }),
                soft_cap: cap.then_some(1.5),
                sinks,
                windows: vec![window.then_some(2)],
            }
        },
    );
    let rotary = |dim, interleaved| RotaryConfig {
        dim,
        theta: 100.0,
        interleaved,
        scaling: RotaryScaling::None,
        attention_factor: 1.0,
        max_positions: 8,
    };
    let positions = prop_oneof![
        Just(Positions::Learned { offset: 0, rows: 8 }),
        Just(Positions::Rotary(rotary(2, false))),
        Just(Positions::Rotary(rotary(4, true))),
        Just(Positions::RotaryByLayer { rotations: vec![rotary(2, false), rotary(4, false)], layers: vec![Some(1)] }),
        Just(Positions::RotaryByLayer { rotations: vec![rotary(4, true)], layers: vec![None] }),
        any::<bool>().prop_map(|by_layer| Positions::RelativeBias {
            buckets: 4,
            max_distance: 4,
            by_layer,
            made_for: None
        }),
        Just(Positions::Alibi { made_for: None }),
    ];
    let feed_forward = (1..=5usize, activations(), any::<[bool; 2]>());
    let feed_forward = feed_forward.prop_map(|(size, activation, [gated, bias])| FeedForwardConfig {
        size,
        activation,
        gated,
        gate_limit: None,
        bias,
    });
    let placement = any_variant!(NormPlacement: Pre, Post, Sandwich, Output);
    let residual = any_variant!(Residual: Sequential, Parallel, Scaled(0.3));
    let around = (norm_kind(), placement, residual, any::<[bool; 4]>(), prop::collection::vec(2..=4usize, 1..=2));
    (attention, positions, feed_forward, around).prop_map(|(attention, positions, feed_forward, around)| {
        let (kind, norm_placement, residual, [cross, left, dropout, first_norm], lens) = around;
        let config = StackConfig {
            n_layers: 1,
            bidirectional: false,
            embedding_scale: 1.0,
            embedding_size: None,
            projected_last: false,
            token_types: None,
            first_norm,
            embedding_norm: false,
            positions,
            norm: NormConfig { kind, epsilon: 1e-5 },
            norm_placement,
            final_norm: false,
            residual: if cross && residual == Residual::Parallel { Residual::Sequential } else { residual },
            attention,
            feed_forward,
            experts: None,
            dropout: DropoutRates {
                attention: Some(0.3),
                residual: Some(0.2),
                activation: Some(0.25),
                ..DropoutRates::default()
            },
        };
        let side = if left { PaddingSide::Left } else { PaddingSide::Right };
        Setup { config, cross, lens, side, dropout }
    })
}

impl Setup {
    /// The greatest number that its parts multiply by.
    fn largest(&self) -> f64 {
        self.config.attention.scale.max(1.0)
    }

    fn targets(&self) -> TokenBatch {
        batch(&self.lens, self.side)
    }

    fn source(&self) -> Option<TokenBatch> {
        self.cross.then(|| batch(&SOURCE[..self.lens.len()], PaddingSide::Right))
    }

    /// The stack, and what surrounds its block.
    fn load(&self, parameters: &Parameters<'_, B>, dtype: DType) -> (Stack<B>, Tables<B>, BlockAround<B>) {
        let stack = Stack::load(parameters, "decoder", [2, HIDDEN], &self.config, self.cross).unwrap();
        let passes = (0..self.lens.len() as u32).map(|text| NoisyPass { text, sample: 0 }).collect();
        let dropout = if self.dropout { Dropout::On { seed: 3, passes, rates: None } } else { Dropout::Off };
        let (tables, around) = stack.surroundings(&self.targets(), self.source().as_ref(), &dropout, dtype);
        (stack, tables, around)
    }

    /// What the block reads.
    fn inputs(&self) -> Streams<Tensor<B, 2>> {
        let rows = |batch: &TokenBatch| batch.len() * batch.width();
        let x = random(11, [rows(&self.targets()), HIDDEN]);
        Streams { x, memory: self.source().map(|source| random(12, [rows(&source), HIDDEN])) }
    }

    /// Places of padding: `(text, place)`.
    fn padding(&self) -> Vec<(usize, usize)> {
        let targets = self.targets();
        let rows = (0..targets.len()).flat_map(|text| (0..targets.width()).map(move |place| (text, place)));
        rows.filter(|&(text, place)| targets.position(text, place).is_none()).collect()
    }
}

/// The gradients of a block's inputs by each rule, computed in one element type.
fn block_gradients(setup: &Setup, dtype: DType, nudge: Nudge) -> Vec<(&'static str, Vec<Vec<f64>>)> {
    parameters_as(dtype, nudge, |parameters| {
        let (stack, _, around) = setup.load(parameters, dtype);
        let nudged = |seed, x: Tensor<B, 2>| {
            let mut x = x.into_data().convert::<f64>();
            x.as_mut_slice().map(|values| nudge.apply(seed, values)).unwrap();
            Tensor::<B, 2>::from_data(x, (&Default::default(), DType::F64))
        };
        let Streams { x, memory } = setup.inputs();
        let (x, memory) = (nudged(1, x), memory.map(|memory| nudged(2, memory)));
        let case = Case {
            name: format!("block in {dtype:?} of {setup:?}"),
            part: stack.blocks[0].clone(),
            around,
            x: Streams { x: x.cast(dtype), memory: memory.map(|memory| memory.cast(dtype)) },
            texts: setup.lens.len(),
            padding: setup.padding(),
            first: None,
            has_rules: true,
            conserves: false,
            largest: setup.largest(),
        };
        let (_, tape) = case.part.record(case.x.clone(), &case.around);
        let (_, baseline) = case.part.record(case.baseline(), &case.around);
        let gradients = |rule: Rule<_>| {
            let grad = case.all(case.everywhere(1, case.width()).cast(dtype));
            (rule.name(), case.back(&tape, rule, &case.around, grad))
        };
        case.rules(&baseline).into_iter().map(gradients).collect()
    })
}

/// Checks a block, its branches and their bodies.
fn check_block(setup: &Setup) {
    parameters(|parameters| {
        let config = &setup.config;
        let (stack, tables, around) = setup.load(parameters, DType::F64);
        let targets = setup.targets();
        let (texts, width, count) = (targets.len(), targets.width(), targets.width() - 1);
        let places = Places::first(count, texts, width, &Default::default());
        let first = around.first(&places, &tables.first(&places));
        let Streams { x, memory } = setup.inputs();
        let padding = setup.padding();
        macro_rules! check {
            ($name:literal, $part:expr, $x:expr, $around:expr, $first:expr, $conserves:expr) => {
                check(&Case {
                    name: format!("{} of {setup:?}", $name),
                    part: $part.clone(),
                    around: $around.clone(),
                    x: $x,
                    texts,
                    padding: padding.clone(),
                    first: Some((count, $first.clone())),
                    has_rules: true,
                    conserves: $conserves,
                    largest: setup.largest(),
                })
            };
        }
        let block = &stack.blocks[0];
        let own = Streams { x: x.clone(), memory: None };
        let both = Streams { x: x.clone(), memory };
        let branch = &block.self_attention;
        let (at, at_first) = (&around.self_attention, &first.self_attention);
        check!("self-attention", branch.body, own.clone(), at.body, at_first.body, false);
        check!("branch of self-attention", branch, own, at, at_first, false);
        if let (Some(branch), Some(at), Some(at_first)) =
            (&block.cross_attention, &around.cross_attention, &first.cross_attention)
        {
            check!("cross-attention", branch.body, both.clone(), at.body, at_first.body, false);
            check!("branch of cross-attention", branch, both.clone(), at, at_first, false);
        }
        let branch = &block.feed_forward;
        let (at, at_first) = (&around.feed_forward, &first.feed_forward);
        check!("feed-forward", branch.body, x.clone(), at.body, at_first.body, !config.feed_forward.bias);
        check!("branch of feed-forward", branch, x, at, at_first, false);
        check!("block", block, both, around, first, false);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_and_what_they_are_made_of(setup in setups()) {
        check_block(&setup);
    }

    #[test]
    fn every_rule_works_in_every_element_type(mut setup in setups()) {
        // Rounded scores of peaked attention are other scores, and beyond a kink the gradient is another.
        setup.config.attention.scale = 0.5;
        if setup.config.feed_forward.activation == Activation::Relu {
            setup.config.feed_forward.activation = Activation::Silu;
        }
        let types = [(DType::F32, 24, 1e-3), (DType::F16, 11, 0.1), (DType::BF16, 8, 0.5)];
        for (dtype, bits, tolerance) in types {
            let rounding = f64::powi(2.0, -bits);
            // A norm of a few units that are nearly alike divides by little more than ε: rounding would be all that is left.
            let epsilon = if dtype == DType::BF16 { 1.0 } else { 0.1 };
            setup.config.norm.epsilon = epsilon;
            setup.config.attention.query_key_norm.iter_mut().for_each(|query_key| query_key.norm.epsilon = epsilon);
            let exact = |most, seed| block_gradients(&setup, DType::F64, Nudge { most, seed });
            let expected = exact(0.0, 0);
            // Where rounding of the inputs and the parameters moves a gradient, rounding on the way moves it some times as far.
            let nudged: Vec<_> = (0..4).map(|seed| exact(rounding, seed)).collect();
            for (index, (rule, ours)) in block_gradients(&setup, dtype, Nudge::default()).iter().enumerate() {
                for (input, (ours, expected)) in ours.iter().zip(&expected[index].1).enumerate() {
                    let moved = nudged.iter().map(|nudged| farthest(&nudged[index].1[input], expected)).fold(0.0, f64::max);
                    let scale = expected.iter().fold(1e-3, |scale: f64, value| scale.max(value.abs()));
                    let (error, allowed) = (farthest(ours, expected), (tolerance * scale).max(16.0 * moved));
                    assert!(error <= allowed, "{rule} in {dtype:?}, input {input}: off by {error}, more than {allowed} (scale {scale}), {setup:?}");
                }
            }
        }
    }
}

/// The greatest difference of two elements; infinite where one is not a number.
fn farthest(ours: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let differences = ours.iter().zip(expected).map(|(ours, expected)| (ours - expected).abs());
    differences.fold(0.0, |most: f64, difference| {
        if difference <= most {
            most
        } else if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        }
    })
}
