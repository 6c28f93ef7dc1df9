//! The nonlinearities φ of feed-forwards, gated (Shazeer 2020, arXiv:2002.05202: `φ(gate) ⊙ up`) or not.

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use burn::tensor::{Tensor, activation, backend::Backend};

use crate::Cotangents;

/// The nonlinearity of a feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    composed(x, activation)
}

/// The gradient of `x`, `grad ⊙ φ'(x)`, for the gradients `grad` of [`activate`]'s result.
///
/// # Shapes
/// - `x`: `[texts · width, d]`
/// - `grad`, result: `[texts · per_text · width, d]`
///
/// # Panics
/// If shapes don't fit together.
pub fn activate_backward<B: Backend>(
    x: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    composed_backward(x, activation, grad, cotangents)
}

/// `φ(gate) ⊙ up`.
///
/// # Shapes
/// - `gate`, `up`, result: `[rows, d]`
///
/// # Panics
/// If shapes don't fit together.
pub fn gated<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    composed_gated(gate, up, activation)
}

/// The gradients of `gate` and `up`, `grad ⊙ up ⊙ φ'(gate)` and `grad ⊙ φ(gate)`, for the gradients `grad` of [`gated`]'s result.
///
/// # Shapes
/// - `gate`, `up`: `[texts · width, d]`
/// - `grad`, results: `[texts · per_text · width, d]`
///
/// # Panics
/// If shapes don't fit together.
pub fn gated_backward<B: Backend>(
    gate: &Tensor<B, 2>,
    up: &Tensor<B, 2>,
    activation: Activation,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    composed_gated_backward(gate, up, activation, grad, cotangents)
}

fn composed<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    match activation {
        Activation::Relu => activation::relu(x),
        Activation::Silu => x.clone() * activation::sigmoid(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let tanh = tanh_of_gelu(x.clone());
            x.mul_scalar(0.5) * tanh.add_scalar(1)
        }
        Activation::GeluQuick => x.clone() * activation::sigmoid(x.mul_scalar(QUICK)),
    }
}

/// `tanh(√(2/π) (x + 0.044715 x³))`.
fn tanh_of_gelu<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let cubic = x.clone().powi_scalar(3).mul_scalar(CUBIC);
    (x + cubic).mul_scalar((2.0 / PI).sqrt()).tanh()
}

/// `φ'(x)`, and 0 for relu at 0.
fn derivative<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    match activation {
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
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, assert_same, autodiff, double, noise, one_by_one};
    use burn::tensor::DType;
    use proptest::prelude::*;

    const ALL: [Activation; 5] =
        [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::GeluQuick];

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
