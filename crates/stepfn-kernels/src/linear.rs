//! Linear layers: `y = x W + b`. The gradient of the input is a linear layer too, with `Wᵀ` instead of `W`.
//!
//! A matrix product reads its right factor row by row. Checkpoints store a weight as `Wᵀ`, so it must be transposed first, which for few
//! rows of `x` takes longer than the product itself. Few rows are therefore computed as `yᵀ = Wᵀ xᵀ`, so that only `x` and `y` need
//! transposing. For many rows, the product could transpose the weight by itself, but it is slow when rows are a power of two apart, which
//! they usually are; the weight is transposed part by part instead.

#[cfg(feature = "flex")]
pub(crate) mod stored;

use burn::tensor::{Tensor, backend::Backend};

/// `x W + b`.
///
/// # Shapes
/// - `x`: `[rows, in]`
/// - `weight`: `[in, out]`; a transposed view of `[out, in]` is read in place
/// - `bias`: `[1, out]`
/// - result: `[rows, out]`
///
/// # Panics
/// If the shapes don't match.
pub fn linear<B: Backend>(x: Tensor<B, 2>, weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    if let Some(y) = fused::linear(&x, weight, bias) {
        return y;
    }
    composed(x, weight, bias)
}

pub(crate) fn composed<B: Backend>(
    x: Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    bias: Option<&Tensor<B, 2>>,
) -> Tensor<B, 2> {
    let y = x.matmul(weight.clone());
    match bias {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

#[cfg(feature = "flex")]
mod fused {
    use crate::cores::{on_all_cores, on_all_cores_with};
    use crate::host::HostRows;
    use crate::host::flex::{self, Strided};
    use crate::product::{Before, Blocks, Divided, Matrix, MatrixMut, product_on_all_cores, product_until};
    use crate::watched::{Ends, is_moot, watched};
    use burn::tensor::{Tensor, backend::Backend};

    /// Number of multiplications from which on several cores are faster.
    pub(super) const PARALLEL_MIN: usize = 1 << 21;
    /// Elements that a core writes at a time.
    const BLOCK: usize = 1 << 14;
    /// If row lengths are multiples of this, neighbouring rows map to the same L1 cache sets (or to two). The product, which reads a few
    /// elements of many rows while packing them, then keeps evicting them. Transposing in tiles reads whole cache lines.
    pub(super) const COLLIDING: usize = 512;
    /// Rows and columns per transposed tile: one cache line of each.
    pub(super) const TILE: usize = 16;
    /// Elements of a weight that are transposed at a time: few enough to stay in cache, many enough that `x` is not packed too often.
    const NEAR: usize = 1 << 19;

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
        if is_moot(rows * inputs * outputs) {
            return Some(flex::made(vec![0.0; rows * outputs], [rows, outputs]));
        }
        let bias = bias.as_ref().map(HostRows::as_slice);
        let parallel = rows * inputs * outputs >= PARALLEL_MIN;
        let transposed = weight.strides()[0] == 1;
        let (x, weight) = (x.matrix(), weight.matrix());
        // A single row already is a column.
        let few = rows > 1 && rows * (inputs + outputs) <= inputs * outputs;
        let y = watched(rows * inputs * outputs, |ends| match (transposed, few) {
            (true, true) => few_rows(ends, x, weight, bias, parallel),
            (true, false) if rows > 1 && inputs % COLLIDING == 0 => by_parts(ends, x, weight, bias, parallel),
            _ => all_rows(ends, x, weight, bias, parallel),
        });
        Some(flex::made(y, [rows, outputs]))
    }

    /// The bias, or 0, repeated for every row.
    pub(super) fn repeated(bias: Option<&[f32]>, rows: usize, outputs: usize) -> Vec<f32> {
        let mut y = vec![0.0; rows * outputs];
        if let Some(bias) = bias {
            let of_block = |block: &mut [f32]| block.chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias));
            on_all_cores(y.chunks_mut((BLOCK / outputs).max(1) * outputs), of_block);
        }
        y
    }

    /// `y = [y +] left · right`, where the rows of `y` are contiguous.
    fn shared(
        ends: &Ends,
        y: &mut [f32],
        before: Before,
        (left, right): (Matrix, Matrix),
        weight: Divided,
        parallel: bool,
    ) {
        let size = [left.size()[0], right.size()[1]];
        match parallel {
            true => product_on_all_cores(ends, y, before, left, right, weight),
            false => product_until(ends, &mut MatrixMut::new(y, size, size[1]), before, left, right),
        }
    }

    /// `y = x W + b`, computed as written.
    fn all_rows(ends: &Ends, x: Matrix, weight: Matrix, bias: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        let mut y = repeated(bias, x.size()[0], weight.size()[1]);
        let before = if bias.is_some() { Before::Kept } else { Before::Dropped };
        shared(ends, &mut y, before, (x, weight), Divided::Right, parallel);
        y
    }

    /// `y = x W + b`, where the rows of `Wᵀ` are contiguous and are transposed part by part.
    fn by_parts(ends: &Ends, x: Matrix, weight: Matrix, bias: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        let ([rows, inputs], outputs) = (x.size(), weight.size()[1]);
        let mut y = repeated(bias, rows, outputs);
        let before = if bias.is_some() { Before::Kept } else { Before::Dropped };
        let tasks = if parallel { rayon::current_num_threads() } else { 1 };
        let each = outputs.div_ceil(tasks).min(NEAR / inputs).max(1).next_multiple_of(TILE);
        let blocks = Blocks::new(&mut y, outputs);
        let of_part = |near: &mut Vec<f32>, part: usize| {
            let columns = part * each..outputs.min((part + 1) * each);
            let (width, rows_of_part) = (columns.len(), weight.transposed().block(columns.clone(), 0..inputs));
            near.resize(inputs * width, 0.0);
            near.chunks_mut(TILE * width).enumerate().for_each(|tiles| turn(rows_of_part, tiles, width, None));
            // SAFETY: each part writes its own range of columns, so no two blocks overlap.
            #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
            let mut target = unsafe { blocks.block(0..rows, columns) };
            product_until(ends, &mut target, before, x, Matrix::new(near, [inputs, width], [width, 1]));
        };
        let parts = 0..outputs.div_ceil(each);
        if parallel {
            on_all_cores_with(parts, Vec::new, of_part);
        } else {
            let near = &mut Vec::new();
            parts.for_each(|part| of_part(near, part));
        }
        y
    }

    /// `y = (Wᵀ xᵀ)ᵀ + b`, where the rows of `Wᵀ` are contiguous.
    fn few_rows(ends: &Ends, x: Matrix, weight: Matrix, bias: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        let ([rows, inputs], outputs) = (x.size(), weight.size()[1]);
        // Whole tiles, which are whole vectors in the product too.
        let padded = rows.next_multiple_of(TILE);
        let columns = turned(x, padded, None, parallel);
        let columns = Matrix::new(&columns, [inputs, padded], [padded, 1]);
        let mut y = vec![0.0; outputs * padded];
        shared(ends, &mut y, Before::Dropped, (weight.transposed(), columns), Divided::Left, parallel);
        turned(Matrix::new(&y, [outputs, rows], [padded, 1]), outputs, bias, parallel)
    }

    /// Transposes `[rows, columns]` to `columns` rows of `width` elements, padded with 0, and adds a number to each row.
    pub(super) fn turned(from: Matrix, width: usize, plus: Option<&[f32]>, parallel: bool) -> Vec<f32> {
        let columns = from.size()[1];
        let mut to = vec![0.0; columns * width];
        let tiles = to.chunks_mut(TILE * width).enumerate();
        let turn = |tiles| turn(from, tiles, width, plus);
        if parallel {
            on_all_cores(tiles, turn)
        } else {
            tiles.for_each(turn)
        }
        to
    }

    /// The column of tiles with the given index, for [`turned`].
    fn turn(from: Matrix, (number, tiles): (usize, &mut [f32]), width: usize, plus: Option<&[f32]>) {
        let (rows, [stride, step]) = (from.size()[0], from.strides());
        let (first, across) = (number * TILE, tiles.len() / width);
        for start in (0..rows).step_by(TILE) {
            let down = TILE.min(rows - start);
            let mut tile = [[0.0; TILE]; TILE];
            for (row, tile) in (start..).zip(&mut tile[..down]) {
                let plus = plus.map_or(0.0, |plus| plus[row]);
                let from = &from.data()[row * stride + first * step..];
                if step == 1 && across == TILE {
                    *tile = core::array::from_fn(|column| from[column] + plus);
                } else {
                    tile[..across].iter_mut().enumerate().for_each(|(column, to)| *to = from[column * step] + plus);
                }
            }
            for (column, to) in tiles.chunks_exact_mut(width).enumerate() {
                let to = &mut to[start..start + down];
                if let Ok(to) = <&mut [f32; TILE]>::try_from(&mut *to) {
                    *to = core::array::from_fn(|row| tile[row][column]);
                } else {
                    to.iter_mut().enumerate().for_each(|(row, to)| *to = tile[row][column]);
                }
            }
        }
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
            (rows, inputs, outputs) in (prop_oneof![Just(1usize), Just(600), 2..40usize], prop_oneof![1usize..70, Just(512)], 1usize..200),
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
            // The rounding error of a sum grows with its number of terms.
            let tolerance = 1e-5_f64.max(2e-6 * (inputs as f64).sqrt());
            assert_same(&flex, &run::<NdArray>([rows, inputs], outputs, transposed, bias), tolerance);
        }
    }
}
