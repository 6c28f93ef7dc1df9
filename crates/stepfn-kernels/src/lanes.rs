//! Loops over a row of `f32` that compilers vectorize: sums and maxima in independent lanes, and branch-free `exp` and `ln`.
//!
//! Sums run in [`LANES`] single-precision accumulators for [`BLOCK`] elements and are then added in double precision, so
//! that the error of a sum over 256k tokens stays that of a sum over a few hundred.

/// Independent accumulators: two AVX-512 or four AVX2 registers, enough to hide the latency of an addition.
const LANES: usize = 32;
/// Elements that are added in single precision before the running total in double precision takes over.
const BLOCK: usize = 64 * LANES;

/// The sums of the `N` numbers that `term` makes of every element.
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
        for (lane, &x) in chunks.remainder().iter().enumerate() {
            let terms = term(x);
            for n in 0..N {
                lanes[n][lane] += terms[n];
            }
        }
        for n in 0..N {
            totals[n] += total(&lanes[n]);
        }
    }
    totals
}

/// As [`sums`], over pairs of elements of two rows of the same length.
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
        let rest = lefts.remainder().iter().zip(rights.remainder());
        for (lane, (&left, &right)) in rest.enumerate() {
            let terms = term(left, right);
            for n in 0..N {
                lanes[n][lane] += terms[n];
            }
        }
        for n in 0..N {
            totals[n] += total(&lanes[n]);
        }
    }
    totals
}

#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f64 {
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

/// The largest element, −∞ for an empty row. NaN is passed over; see [`all_finite`].
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    let rest = chunks.remainder().iter().copied();
    lanes.into_iter().chain(rest).fold(f32::NEG_INFINITY, larger)
}

/// The largest of the numbers that `term` makes of pairs of elements of two rows of the same length.
#[inline(always)]
pub(crate) fn max_of_pairs(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (mut lefts, mut rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    for (left, right) in (&mut lefts).zip(&mut rights) {
        for lane in 0..LANES {
            let x = term(left[lane], right[lane]);
            lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
        }
    }
    for (&left, &right) in lefts.remainder().iter().zip(rights.remainder()) {
        lanes[0] = lanes[0].max(term(left, right));
    }
    max(&lanes)
}

/// The largest element, and whether every element is finite.
#[inline(always)]
pub(crate) fn max_and_finite(row: &[f32]) -> (f32, bool) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // A float is finite unless all bits of its exponent are set: adding one to the exponent then carries into the sign bit.
    let mut carries = [0u32; LANES];
    let carry = |x: f32| (x.to_bits() & 0x7fff_ffff) + 0x0080_0000;
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
            carries[lane] |= carry(x);
        }
    }
    for (lane, &x) in chunks.remainder().iter().enumerate() {
        lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
        carries[lane] |= carry(x);
    }
    let carried = carries.into_iter().fold(0, |all, carry| all | carry);
    (max(&lanes), carried & 0x8000_0000 == 0)
}

/// How many elements are larger than `bound`.
#[inline(always)]
pub(crate) fn count_above(row: &[f32], bound: f32) -> u32 {
    let mut lanes = [0u32; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += u32::from(chunk[lane] > bound);
        }
    }
    let rest = chunks.remainder().iter().filter(|&&x| x > bound).count() as u32;
    lanes.into_iter().sum::<u32>() + rest
}

/// `eˣ` within 2 units in the last place for x in [−87, 88], clamped outside (so that nothing underflows to 0 or
/// overflows to ∞).
///
/// Cody–Waite reduction to |r| ≤ ½ ln 2 and the degree-6 polynomial of the Cephes library (Moshier).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: adding it rounds to an integer in the low bits of the significand.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let n = x.mul_add(core::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-0.693_359_375, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_2e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = (p * r).mul_add(r, r) + 1.0;
    y * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// `ln x` within 2 units in the last place for normal positive `x`.
///
/// Reduction to a significand in [√½, √2) and the degree-8 polynomial of the Cephes library (Moshier).
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // Shifting the significand by that of √½ makes the exponent round the way the reduction wants it.
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
    let y = n.mul_add(-2.121_944_4e-4, y);
    let y = z.mul_add(-0.5, y);
    n.mul_add(0.693_359_375, m + y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Distance in units in the last place of `reference`.
    fn ulps(value: f32, reference: f64) -> f64 {
        let spacing = f64::from(f32::EPSILON) * 2f64.powi(reference.abs().log2().floor() as i32);
        (f64::from(value) - reference).abs() / spacing
    }

    proptest! {
        #[test]
        fn exp_is_within_two_ulps(x in -87.0f32..88.0) {
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
            prop_assert_eq!(count_above(&row, bound) as usize, row.iter().filter(|&&x| x > bound).count());
        }

        #[test]
        fn non_finite_elements_are_seen(len in 1usize..200, at in 0usize..200, which in 0usize..3) {
            let mut row = vec![f32::MAX; len];
            row[at % len] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][which];
            prop_assert!(!max_and_finite(&row).1);
        }
    }

    #[test]
    fn exp_saturates_instead_of_overflowing() {
        assert!(exp(-1e9) > 0.0 && exp(-1e9) < 1e-37);
        assert!(exp(1e9).is_finite());
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(1.0), 0.0);
    }
}
