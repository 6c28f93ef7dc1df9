//! Loops over a row of `f32` that compilers vectorize: sums and maxima in independent lanes, and branch-free `exp` and `ln`.
//!
//! Sums run in [`LANES`] single-precision accumulators for [`BLOCK`] elements, which are then added up in double precision. The error of a
//! sum over 256k tokens is therefore that of a sum over a few hundred.

/// Independent accumulators. With this many, compilers keep the loop over them a loop and vectorize it at any width; with 16, they unroll
/// it into scalar code.
pub(crate) const LANES: usize = 128;
/// Elements that are added in single precision before moving to the double-precision total.
const BLOCK: usize = 16 * LANES;

/// ln 2 in two parts (Cody & Waite). The high part has so few digits that its products with exponents are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// The sums of the `N` numbers that `term` returns for each element.
#[inline(always)]
pub(crate) fn sums<const N: usize>(row: &[f32], term: impl Fn(f32) -> [f32; N]) -> [f64; N] {
    let mut totals = [0.0; N];
    for block in row.chunks(BLOCK) {
        let mut lanes = [[0.0f32; LANES]; N];
        let mut chunks = block.chunks_exact(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                let terms = term(chunk[lane]);
                for n in 0..N {
                    lanes[n][lane] += terms[n];
                }
            }
        }
        add_rest(&mut lanes, chunks.remainder().len(), &padded(chunks.remainder()), &term);
        for n in 0..N {
            totals[n] += total(&lanes[n]);
        }
    }
    totals
}

/// Like [`sums`], over pairs of elements of two rows of the same length.
#[inline(always)]
pub(crate) fn sums_of_pairs<const N: usize>(
    left: &[f32],
    right: &[f32],
    term: impl Fn(f32, f32) -> [f32; N],
) -> [f64; N] {
    let mut totals = [0.0; N];
    for (left, right) in left.chunks(BLOCK).zip(right.chunks(BLOCK)) {
        let mut lanes = [[0.0f32; LANES]; N];
        let (mut lefts, mut rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
        for (left, right) in (&mut lefts).zip(&mut rights) {
            for lane in 0..LANES {
                let terms = term(left[lane], right[lane]);
                for n in 0..N {
                    lanes[n][lane] += terms[n];
                }
            }
        }
        let (left, right) = (padded(lefts.remainder()), padded(rights.remainder()));
        let mut pairs = [(0.0, 0.0); LANES];
        for lane in 0..LANES {
            pairs[lane] = (left[lane], right[lane]);
        }
        add_rest(&mut lanes, lefts.remainder().len(), &pairs, |(left, right)| term(left, right));
        for n in 0..N {
            totals[n] += total(&lanes[n]);
        }
    }
    totals
}

/// The end of a row, padded with its first element to a full set of lanes: faster than the exact length.
#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut padded = [rest.first().copied().unwrap_or(0.0); LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// Adds the terms of the first `len` elements, although all were computed.
#[inline(always)]
fn add_rest<const N: usize, T: Copy>(
    lanes: &mut [[f32; LANES]; N],
    len: usize,
    elements: &[T; LANES],
    term: impl Fn(T) -> [f32; N],
) {
    if len == 0 {
        return;
    }
    let mut all = [[0.0f32; LANES]; N];
    for lane in 0..LANES {
        let terms = term(elements[lane]);
        for n in 0..N {
            all[n][lane] = terms[n];
        }
    }
    for n in 0..N {
        for (lane, term) in lanes[n].iter_mut().zip(&all[n][..len]) {
            *lane += term;
        }
    }
}

/// The sum of the lanes, by halving: adding them one by one would take longer than a row of a transformer.
#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f64 {
    let mut lanes = lanes.map(f64::from);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two numbers: `b` only if it is larger, so NaN in `b` is ignored.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest element; −∞ for an empty row. Ignores NaN; see [`max_and_finite`].
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    max_and_finite(row).0
}

/// The largest of the numbers that `term` returns for pairs of elements of two rows of the same length.
#[inline(always)]
pub(crate) fn max_of_pairs(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (mut lefts, mut rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    for (left, right) in (&mut lefts).zip(&mut rights) {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], term(left[lane], right[lane]));
        }
    }
    if !lefts.remainder().is_empty() {
        let (left, right) = (padded(lefts.remainder()), padded(rights.remainder()));
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], term(left[lane], right[lane]));
        }
    }
    largest(&lanes)
}

/// The largest element, and whether every element is finite.
#[inline(always)]
pub(crate) fn max_and_finite(row: &[f32]) -> (f32, bool) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // A float is finite unless all its exponent bits are set; adding one to the exponent then carries into the sign bit.
    let mut carries = [0u32; LANES];
    let carry = |x: f32| (x.to_bits() & 0x7fff_ffff) + 0x0080_0000;
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
            carries[lane] |= carry(chunk[lane]);
        }
    }
    if !chunks.remainder().is_empty() {
        let rest = padded(chunks.remainder());
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], rest[lane]);
            carries[lane] |= carry(rest[lane]);
        }
    }
    let carried = carries.into_iter().fold(0, |all, carry| all | carry);
    (largest(&lanes), carried & 0x8000_0000 == 0)
}

