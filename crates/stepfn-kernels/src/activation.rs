//! Feed-forward nonlinearities φ, plain or gated (`φ(gate) ⊙ up`; Shazeer 2020, arXiv:2002.05202).

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use burn::tensor::{Tensor, activation, backend::Backend};

use crate::host::{self, BlockKernel, HostRows};
use crate::lanes;
use crate::{Cotangents, narrowed, widened};

/// The nonlinearity of a feed-forward.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x · σ(x)` (also called swish).
    Silu,
    /// `x · Φ(x)` (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x · σ(1.702 x)`.
    GeluQuick,
    /// `max(x, 0)²` (So et al. 2021).
    ReluSquared,
    /// A parabola above 0, an exponential below (Huang & Schlag 2024, arXiv:2411.13010).
    Xielu(Xielu),
}

/// `αₚ x² + β x` above 0, and `αₙ (eˣ − 1 − x) + β x` below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xielu {
    /// αₚ
    pub positive: f64,
    /// αₙ
    pub negative: f64,
    /// β
    pub linear: f64,
}

/// The cubic term of [`Activation::GeluTanh`].
const CUBIC: f64 = 0.044_715;
/// The slope of [`Activation::GeluQuick`].
const QUICK: f64 = 1.702;

/// `φ(x)`, elementwise.
///
/// # Shapes
/// - `x`, result: `[rows, d]`
pub fn activate<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    match host::transform(x, &PhiKernel { activation, outcome: Outcome::Value }) {
        Ok(activated) => activated,
        Err(x) => composed(x, activation),
    }
}

/// The gradient of `x`, `grad ⊙ φ'(x)`, for the gradients `grad` of [`activate`]'s result.
///
/// # Shapes
/// - `x`: `[texts · width, d]`
/// - `grad`, result: `[texts · per_text · width, d]`
///
/// # Panics
/// If the shapes don't match.
pub fn activate_backward<B: Backend>(
    x: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    if host::is_host::<B>()
        && let Ok(slope) = host::transform(x.clone(), &PhiKernel { activation, outcome: Outcome::Slope })
    {
        return scaled(grad, slope, cotangents);
    }
    composed_backward(x, activation, grad, cotangents)
}

/// `φ(gate) ⊙ up`.
///
/// # Shapes
/// - `gate`, `up`, result: `[rows, d]`
///
/// # Panics
/// If the shapes don't match.
pub fn gated<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    let fused = |gate, up: &Tensor<B, 2>| match HostRows::of(up).filter(|_| up.dims() == Tensor::dims(&gate)) {
        Some(up) => host::transform(gate, &PhiKernel { activation, outcome: Outcome::ValueTimes(&up) }),
        None => Err(gate),
    };
    match fused(gate, &up) {
        Ok(gated) => gated,
        Err(gate) => composed_gated(gate, up, activation),
    }
}

/// The gradients of `gate` and `up`, `grad ⊙ up ⊙ φ'(gate)` and `grad ⊙ φ(gate)`, for the gradients `grad` of [`gated`]'s result.
///
/// # Shapes
/// - `gate`, `up`: `[texts · width, d]`
/// - `grad`, results: `[texts · per_text · width, d]`
///
/// # Panics
/// If the shapes don't match.
pub fn gated_backward<B: Backend>(
    gate: &Tensor<B, 2>,
    up: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    if let Some(rows) = HostRows::of(up).filter(|_| up.dims() == gate.dims())
        && let Ok(of_gate) =
            host::transform(gate.clone(), &PhiKernel { activation, outcome: Outcome::SlopeTimes(&rows) })
    {
        let of_up = activate(gate.clone(), activation);
        return (scaled(grad.clone(), of_gate, cotangents), scaled(grad, of_up, cotangents));
    }
    composed_gated_backward(gate, up, activation, grad, cotangents)
}

