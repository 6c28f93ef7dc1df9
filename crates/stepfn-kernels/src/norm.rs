//! Normalization of rows: LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467).
//!
//! `y = x̂ ⊙ w + b` with `x̂ = (x − mean x) r`, `r = 1 / √(mean (x − mean x)² + ε)`; RMSNorm leaves out both means of x. The gradient of x
//! is `r (g − mean g − x̂ mean(g ⊙ x̂))` with `g = G ⊙ w`; RMSNorm leaves out `mean g`.

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, BlockKernel, HostRows, RowKernel};
use crate::lanes;
use crate::{Cotangents, narrowed, widened};

/// The formula of a normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `(x − mean x) / √(var x + ε) · weight + bias`.
    Layer,
    /// `x / √(mean x² + ε) · weight + bias`.
    Rms,
}

/// The Euclidean norm of every row, in single precision or better. Squares neither overflow nor vanish, because each row is divided by its
/// largest element first.
///
/// # Shapes
/// - `x`: `[rows, d]`, result: `[rows, 1]`
pub fn euclidean<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let x = widened(x);
    let largest = x.clone().abs().max_dim(1);
    let divisor = largest.clone().mask_fill(largest.clone().equal_elem(0), 1);
    (x / divisor).powi_scalar(2).sum_dim(1).sqrt() * largest
}

/// Normalizes every row. Half precision is widened to `f32`, because squares would overflow and sums lose digits.
///
/// # Shapes
/// - `x`, result: `[rows, d]`
/// - `weight`, `bias`: `[1, d]`
///
/// # Panics
/// If the shapes don't match.
pub fn normalize<B: Backend>(
    x: Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    bias: Option<&Tensor<B, 2>>,
    kind: NormKind,
    epsilon: f64,
) -> Tensor<B, 2> {
    match fused(x, weight, bias, kind, epsilon) {
        Ok(normalized) => normalized,
        Err(x) => composed(x, weight, bias, kind, epsilon),
    }
}

/// The gradient of `x`, given the gradients `grad` of [`normalize`]'s result.
///
/// # Shapes
/// - `x`: `[texts · width, d]`
/// - `weight`: `[1, d]`
/// - `grad`, result: `[texts · per_text · width, d]`
///
/// # Panics
/// If the shapes don't match.
pub fn normalize_backward<B: Backend>(
    x: &Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    kind: NormKind,
    epsilon: f64,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    match fused_backward(x, weight, kind, epsilon, grad, cotangents) {
        Ok(gradient) => gradient,
        Err(grad) => composed_backward(x, weight, kind, epsilon, grad, cotangents),
    }
}

fn composed<B: Backend>(
    x: Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    bias: Option<&Tensor<B, 2>>,
    kind: NormKind,
    epsilon: f64,
) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let (normalized, _) = standardized(widened(x), kind, epsilon);
    let normalized = narrowed(normalized, dtype) * weight.clone();
    match bias {
        Some(bias) => normalized + bias.clone(),
        None => normalized,
    }
}

