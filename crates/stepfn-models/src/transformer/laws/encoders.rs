//! The laws for what encoders alone have: windows to both sides, and biases of both directions.

use burn::tensor::DType;
use proptest::prelude::*;

use super::parts::{batch, parameters};
use super::{Case, check, random};
use crate::config::{
    Activation, AttentionConfig, DropoutRates, FeedForwardConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, StackConfig,
};
use crate::transformer::part::Streams;
use crate::transformer::{Dropout, PaddingSide, Stack};

const HIDDEN: usize = 6;

/// Parameters of an encoder with options that decoders don't show.
pub(super) const ENCODER: [&str; 11] = [
    "encoder.embedding",
    "encoder.layers.{}.relative_bias",
    "encoder.layers.{}.self_attention.query",
    "encoder.layers.{}.self_attention.key",
    "encoder.layers.{}.self_attention.value",
    "encoder.layers.{}.self_attention.output",
    "encoder.layers.{}.self_attention_norm",
    "encoder.layers.{}.feed_forward.gate",
    "encoder.layers.{}.feed_forward.up",
    "encoder.layers.{}.feed_forward.down",
    "encoder.layers.{}.feed_forward_norm",
];

/// An encoder whose tokens see their neighbours on both sides, and are biased by distance in each layer.
fn check_encoder(lens: &[usize], side: PaddingSide, window: usize) {
    let attention = AttentionConfig::multi_head(1, 2, 4, true);
    let config = StackConfig {
        n_layers: 1,
        bidirectional: true,
        embedding_scale: 1.0,
        embedding_size: None,
        projected_last: false,
        token_types: None,
        first_norm: true,
        embedding_norm: false,
        positions: Positions::RelativeBias { buckets: 4, max_distance: 4, by_layer: true, made_for: None },
        norm: NormConfig { kind: NormKind::RmsNorm, epsilon: 1e-5 },
        norm_placement: NormPlacement::Pre,
        final_norm: false,
        residual: Residual::Sequential,
        attention: AttentionConfig { windows: vec![Some(window)], ..attention },
        feed_forward: FeedForwardConfig {
            size: 3,
            activation: Activation::Silu,
            gated: true,
            gate_limit: None,
            bias: true,
        },
        experts: None,
        dropout: DropoutRates::default(),
    };
    let targets = batch(lens, side);
    let rows = (0..lens.len()).flat_map(|text| (0..targets.width()).map(move |place| (text, place)));
    let padding = rows.filter(|&(text, place)| targets.position(text, place).is_none()).collect();
    parameters(|parameters| {
        let stack = Stack::load(parameters, "encoder", [2, HIDDEN], &config, false).unwrap();
        let (_, around) = stack.surroundings(&targets, None, &Dropout::Off, DType::F64);
        for (text, length) in lens.iter().enumerate() {
            let first = targets.start(text);
            for query in 0..*length {
                let seen = query.saturating_sub(window - 1)..(query + window).min(*length);
                let found = around.self_attention.body.visible.range(text, first + query);
                assert_eq!(found, first + seen.start..first + seen.end);
            }
        }
        check(&Case {
            name: format!("encoder of {lens:?}, window {window}"),
            part: stack.blocks[0].clone(),
            around,
            x: Streams { x: random(11, [lens.len() * targets.width(), HIDDEN]), memory: None },
            texts: lens.len(),
            padding,
            first: None,
            has_rules: true,
            conserves: false,
            largest: 1.0,
        });
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoders_with_windows(lens in prop::collection::vec(2..=5usize, 1..=2), left: bool, window in 1..=4usize) {
        check_encoder(&lens, if left { PaddingSide::Left } else { PaddingSide::Right }, window);
    }
}