/// `φ(x)`. Half precision is widened, because powers of x overflow.
fn composed<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let x = widened(x);
    let activated = match activation {
        Activation::Relu => activation::relu(x),
        Activation::Silu => x.clone() * activation::sigmoid(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let tanh = tanh_of_gelu(x.clone());
            x.mul_scalar(0.5) * tanh.add_scalar(1)
        }
        Activation::GeluQuick => x.clone() * activation::sigmoid(x.mul_scalar(QUICK)),
        Activation::ReluSquared => activation::relu(x).powi_scalar(2),
        Activation::Xielu(Xielu { positive, negative, linear }) => {
            let (above, below) = (x.clone().clamp_min(0), x.clone().clamp_max(0));
            let exponential = (below.clone().exp().sub_scalar(1) - below).mul_scalar(negative);
            above.powi_scalar(2).mul_scalar(positive) + exponential + x.mul_scalar(linear)
        }
    };
    narrowed(activated, dtype)
}

/// `tanh(√(2/π) (x + 0.044715 x³))`.
fn tanh_of_gelu<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let cubic = x.clone().powi_scalar(3).mul_scalar(CUBIC);
    (x + cubic).mul_scalar((2.0 / PI).sqrt()).tanh()
}

/// `φ'(x)`, and 0 for relu at 0. Half precision is widened.
fn derivative<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let x = widened(x);
    let derivative = match activation {
        Activation::Relu => x.zeros_like().mask_fill(x.greater_elem(0), 1.0),
        Activation::Silu => sigmoid_derivative(x, 1.0),
        Activation::Gelu => {
            let distribution = x.clone().mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1).mul_scalar(0.5);
            let density = x.clone().powi_scalar(2).mul_scalar(-0.5).exp().mul_scalar((0.5 / PI).sqrt());
            distribution + x * density
        }
        Activation::GeluTanh => {
            let tanh = tanh_of_gelu(x.clone());
            let square = x.clone().powi_scalar(2);
            let slope = square.mul_scalar(3.0 * CUBIC).add_scalar(1).mul_scalar((2.0 / PI).sqrt());
            let bend = tanh.clone().powi_scalar(2).neg().add_scalar(1) * x * slope;
            (tanh.add_scalar(1) + bend).mul_scalar(0.5)
        }
        Activation::GeluQuick => sigmoid_derivative(x, QUICK),
        Activation::ReluSquared => activation::relu(x).mul_scalar(2),
        Activation::Xielu(Xielu { positive, negative, linear }) => {
            let exponential = x.clone().clamp_max(0).exp().sub_scalar(1).mul_scalar(negative);
            x.clamp_min(0).mul_scalar(2.0 * positive) + exponential.add_scalar(linear)
        }
    };
    narrowed(derivative, dtype)
}

/// The derivative of `x σ(slope x)`: `σ + slope x σ (1 − σ)`.
fn sigmoid_derivative<B: Backend>(x: Tensor<B, 2>, slope: f64) -> Tensor<B, 2> {
    let x = x.mul_scalar(slope);
    let sigmoid = activation::sigmoid(x.clone());
    sigmoid.clone() * (x * sigmoid.neg().add_scalar(1)).add_scalar(1)
}

fn composed_backward<B: Backend>(
    x: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    let derivative = cotangents.shared(derivative(x.clone(), activation));
    Cotangents::joined(cotangents.apart(grad) * derivative)
}

fn composed_gated<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    composed(gate, activation) * up
}

fn composed_gated_backward<B: Backend>(
    gate: &Tensor<B, 2>,
    up: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let grad = cotangents.apart(grad);
    let of_gate = cotangents.shared(derivative(gate.clone(), activation) * up.clone());
    let of_up = cotangents.shared(composed(gate.clone(), activation));
    (Cotangents::joined(grad.clone() * of_gate), Cotangents::joined(grad * of_up))
}

/// `grad ⊙ factor`; all cotangents of a text share the factor.
fn scaled<B: Backend>(grad: Tensor<B, 2>, factor: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
    let [rows, d] = grad.dims();
    let fits = |factor: &HostRows| factor.width() == d && cotangents.fit(rows, factor.len());
    let scaled = match HostRows::of(&factor).filter(fits) {
        Some(factor) => host::transform(grad, &ScaleKernel { factor: &factor, cotangents }),
        None => Err(grad),
    };
    scaled.unwrap_or_else(|grad| Cotangents::joined(cotangents.apart(grad) * cotangents.shared(factor)))
}

struct ScaleKernel<'a> {
    factor: &'a HostRows,
    cotangents: Cotangents,
}

