//! The laws for the parts of the transformer, over sizes and options.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use stepfn_kernels::Cotangents;

use super::encoders::ENCODER;
use super::{B, Case, check, noise, random};
use crate::ModelError;
use crate::config::{
    Activation, ExpertsConfig, FeedForwardConfig, HeadConfig, NormConfig, NormKind, SharedExpert, TransformConfig,
    Weighing, Xielu,
};
use crate::families;
use crate::names::whole;
use crate::parameters::Parameters;
use crate::source::{StoredTensor, TensorSource};
use crate::transformer::activation::Phi;
use crate::transformer::experts::Experts;
use crate::transformer::feed_forward::FeedForward;
use crate::transformer::norm::Norm;
use crate::transformer::part::{Forward, Part};
use crate::transformer::rule::{Rule, Saved};
use crate::transformer::{Head, Linear, PaddingSide, TokenBatch};

/// A source that has every tensor, with random values that depend on its name.
struct Random(Nudge);

/// By how much numbers are changed before a computation: relative, the greatest, by a seed.
#[derive(Clone, Copy, Default)]
pub(super) struct Nudge {
    pub(super) most: f64,
    pub(super) seed: u64,
}

impl Nudge {
    pub(super) fn apply(self, seed: u64, values: &mut [f64]) {
        let changes = noise(self.seed.wrapping_add(seed), values.len());
        values.iter_mut().zip(changes).for_each(|(value, change)| *value *= 1.0 + self.most * change);
    }
}

impl TensorSource<B> for Random {
    fn names(&self) -> Vec<String> {
        vec![]
    }

    fn contains(&self, _tensor: &str) -> bool {
        true
    }

    fn location(&self, _tensor: &str) -> &Path {
        Path::new("(random tensors)")
    }

    fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device<B>,
    ) -> Result<StoredTensor<B>, ModelError> {
        let mut hasher = DefaultHasher::new();
        tensor.hash(&mut hasher);
        let mut values = noise(hasher.finish(), shape.iter().product());
        if tensor.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value = 1.0 + 0.5 * *value);
        }
        self.0.apply(hasher.finish(), &mut values);
        Ok(StoredTensor::from_data(TensorData::new(values, shape.to_vec()), dtype, device))
    }
}

