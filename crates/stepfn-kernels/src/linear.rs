//! Linear layers: `y = x W + b`. The gradient of their input is a linear layer too, with `Wᵀ` for `W`.
//!
//! A weight that lies in memory as `Wᵀ`, as checkpoints have it, is read a row of outputs at a time, and the product's own layout would
//! have it transposed first: for few rows that takes longer than the product itself. So few rows are computed as `yᵀ = Wᵀ xᵀ`, which reads
//! both factors as they lie, and the result, which is small, is transposed while the bias is added. With two cores and 768 inputs and
//! outputs that takes 0.4 instead of 0.9 ms at 32 rows, as long as with a weight that lies in memory as `W`.

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
    #[cfg(feature = "flex")]
    if let Some(y) = fused::linear(&x, weight, bias) {
        return y;
    }
    composed(x, weight, bias)
}

fn composed<B: Backend>(x: Tensor<B, 2>, weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    let y = x.matmul(weight.clone());
    match bias {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

#[cfg(feature = "flex")]
mod fused {
    use burn::tensor::{Tensor, backend::Backend};
    use rayon::prelude::*;

    use crate::host::HostRows;
    use crate::host::flex::{self, Strided};
    use crate::product::{Before, Matrix, MatrixMut, product};

    /// Rows up to which transposing the result is cheaper than transposing the weight; more of them for many inputs, a quarter of their
    /// number: the outputs of such a weight are so far apart in memory that they push each other out of the cache.
    const FEW: usize = 256;
    /// Multiplications from which on more than one core is faster.
    const PARALLEL_MIN: usize = 1 << 21;
    /// Elements that a core writes at a time.
    const BLOCK: usize = 1 << 14;

    pub(super) fn linear<B: Backend>(
        x: &Tensor<B, 2>,
        weight: &Tensor<B, 2>,
        bias: Option<&Tensor<B, 2>>,
    ) -> Option<Tensor<B, 2>> {
        let (x, weight) = (Strided::of(x)?, Strided::of(weight)?);
        let ([rows, inputs], outputs) = (x.size(), weight.size()[1]);
        let bias = match bias {
            Some(bias) => Some(HostRows::of(bias).filter(|bias| bias.as_slice().len() == outputs)?),
            None => None,
        };
        if inputs != weight.size()[0] || outputs == 0 {
            return None;
        }
        let bias = bias.as_ref().map(HostRows::as_slice);
        let parallel = rows * inputs * outputs >= PARALLEL_MIN;
        let transposed = weight.strides()[0] == 1;
        let (x, weight) = (x.matrix(), weight.matrix());
        let y = match rows {
            1 => one_row(x, weight, bias, parallel),
            _ if transposed && rows <= FEW.max(inputs / 4) => few_rows(x, weight, bias, parallel),
            _ => {
                let mut y = repeated(bias, rows, outputs);
                let before = if bias.is_some() { Before::Kept } else { Before::Dropped };
                product(&mut MatrixMut::new(&mut y, [rows, outputs], outputs), before, 1.0, x, weight, parallel);
                y
            }
        };
        Some(flex::made(y, [rows, outputs]))
    }

    /// The bias, or 0, in every row.
    fn repeated(bias: Option<&[f32]>, rows: usize, outputs: usize) -> Vec<f32> {
        let mut y = vec![0.0; rows * outputs];
        if let Some(bias) = bias {
            let of_block = |block: &mut [f32]| block.chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias));
            y.par_chunks_mut((BLOCK / outputs).max(1) * outputs).for_each(of_block);
        }
        y
    }

    /// One row is no work to share for a product; some outputs for each core are.
    fn one_row(x: Matrix, weight: Matrix, bias: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        let [inputs, outputs] = weight.size();
        let mut y = repeated(bias, 1, outputs);
        let each = if parallel { outputs.div_ceil(rayon::current_num_threads()).next_multiple_of(64) } else { outputs };
        y.par_chunks_mut(each).enumerate().for_each(|(index, y)| {
            let weight = weight.block(0..inputs, index * each..index * each + y.len());
            let (before, size) = (if bias.is_some() { Before::Kept } else { Before::Dropped }, y.len());
            product(&mut MatrixMut::new(y, [1, size], size), before, 1.0, x, weight, false);
        });
        y
    }

    /// `y = (Wᵀ xᵀ)ᵀ + b`.
    fn few_rows(x: Matrix, weight: Matrix, bias: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        /// Rows and columns that are transposed at a time: a cache line of each.
        const TILE: usize = 16;
        let (rows, outputs) = (x.size()[0], weight.size()[1]);
        let mut turned = vec![0.0; rows * outputs];
        let target = &mut MatrixMut::new(&mut turned, [outputs, rows], rows);
        product(target, Before::Dropped, 1.0, weight.transposed(), x.transposed(), parallel);

        let mut y = vec![0.0; rows * outputs];
        let of_block = |(first, block): (usize, &mut [f32])| {
            for start in (0..outputs).step_by(TILE) {
                let columns = start..(start + TILE).min(outputs);
                for (row, y) in block.chunks_exact_mut(outputs).enumerate() {
                    for (y, column) in y[columns.clone()].iter_mut().zip(columns.clone()) {
                        *y = turned[column * rows + first * TILE + row] + bias.map_or(0.0, |bias| bias[column]);
                    }
                }
            }
        };
        let blocks = y.par_chunks_mut(TILE * outputs).enumerate();
        blocks.with_min_len(if parallel { 1 } else { rows }).for_each(of_block);
        y
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
            (rows, inputs, outputs) in (prop_oneof![Just(1usize), Just(600), 2..40usize], 1usize..70, 1usize..200),
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
