//! Rotary positions (Su et al. 2021, arXiv:2104.09864): `x cos + (−second half, first half) sin` on the leading dimensions of every head.
//! The gradient of a rotation is the inverse rotation.

use burn::tensor::{Tensor, backend::Backend};

use crate::Cotangents;
use crate::host::{self, BlockKernel, HostRows};

/// Cosines and sines of the rotation angles, repeated for the two halves of the rotated dimensions.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    /// `[texts · width, dim]`
    pub cos: Tensor<B, 2>,
    /// `[texts · width, dim]`
    pub sin: Tensor<B, 2>,
}

impl<B: Backend> Rotation<B> {
    /// Number of leading dimensions of each head that are rotated; even.
    pub fn dim(&self) -> usize {
        self.cos.dims()[1]
    }
}

/// Rotates the leading dimensions of every head, forward or back.
///
/// # Shapes
/// - `x`, result: `[texts · per_text · width, heads · head_dim]`
///
/// # Panics
/// If the shapes don't match.
pub fn rotate<B: Backend>(
    x: Tensor<B, 2>,
    rotation: &Rotation<B>,
    head_dim: usize,
    inverse: bool,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    match fused(x, rotation, head_dim, inverse, cotangents) {
        Ok(rotated) => rotated,
        Err(x) => composed(x, rotation, head_dim, inverse, cotangents),
    }
}

fn composed<B: Backend>(
    x: Tensor<B, 2>,
    rotation: &Rotation<B>,
    head_dim: usize,
    inverse: bool,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    let (dim, [rows, columns]) = (rotation.dim(), x.dims());
    let (texts, per_text) = (cotangents.texts, cotangents.per_text);
    let width = rotation.cos.dims()[0] / texts.max(1);
    let x = x.reshape([texts, per_text, width, columns / head_dim, head_dim]);
    let table = |table: &Tensor<B, 2>| table.clone().reshape([texts, 1, width, 1, dim]);
    let (cos, sin) = (table(&rotation.cos), table(&rotation.sin));
    let sin = if inverse { sin.neg() } else { sin };
    let part = |range: core::ops::Range<usize>| x.clone().slice_dim(4, range);
    let turned = Tensor::cat(vec![part(dim / 2..dim).neg(), part(0..dim / 2)], 4);
    let rotated = part(0..dim) * cos + turned * sin;
    let rotated = if dim == head_dim { rotated } else { Tensor::cat(vec![rotated, part(dim..head_dim)], 4) };
    rotated.reshape([rows, columns])
}

/// Returns `x` unchanged if fused loops can't read it.
fn fused<B: Backend>(
    x: Tensor<B, 2>,
    rotation: &Rotation<B>,
    head_dim: usize,
    inverse: bool,
    cotangents: Cotangents,
) -> Result<Tensor<B, 2>, Tensor<B, 2>> {
    let (Some(cos), Some(sin)) = (HostRows::of(&rotation.cos), HostRows::of(&rotation.sin)) else { return Err(x) };
    let [rows, columns] = x.dims();
    let heads = head_dim > 0 && columns.is_multiple_of(head_dim) && cos.width() <= head_dim;
    let tables = cos.width() == sin.width() && cos.width().is_multiple_of(2) && cos.len() == sin.len();
    if !heads || !tables || !cotangents.fit(rows, cos.len()) {
        return Err(x);
    }
    let sign = if inverse { -1.0 } else { 1.0 };
    host::transform(x, &RotateKernel { cos: &cos, sin: &sin, sign, head_dim, columns, cotangents })
}

struct RotateKernel<'a> {
    cos: &'a HostRows,
    sin: &'a HostRows,
    /// −1 to rotate back.
    sign: f32,
    head_dim: usize,
    columns: usize,
    cotangents: Cotangents,
}

impl BlockKernel for RotateKernel<'_> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [f32]) {
        let dim = self.cos.width();
        for (index, row) in rows.chunks_exact_mut(self.columns).enumerate() {
            let saved = self.cotangents.saved_row(first + index, self.cos.len());
            let (cos, sin) = (&self.cos.row(saved)[..dim / 2], &self.sin.row(saved)[..dim / 2]);
            for head in row.chunks_exact_mut(self.head_dim) {
                let (left, right) = head[..dim].split_at_mut(dim / 2);
                for (((a, b), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
                    let sin = self.sign * sin;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, assert_same, autodiff, double, noise, one_by_one};
    use burn::tensor::DType;
    use proptest::prelude::*;

    fn rotation<B: Backend>(rows: usize, dim: usize, dtype: DType) -> Rotation<B> {
        let half = noise::<B, 2>([rows, dim / 2], 7).cast(dtype).mul_scalar(3);
        let angles = Tensor::cat(vec![half.clone(), half], 1);
        Rotation { cos: angles.clone().cos(), sin: angles.sin() }
    }

    proptest! {
        #[test]
        fn both_routes_agree_and_invert(
            (texts, per_text, width, heads) in (1usize..4, 1usize..4, 1usize..9, 1usize..5),
            (half, rest) in (1usize..30, 0usize..9),
            inverse in any::<bool>(),
        ) {
            let (cotangents, head_dim) = (Cotangents { texts, per_text }, 2 * half + rest);
            let shape = [texts * per_text * width, heads * head_dim];
            let flex_rotation = rotation::<Flex>(texts * width, 2 * half, DType::F32);
            let flex = rotate(noise::<Flex, 2>(shape, 1), &flex_rotation, head_dim, inverse, cotangents);
            let composed = rotation::<NdArray>(texts * width, 2 * half, DType::F32);
            let composed = rotate(noise::<NdArray, 2>(shape, 1), &composed, head_dim, inverse, cotangents);
            assert_same(&flex, &composed, 1e-5);
            let back = rotate(flex, &flex_rotation, head_dim, !inverse, cotangents);
            assert_same(&back, &noise::<Flex, 2>(shape, 1), 1e-5);
        }
    }

    #[test]
    fn the_gradient_is_the_inverse_rotation() {
        let (cotangents, alone) = (Cotangents { texts: 2, per_text: 3 }, Cotangents::one_each(2));
        let grad = double([2 * 3 * 5, 2 * 8], 3);
        let expected = one_by_one(&grad, cotangents, |grad| {
            autodiff(&double([2 * 5, 2 * 8], 1), grad, |x| rotate(x, &rotation(2 * 5, 6, DType::F64), 8, false, alone))
        });
        assert_same(&rotate(grad, &rotation(2 * 5, 6, DType::F64), 8, true, cotangents), &expected, 1e-9);
    }
}
