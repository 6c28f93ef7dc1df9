//! Linear layers: `y = x W + b`. The gradient of their input is a linear layer too, with `Wᵀ` for `W`.

use burn::tensor::{Tensor, backend::Backend};

/// `x W + b`.
///
/// # Shapes
/// - `x`: `[rows, in]`
/// - `weight`: `[in, out]`; a transposed view of `[out, in]` is read where it lies
/// - `bias`: `[1, out]`
/// - result: `[rows, out]`
///
/// # Panics
/// If shapes don't fit together.
pub fn linear<B: Backend>(x: Tensor<B, 2>, weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    composed(x, weight, bias)
}

fn composed<B: Backend>(x: Tensor<B, 2>, weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    let y = x.matmul(weight.clone());
    match bias {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, assert_same, noise};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_routes_agree(
            (rows, inputs, outputs) in (1usize..40, 1usize..70, 1usize..70),
            (transposed, bias) in any::<(bool, bool)>(),
        ) {
            fn run<B: Backend>(x: [usize; 2], outputs: usize, transposed: bool, bias: bool) -> Tensor<B, 2> {
                let weight = match transposed {
                    true => noise::<B, 2>([outputs, x[1]], 2).transpose(),
                    false => noise([x[1], outputs], 2),
                };
                linear(noise(x, 1), &weight, bias.then(|| noise([1, outputs], 3)).as_ref())
            }
            let flex = run::<Flex>([rows, inputs], outputs, transposed, bias);
            assert_same(&flex, &run::<NdArray>([rows, inputs], outputs, transposed, bias), 1e-5);
        }
    }
}