fn composed_backward<B: Backend>(
    x: &Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    kind: NormKind,
    epsilon: f64,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Tensor<B, 2> {
    let dtype = grad.dtype();
    let (normalized, root) = standardized(widened(x.clone()), kind, epsilon);
    let (normalized, root) = (cotangents.shared(normalized), cotangents.shared(root));
    let grad = cotangents.apart(widened(grad) * widened(weight.clone())); // [texts, per_text, width, d]
    let along = (grad.clone() * normalized.clone()).mean_dim(3);
    let centered = match kind {
        NormKind::Layer => grad.clone() - grad.mean_dim(3),
        NormKind::Rms => grad,
    };
    narrowed(Cotangents::joined((centered - normalized * along) / root), dtype)
}

/// `x̂` and `√(mean (x − mean x)² + ε)`, `[rows, 1]`.
fn standardized<B: Backend>(x: Tensor<B, 2>, kind: NormKind, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centered = match kind {
        NormKind::Layer => x.clone() - x.mean_dim(1),
        NormKind::Rms => x,
    };
    let root = centered.clone().powi_scalar(2).mean_dim(1).add_scalar(epsilon).sqrt();
    (centered / root.clone(), root)
}

/// Returns `x` unchanged if fused loops can't read it.
fn fused<B: Backend>(
    x: Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    bias: Option<&Tensor<B, 2>>,
    kind: NormKind,
    epsilon: f64,
) -> Result<Tensor<B, 2>, Tensor<B, 2>> {
    let d = x.dims()[1];
    let vector = |vector| HostRows::of(vector).filter(|vector| vector.width() == d);
    let Some(weight) = vector(weight) else { return Err(x) };
    let bias = match bias.map(vector) {
        Some(None) => return Err(x),
        None => None,
        Some(bias) => bias,
    };
    let kernel = NormKernel { weight: &weight, bias: bias.as_ref(), formula: Formula { kind, epsilon } };
    host::transform(x, &kernel)
}

/// Returns `grad` unchanged if fused loops can't read it.
fn fused_backward<B: Backend>(
    x: &Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    kind: NormKind,
    epsilon: f64,
    grad: Tensor<B, 2>,
    cotangents: Cotangents,
) -> Result<Tensor<B, 2>, Tensor<B, 2>> {
    let [rows, d] = grad.dims();
    let (Some(x), Some(weight)) = (HostRows::of(x), HostRows::of(weight)) else { return Err(grad) };
    if x.width() != d || weight.width() != d || !cotangents.fit(rows, x.len()) {
        return Err(grad);
    }
    let formula = Formula { kind, epsilon };
    let [mean, factor] = host::map_rows(x.len(), d, StatisticsKernel { x: &x, formula });
    host::transform(grad, &NormBackwardKernel { x: &x, weight: &weight, kind, mean, factor, cotangents })
}

#[derive(Clone, Copy)]
struct Formula {
    kind: NormKind,
    epsilon: f64,
}

impl Formula {
    /// Mean (0 for RMSNorm) and `r` of a row.
    #[inline(always)]
    fn statistics(self, row: &[f32]) -> [f32; 2] {
        let d = row.len() as f64;
        let mean = match self.kind {
            NormKind::Layer => (lanes::sums(row, |x| [x])[0] / d) as f32,
            NormKind::Rms => 0.0,
        };
        let [squares] = lanes::sums(row, |x| [(x - mean) * (x - mean)]);
        [mean, (1.0 / (squares / d + self.epsilon).sqrt()) as f32]
    }
}

struct NormKernel<'a> {
    weight: &'a HostRows,
    bias: Option<&'a HostRows>,
    formula: Formula,
}

impl BlockKernel for NormKernel<'_> {
    #[inline(always)]
    fn rows(&self, _first: usize, rows: &mut [f32]) {
        let weight = self.weight.row(0);
        for row in rows.chunks_exact_mut(weight.len()) {
            let [mean, factor] = self.formula.statistics(row);
            match self.bias {
                Some(bias) => {
                    for ((x, w), b) in row.iter_mut().zip(weight).zip(bias.row(0)) {
                        *x = ((*x - mean) * factor).mul_add(*w, *b);
                    }
                }
                None => {
                    for (x, w) in row.iter_mut().zip(weight) {
                        *x = (*x - mean) * factor * w;
                    }
                }
            }
        }
    }
}

/// Mean and `r` of every row.
struct StatisticsKernel<'a> {
    x: &'a HostRows,
    formula: Formula,
}

impl RowKernel<2> for StatisticsKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 2] {
        self.formula.statistics(self.x.row(index))
    }
}

struct NormBackwardKernel<'a> {
    x: &'a HostRows,
    weight: &'a HostRows,
    kind: NormKind,
    mean: Vec<f32>,
    factor: Vec<f32>,
    cotangents: Cotangents,
}