/// Parameters by our own names, in double precision.
pub(super) fn parameters(make: impl FnOnce(&Parameters<'_, B>)) {
    parameters_as(DType::F64, Nudge::default(), make);
}

/// The same in any precision.
pub(super) fn parameters_as<T>(dtype: DType, nudge: Nudge, make: impl FnOnce(&Parameters<'_, B>) -> T) -> T {
    let names = [
        "head",
        "head.transform",
        "head.norm",
        "decoder.embedding",
        "decoder.positions",
        "decoder.relative_bias",
        "decoder.layers.{}.relative_bias",
        "decoder.layers.{}.self_attention.query",
        "decoder.layers.{}.self_attention.key",
        "decoder.layers.{}.self_attention.value",
        "decoder.layers.{}.self_attention.output",
        "decoder.layers.{}.self_attention",
        "decoder.layers.{}.self_attention.query_norm",
        "decoder.layers.{}.self_attention.key_norm",
        "decoder.layers.{}.self_attention_norm",
        "decoder.layers.{}.self_attention_post_norm",
        "decoder.layers.{}.cross_attention.query",
        "decoder.layers.{}.cross_attention.key",
        "decoder.layers.{}.cross_attention.value",
        "decoder.layers.{}.cross_attention.output",
        "decoder.layers.{}.cross_attention",
        "decoder.layers.{}.cross_attention.query_norm",
        "decoder.layers.{}.cross_attention.key_norm",
        "decoder.layers.{}.cross_attention_norm",
        "decoder.layers.{}.cross_attention_post_norm",
        "decoder.layers.{}.feed_forward.activation",
        "decoder.layers.{}.feed_forward.gate",
        "decoder.layers.{}.feed_forward.up",
        "decoder.layers.{}.feed_forward.down",
        "decoder.layers.{}.feed_forward.router",
        "decoder.layers.{}.feed_forward.experts.{}.gate",
        "decoder.layers.{}.feed_forward.experts.{}.up",
        "decoder.layers.{}.feed_forward.experts.{}.down",
        "decoder.layers.{}.feed_forward.shared.gate",
        "decoder.layers.{}.feed_forward.shared.up",
        "decoder.layers.{}.feed_forward.shared.down",
        "decoder.layers.{}.feed_forward.shared_gate",
        "decoder.layers.{}.feed_forward_norm",
        "decoder.layers.{}.feed_forward_post_norm",
    ];
    let family = families::find("gpt2").unwrap();
    let names = names.iter().chain(&ENCODER).map(|name| whole(name, name)).collect();
    make(&Parameters::new(&Random(nudge), family, names, dtype, &Default::default()))
}

/// Texts of these lengths.
pub(super) fn batch(lens: &[usize], side: PaddingSide) -> TokenBatch {
    TokenBatch::new(lens.iter().map(|&len| vec![1; len]).collect(), 2, side).unwrap()
}

fn sizes() -> impl Strategy<Value = [usize; 4]> {
    (1..=2usize, 2..=4usize, 1..=5usize, 1..=5usize).prop_map(|(texts, width, a, b)| [texts, width, a, b])
}

/// Any of an enum's variants. One that is not named here doesn't compile.
macro_rules! any_variant {
    ($of:ident: $($variant:ident $(($value:expr))?),* $(,)?) => {{
        let _all: fn(&$of) = |of| match of {
            $($of::$variant { .. } => {})*
        };
        prop_oneof![$(Just($of::$variant $(($value))?)),*]
    }};
}
pub(super) use any_variant;

pub(super) fn norm_kind() -> impl Strategy<Value = NormKind> {
    any_variant!(NormKind: LayerNorm, RmsNorm, RmsNormPlusOne, LayerNormWithoutBias, LayerNormPlusOne, LayerNormWithoutWeight)
}

pub(super) fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Relu),
        Just(Activation::Silu),
        Just(Activation::Gelu),
        Just(Activation::GeluTanh),
        Just(Activation::GeluQuick),
        Just(Activation::ReluSquared),
        Just(Activation::Xielu(Xielu { positive: 0.9, negative: 1.2, linear: 0.4 })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mixtures_of_experts(
        [texts, width, hidden, size] in sizes(), (count, per_token) in (2..=5usize).prop_flat_map(|count| (Just(count), 1..=count)),
        activation in activations().prop_filter("numbers of its own", |phi| !matches!(phi, Activation::Xielu(_))),
        weighing in any_variant!(Weighing: OfAll, OfChosen),
        shared in proptest::option::of((1..=4usize, any::<bool>())), [gated, bias, router_bias] in any::<[bool; 3]>(),
        gate_limit in proptest::option::of(0.1..0.6f64),
    ) {
        parameters(|parameters| {
            let shared = shared.map(|(size, gated)| SharedExpert { size, gated });
            let experts = ExpertsConfig { count, per_token, size, weighing, router_bias, shared, capacity: None, layers: vec![true] };
            let config = FeedForwardConfig { size, activation, gated, gate_limit: gate_limit.filter(|_| gated), bias };
            let part = Experts::load(parameters, "decoder.layers.0.feed_forward", hidden, &config, &experts).unwrap();
            let case = Case::rowwise(format!("{experts:?}"), part, None, random(6, [texts * width, hidden]), texts);
            check(&Case { first: Some((width - 1, None)), has_rules: false, ..case });
        });
    }

    #[test]
    fn clamped_gates(
        [texts, width, hidden, size] in sizes(), gate_limit in 0.1..0.8f64, bias: bool,
        activation in activations().prop_filter("numbers of its own", |phi| !matches!(phi, Activation::Xielu(_))),
    ) {
        parameters(|parameters| {
            let config = FeedForwardConfig { size, activation, gated: true, gate_limit: Some(gate_limit), bias };
            let part = FeedForward::load(parameters, "decoder.layers.0.feed_forward", hidden, &config).unwrap();
            let case = Case::rowwise(format!("{config:?}"), part, None, random(6, [texts * width, hidden]), texts);
            let case = Case { first: Some((width - 1, None)), has_rules: false, ..case };
            check(&case);
            let (output, tape) = case.part.record(case.x.clone(), &None);
            for rule in [Rule::AttnLrp, Rule::DeepLift { baseline: &tape }] {
                let expected = ModelError::NoRule { part: "clamped gate", rule: rule.name() };
                let refused = case.part.backward(Saved::new(&tape, rule), &None, case.all(output.ones_like()));
                assert_eq!(refused.unwrap_err(), expected);
            }
        });
    }

    #[test]
    fn linear_layers([texts, width, inputs, outputs] in sizes(), bias: bool) {
        parameters(|parameters| {
            let part = Linear::load(parameters, "head", [inputs, outputs], bias, None).unwrap();
            let case = Case::rowwise("linear layer".to_owned(), part, (), random(1, [texts * width, inputs]), texts);
            check(&Case { first: Some((width - 1, ())), conserves: true, ..case });
        });
    }

    #[test]
    fn normalizations([texts, width, size, _] in sizes(), kind in norm_kind()) {
        parameters(|parameters| {
            let config = NormConfig { kind, epsilon: 1e-5 };
            let part = Norm::load(parameters, "decoder.layers.0.self_attention_norm", size + 1, config).unwrap();
            let x = random(2, [texts * width, size + 1]);
            let case = Case::rowwise(format!("{kind:?}"), part, (), x, texts);
            check(&Case { first: Some((width - 1, ())), conserves: true, ..case });
        });
    }

    #[test]
    fn nonlinearities([texts, width, size, _] in sizes(), activation in activations()) {
        let x = random(3, [texts * width, size]).mul_scalar(3.0);
        let case = Case::rowwise(format!("{activation:?}"), Phi(activation), (), x, texts);
        check(&Case { first: Some((width - 1, ())), conserves: true, ..case });
    }

    /// Close to 0 too, where some have a corner.
    #[test]
    fn multipliers_of_small_steps_are_exact(activation in activations(), x in -0.01..0.01, x0 in -0.01..0.01) {
        let [x, x0, one] = [x, x0, 1.0].map(|value: f64| Tensor::<B, 2>::from_data([[value]], &Default::default()).cast(DType::F64));
        let saved = Saved::new(&x, Rule::DeepLift { baseline: &x0 });
        let multiplier = Phi(activation).pull(saved, one, Cotangents::one_each(1));
        let phi = |x: &Tensor<B, 2>| Phi(activation).forward(x.clone(), &());
        let missing = phi(&x) - phi(&x0) - multiplier * (x - x0);
        let missing: f64 = missing.into_data().iter::<f64>().map(f64::abs).sum();
        // The derivative halfway misses Δ³/24 of a third derivative.
        prop_assert!(missing < 1e-7, "{activation:?}: {missing}");
    }

    #[test]
    fn heads(
        [texts, width, hidden, vocab] in sizes(),
        [scaled, capped, bias] in any::<[bool; 3]>(),
        transform in prop::option::of((activations(), norm_kind(), any::<bool>())),
    ) {
        parameters(|parameters| {
            let scale = if scaled { 0.7 } else { 1.0 };
            let transform = transform.map(|(activation, kind, bias)| {
                TransformConfig { activation, norm: NormConfig { kind, epsilon: 1e-5 }, bias }
            });
            let config = HeadConfig { transform, tied: false, scale, bias, soft_cap: capped.then_some(1.2) };
            // Another width between, where there is anything between.
            let between = if transform.is_some() { hidden + 1 } else { hidden };
            let part = Head::load(parameters, [hidden, between, vocab], &config).unwrap();
            let name = format!("head {config:?}");
            let case = Case::rowwise(name, part, (), random(4, [texts * width, hidden]), texts);
            check(&Case { first: Some((width - 1, ())), conserves: !bias && transform.is_none(), ..case });
        });
    }
}