impl BlockKernel for ScaleKernel<'_> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [f32]) {
        for (index, row) in rows.chunks_exact_mut(self.factor.width()).enumerate() {
            let saved = self.cotangents.saved_row(first + index, self.factor.len());
            for (g, factor) in row.iter_mut().zip(self.factor.row(saved)) {
                *g *= factor;
            }
        }
    }
}

/// What to compute for each element.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    /// φ.
    Value,
    /// φ'.
    Slope,
    /// φ times the given rows.
    ValueTimes(&'a HostRows),
    /// φ' times the given rows.
    SlopeTimes(&'a HostRows),
}

struct PhiKernel<'a> {
    activation: Activation,
    outcome: Outcome<'a>,
}

impl BlockKernel for PhiKernel<'_> {
    // Exponentials, divisions and polynomials: about 1 ns per element.
    const PARALLEL_MIN: usize = 1 << 15;

    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [f32]) {
        match self.activation {
            Activation::Relu => self.each(first, rows, relu),
            Activation::Silu => self.each(first, rows, |x| sigmoid_weighted(x, 1.0)),
            Activation::Gelu => self.each(first, rows, gelu),
            Activation::GeluTanh => self.each(first, rows, gelu_tanh),
            Activation::GeluQuick => self.each(first, rows, |x| sigmoid_weighted(x, QUICK as f32)),
            Activation::ReluSquared => self.each(first, rows, |x| {
                let (x, _) = relu(x);
                (x * x, 2.0 * x)
            }),
            Activation::Xielu(Xielu { positive, negative, linear }) => {
                let (positive, negative, linear) = (positive as f32, negative as f32, linear as f32);
                self.each(first, rows, |x| xielu(x, positive, negative, linear));
            }
        }
    }
}

impl PhiKernel<'_> {
    /// `phi` returns φ and φ' of an element; the compiler drops whichever is unused.
    #[inline(always)]
    fn each(&self, first: usize, rows: &mut [f32], phi: impl Fn(f32) -> (f32, f32)) {
        let factors = |factors: &'_ HostRows| {
            let start = first * factors.width();
            start..start + rows.len()
        };
        match self.outcome {
            Outcome::Value => rows.iter_mut().for_each(|x| *x = phi(*x).0),
            Outcome::Slope => rows.iter_mut().for_each(|x| *x = phi(*x).1),
            Outcome::ValueTimes(up) => {
                let up = &up.as_slice()[factors(up)];
                rows.iter_mut().zip(up).for_each(|(x, up)| *x = phi(*x).0 * up);
            }
            Outcome::SlopeTimes(up) => {
                let up = &up.as_slice()[factors(up)];
                rows.iter_mut().zip(up).for_each(|(x, up)| *x = phi(*x).1 * up);
            }
        }
    }
}

#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    // NaN stays NaN.
    if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
}

/// `x σ(k x)` and its derivative.
#[inline(always)]
fn sigmoid_weighted(x: f32, k: f32) -> (f32, f32) {
    let (sigmoid, bend) = sigmoid(k * x);
    (x * sigmoid, (k * x).mul_add(bend, sigmoid))
}

/// `x σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`, for `(1 + tanh u) / 2 = σ(2u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    /// `2 √(2/π)`
    const FACTOR: f32 = 1.595_769;
    const CUBIC: f32 = self::CUBIC as f32;
    let square = x * x;
    let (sigmoid, bend) = sigmoid(FACTOR * x * square.mul_add(CUBIC, 1.0));
    let slope = FACTOR * square.mul_add(3.0 * CUBIC, 1.0);
    (x * sigmoid, (x * slope).mul_add(bend, sigmoid))
}

#[inline(always)]
fn xielu(x: f32, positive: f32, negative: f32, linear: f32) -> (f32, f32) {
    let exponential = lanes::exp(-x.abs()) - 1.0;
    let below = (linear.mul_add(x, negative * (exponential - x)), negative.mul_add(exponential, linear));
    let above = (positive.mul_add(x, linear) * x, (2.0 * positive).mul_add(x, linear));
    if x > 0.0 { above } else { below }
}

/// `σ(x)` and `σ(x) (1 − σ(x))`.
#[inline(always)]
fn sigmoid(x: f32) -> (f32, f32) {
    let exp = lanes::exp(-x.abs());
    let inverse = 1.0 / (1.0 + exp);
    let small = exp * inverse;
    (if x < 0.0 { small } else { inverse }, small * inverse)
}