/// The largest of the lanes, by halving: each step is a loop that compilers vectorize.
#[inline(always)]
fn largest(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// How many elements satisfy `condition`.
#[inline(always)]
pub(crate) fn count(row: &[f32], condition: impl Fn(f32) -> bool) -> u32 {
    let mut lanes = [0u32; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += u32::from(condition(chunk[lane]));
        }
    }
    let rest = chunks.remainder().iter().filter(|&&x| condition(x)).count() as u32;
    lanes.into_iter().sum::<u32>() + rest
}

/// `eˣ` within 2 ulp for x in [−87, 0], and 0 below that. Not valid for x above 88. NaN gives 0.
///
/// Cody–Waite reduction to |r| ≤ ½ ln 2. The polynomial approximates `(eʳ − 1 − r) / r²` and is fitted to minimize the largest relative
/// error of `eʳ` (4e-9).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³ + 127: adding it rounds to an integer and leaves that integer, biased as an exponent, in the low bits.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    let in_range = x > -87.0;
    let x = if in_range { x } else { -87.0 };
    let biased = x.mul_add(core::f32::consts::LOG2_E, ROUND);
    let n = biased - ROUND;
    let r = n.mul_add(-LN_2_HIGH, x);
    let r = n.mul_add(-LN_2_LOW, r);
    let p = 1.377_348_4e-3_f32;
    let p = p.mul_add(r, 8.368_894e-3);
    let p = p.mul_add(r, 4.166_913_4e-2);
    let p = p.mul_add(r, 1.666_651_8e-1);
    let p = p.mul_add(r, 4.999_999e-1);
    let y = (p * r).mul_add(r, r) + 1.0;
    let power = f32::from_bits(biased.to_bits() << 23);
    y * if in_range { power } else { 0.0 }
}

/// `ln x` within 2 ulp for normal positive `x`.
///
/// Reduction to a significand in [√½, √2), then the degree-8 polynomial of the Cephes library (Moshier).
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // Subtracting the significand of √½ makes the exponent round as the reduction needs.
    let shifted = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((exponent as u32) << 23)) - 1.0;
    let n = exponent as f32;
    let z = m * m;
    let p = 7.037_683_6e-2_f32;
    let p = p.mul_add(m, -1.151_461e-1);
    let p = p.mul_add(m, 1.167_699_9e-1);
    let p = p.mul_add(m, -1.242_014_1e-1);
    let p = p.mul_add(m, 1.424_932_3e-1);
    let p = p.mul_add(m, -1.666_805_7e-1);
    let p = p.mul_add(m, 2.000_071_5e-1);
    let p = p.mul_add(m, -2.499_999_4e-1);
    let p = p.mul_add(m, 3.333_333e-1);
    let y = p * m * z;
    let y = n.mul_add(LN_2_LOW, y);
    let y = z.mul_add(-0.5, y);
    n.mul_add(LN_2_HIGH, m + y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Distance from `reference` in units in the last place.
    fn ulps(value: f32, reference: f64) -> f64 {
        let spacing = f64::from(f32::EPSILON) * 2f64.powi(reference.abs().log2().floor() as i32);
        (f64::from(value) - reference).abs() / spacing
    }

    proptest! {
        #[test]
        fn exp_is_within_two_ulps(x in -87.0f32..0.0) {
            prop_assert!(ulps(exp(x), f64::from(x).exp()) <= 2.0);
        }

        #[test]
        fn ln_is_within_two_ulps(x in prop_oneof![1e-37f32..1.0, 0.5f32..2.0, 1.0f32..1e37]) {
            prop_assume!((x - 1.0).abs() > 1e-6);
            prop_assert!(ulps(ln(x), f64::from(x).ln()) <= 2.0, "ln({x}) = {}", ln(x));
        }

        #[test]
        fn reductions_agree_with_iterators(row in prop::collection::vec(-1e4f32..1e4, 0..5000), bound in -1e4f32..1e4) {
            let [sum, squares] = sums(&row, |x| [x, x * x]);
            let expected: f64 = row.iter().map(|&x| f64::from(x)).sum();
            let expected_squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((sum - expected).abs() <= 1e-6 * row.iter().map(|x| f64::from(x.abs())).sum::<f64>());
            prop_assert!((squares - expected_squares).abs() <= 1e-6 * expected_squares);
            let [dot] = sums_of_pairs(&row, &row, |a, b| [a * b]);
            prop_assert_eq!(dot, squares);
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(max(&row), largest);
            prop_assert_eq!(max_and_finite(&row), (largest, true));
            prop_assert_eq!(count(&row, |x| x > bound) as usize, row.iter().filter(|&&x| x > bound).count());
        }

        #[test]
        fn non_finite_elements_are_seen(len in 1usize..200, at in 0usize..200, which in 0usize..3) {
            let mut row = vec![f32::MAX; len];
            row[at % len] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][which];
            prop_assert!(!max_and_finite(&row).1);
        }
    }

    #[test]
    fn exp_underflows_to_zero() {
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(1.0), 0.0);
    }
}