impl BlockKernel for NormBackwardKernel<'_> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [f32]) {
        let weight = self.weight.row(0);
        let d = weight.len() as f64;
        for (index, row) in rows.chunks_exact_mut(weight.len()).enumerate() {
            let saved = self.cotangents.saved_row(first + index, self.mean.len());
            let (x, mean, factor) = (self.x.row(saved), self.mean[saved], self.factor[saved]);
            for (g, w) in row.iter_mut().zip(weight) {
                *g *= w;
            }
            let [total, along] = lanes::sums_of_pairs(row, x, |g, x| [g, g * (x - mean)]);
            let along = (along * f64::from(factor) * f64::from(factor) / d) as f32;
            let level = match self.kind {
                NormKind::Layer => (total / d) as f32,
                NormKind::Rms => 0.0,
            };
            for (g, x) in row.iter_mut().zip(x) {
                *g = factor * (*g - level - (x - mean) * along);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Flex, NdArray, assert_same, autodiff, double, noise, one_by_one, values};

    const KINDS: [NormKind; 2] = [NormKind::Layer, NormKind::Rms];

    fn forward<B: Backend>(x: Tensor<B, 2>, kind: NormKind, bias: bool) -> Tensor<B, 2> {
        let (d, dtype) = (x.dims()[1], x.dtype());
        let vector = |seed| noise([1, d], seed).cast(dtype);
        normalize(x, &vector(2), bias.then(|| vector(3)).as_ref(), kind, 1e-5)
    }

    fn backward<B: Backend>(
        [width, d]: [usize; 2],
        dtype: DType,
        kind: NormKind,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let saved = cotangents.texts * width;
        let rows = |rows, seed| noise([rows, d], seed).cast(dtype);
        normalize_backward(&rows(saved, 1), &rows(1, 2), kind, 1e-5, rows(cotangents.rows(saved), 4), cotangents)
    }

    proptest! {
        #[test]
        fn both_routes_agree(
            (rows, d, scale) in (1usize..40, 2usize..300, prop_oneof![Just(0.1), Just(1.0), Just(1e3)]),
            (kind, bias) in (prop::sample::select(&KINDS), any::<bool>()),
        ) {
            let flex = forward::<Flex>(noise([rows, d], 1).mul_scalar(scale), kind, bias);
            assert_same(&flex, &forward::<NdArray>(noise([rows, d], 1).mul_scalar(scale), kind, bias), 1e-5);
        }

        #[test]
        fn both_routes_agree_backward(
            (texts, per_text, width, d) in (1usize..4, 1usize..5, 1usize..9, 2usize..300),
            kind in prop::sample::select(&KINDS),
        ) {
            let cotangents = Cotangents { texts, per_text };
            let flex = backward::<Flex>([width, d], DType::F32, kind, cotangents);
            let composed = backward::<NdArray>([width, d], DType::F32, kind, cotangents);
            assert_same(&flex, &composed, 1e-4);
        }
    }

    #[test]
    fn backward_is_the_gradient() {
        let cotangents = Cotangents { texts: 2, per_text: 3 };
        let (x, grad) = (double([2 * 4, 7], 1), double([2 * 3 * 4, 7], 4));
        for kind in KINDS {
            let expected = one_by_one(&grad, cotangents, |grad| autodiff(&x, grad, |x| forward(x, kind, true)));
            assert_same(&backward::<Flex>([4, 7], DType::F64, kind, cotangents), &expected, 1e-9);
        }
    }

    #[test]
    fn norms_of_very_small_and_very_large_rows_keep_their_digits() {
        for (dtype, sizes) in [(DType::F32, [1e-36, 1e36]), (DType::F16, [1e-4, 1e4]), (DType::BF16, [1e-36, 1e36])] {
            for size in sizes {
                let row = noise::<Flex, 2>([1, 64], 1).mul_scalar(size).cast(dtype);
                let expected = values(&row).iter().map(|x| x * x).sum::<f64>().sqrt();
                let found = values(&euclidean(row))[0];
                assert!((found / expected - 1.0).abs() < 1e-5, "{dtype:?}: {found} instead of {expected}");
            }
        }
        assert_eq!(values(&euclidean(Tensor::<Flex, 2>::zeros([1, 3], &Default::default()))), [0.0]);
    }

    #[test]
    fn half_precision_is_normalized_in_single_precision() {
        let x = noise::<Flex, 2>([2, 64], 1).mul_scalar(1e4);
        let expected = normalize(x.clone(), &noise([1, 64], 2), None, NormKind::Rms, 1e-5);
        let weight = noise::<Flex, 2>([1, 64], 2).cast(DType::F16);
        let half = normalize(x.clone().cast(DType::F16), &weight, None, NormKind::Rms, 1e-5);
        assert_eq!(half.dtype(), DType::F16);
        assert_same(&half.cast(DType::F32), &expected, 4e-3);
        let grad = noise::<Flex, 2>([2, 64], 3).cast(DType::F16);
        let cotangents = Cotangents::one_each(2);
        let half = normalize_backward(&x.cast(DType::F16), &weight, NormKind::Rms, 1e-5, grad, cotangents);
        assert_eq!(half.dtype(), DType::F16);
    }
}