/// `x Φ(x)`. With `t = 1 / (1 + 0.3 |x|)`, `Φ(−|x|) = t p(t) exp(−x²/2)`; the polynomial is fitted to minimize the largest relative error
/// of Φ (1.3e-7) down to where Φ vanishes.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    /// `1 / √(2π)`
    const DENSITY: f32 = 0.398_942_3;
    let exp = lanes::exp(-0.5 * x * x);
    let t = 1.0 / x.abs().mul_add(0.3, 1.0);
    let p = 3.5931755e-02_f32;
    let p = p.mul_add(t, -1.5827608e-01);
    let p = p.mul_add(t, 2.0820673e-01);
    let p = p.mul_add(t, -5.5393945e-02);
    let p = p.mul_add(t, 1.2946925e-01);
    let p = p.mul_add(t, 9.963748e-02);
    let p = p.mul_add(t, 1.2079836e-01);
    let p = p.mul_add(t, 1.1962639e-01);
    let tail = p * t * exp;
    let distribution = if x < 0.0 { tail } else { 1.0 - tail };
    (x * distribution, (DENSITY * x).mul_add(exp, distribution))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, assert_same, autodiff, double, noise, one_by_one};
    use burn::tensor::DType;
    use proptest::prelude::*;

    const ALL: [Activation; 7] = [
        Activation::Relu,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::GeluQuick,
        Activation::ReluSquared,
        Activation::Xielu(Xielu { positive: 0.8, negative: 1.1, linear: 0.5 }),
    ];

    /// Forward and backward, plain and gated.
    fn everything<B: Backend>(
        activation: Activation,
        cotangents: Cotangents,
        [width, d]: [usize; 2],
        (dtype, scale): (DType, f32),
    ) -> [Tensor<B, 2>; 5] {
        let saved = cotangents.texts * width;
        let rows = |rows, seed| noise::<B, 2>([rows, d], seed).cast(dtype);
        let (x, up, grad) = (rows(saved, 1).mul_scalar(scale), rows(saved, 2), rows(cotangents.rows(saved), 3));
        let (of_gate, of_up) = gated_backward(&x, &up, activation, grad.clone(), cotangents);
        let backward = activate_backward(&x, activation, grad, cotangents);
        [activate(x.clone(), activation), gated(x, up, activation), backward, of_gate, of_up]
    }

    proptest! {
        #[test]
        fn both_routes_agree(
            (texts, per_text, width, d) in (1usize..4, 1usize..5, 1usize..9, 1usize..300),
            activation in prop::sample::select(&ALL),
            scale in prop_oneof![Just(0.1f32), Just(3.0), Just(10.0), Just(200.0)],
        ) {
            let cotangents = Cotangents { texts, per_text };
            let flex = everything::<Flex>(activation, cotangents, [width, d], (DType::F32, scale));
            let composed = everything::<NdArray>(activation, cotangents, [width, d], (DType::F32, scale));
            for (flex, composed) in flex.iter().zip(&composed) {
                assert_same(flex, composed, 1e-5);
            }
        }
    }

    #[test]
    fn backward_is_the_gradient() {
        let cotangents = Cotangents { texts: 2, per_text: 3 };
        let (x, up) = (double([2 * 4, 7], 1).mul_scalar(3), double([2 * 4, 7], 2));
        let grad = double([2 * 3 * 4, 7], 3);
        for activation in ALL {
            let found = everything::<Flex>(activation, cotangents, [4, 7], (DType::F64, 3.0));
            let plain = |grad| autodiff(&x, grad, |x| activate(x, activation));
            let of_gate = |grad| autodiff(&x, grad, |x| gated(x, Tensor::from_inner(up.clone()), activation));
            let of_up = |grad| autodiff(&up, grad, |up| gated(Tensor::from_inner(x.clone()), up, activation));
            assert_same(&found[2], &one_by_one(&grad, cotangents, plain), 1e-9);
            assert_same(&found[3], &one_by_one(&grad, cotangents, of_gate), 1e-9);
            assert_same(&found[4], &one_by_one(&grad, cotangents, of_up), 1e-9);
        }
    }
}
