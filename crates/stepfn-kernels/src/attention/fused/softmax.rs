//! The softmax of a block's scores and its way back, row by row, vectorized for the machine at run time.

use core::ops::Range;

use burn::tensor::backend::Backend;

use super::{Block, Host, Scratch, row_of};
use crate::lanes::{self, LANES};

/// Scores to probabilities, row by row.
pub(super) struct SoftmaxRows<'a, 'b, B: Backend> {
    pub(super) host: &'a Host<'b, B>,
    pub(super) block: &'a Block,
    pub(super) scratch: &'a mut Scratch,
}

impl<B: Backend> pulp::NullaryFnOnce for SoftmaxRows<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { host, block, scratch } = self;
        let sink = host.sinks.as_ref().map(|sinks| sinks[block.head]);
        for (index, query) in block.queries.clone().enumerate() {
            let row = scratch.probabilities.row_mut(index);
            let seen = host.visible.range(block.text, query);
            if seen.is_empty() {
                row.fill(0.0);
                if host.shape.soft_cap.is_some() {
                    scratch.slopes.row_mut(index).fill(0.0);
                }
                continue;
            }
            let seen = seen.start - block.keys.start..seen.end - block.keys.start;
            if let Some(cap) = host.shape.soft_cap {
                let slopes = scratch.slopes.row_mut(index);
                cap_scores(&mut row[seen.clone()], &mut slopes[seen.clone()], cap as f32);
                // Stale values from other blocks, which may not be finite.
                slopes[..seen.start].fill(0.0);
                slopes[seen.end..].fill(0.0);
            }
            if let Some(bias) = &host.bias {
                let bias = row_of(bias, block, query).skip(seen.start);
                row[seen.clone()].iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
            }
            softmax(row, seen, sink);
        }
    }
}

/// `c · tanh(z / c)` and its slope `1 − tanh²`.
#[inline(always)]
fn cap_scores(scores: &mut [f32], slopes: &mut [f32], cap: f32) {
    for (score, slope) in scores.iter_mut().zip(slopes) {
        let z = *score / cap;
        let exp = lanes::exp(-2.0 * z.abs());
        let inverse = 1.0 / (1.0 + exp);
        let tanh = (1.0 - exp) * inverse;
        // NaN stays NaN.
        let tanh = if z < 0.0 { -tanh } else { tanh };
        *score = if z.is_nan() { z } else { cap * tanh };
        *slope = 4.0 * exp * inverse * inverse;
    }
}

/// The softmax over `seen` and the sink; all other elements become 0. It runs over whole sets of lanes, which is faster than the exact range.
#[inline(always)]
fn softmax(row: &mut [f32], seen: Range<usize>, sink: Option<f32>) {
    let (start, end) = (seen.start / LANES * LANES, seen.end.next_multiple_of(LANES));
    row[start..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..end].fill(f32::NEG_INFINITY);
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    let row = &mut row[start..end];
    let max = lanes::max(row);
    // Scores that are all NaN stay NaN.
    let sink = sink.filter(|_| max > f32::NEG_INFINITY || !row.iter().any(|score| score.is_nan()));
    let max = sink.map_or(max, |sink| max.max(sink));
    row.iter_mut().for_each(|score| *score = lanes::exp(*score - max));
    let of_sink = sink.map_or(0.0, |sink| f64::from(lanes::exp(sink - max)));
    let factor = (1.0 / (lanes::sums(row, |exp| [exp])[0] + of_sink)) as f32;
    row.iter_mut().for_each(|exp| *exp *= factor);
}

/// `dA` to `dS`, row by row.
pub(super) struct SoftmaxBackwardRows<'a, 'b, B: Backend> {
    pub(super) host: &'a Host<'b, B>,
    pub(super) block: &'a Block,
    pub(super) scratch: &'a mut Scratch,
}

impl<B: Backend> pulp::NullaryFnOnce for SoftmaxBackwardRows<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { host, block, scratch } = self;
        let (queries, keys) = (block.queries.len(), block.keys.len());
        let scale = host.shape.scale as f32;
        for index in 0..scratch.grad.size[0] {
            let query = index % queries;
            let (row, probabilities) = (scratch.grad.row_mut(index), scratch.probabilities.row(query));
            // Stale values from other products.
            row[keys..].fill(0.0);
            if let Some(dropout) = &host.dropout {
                let multipliers = row_of(dropout, block, block.queries.start + query);
                row.iter_mut().zip(multipliers).for_each(|(grad, multiplier)| *grad *= multiplier);
            }
            let [along] = lanes::sums_of_pairs(row, probabilities, |grad, p| [grad * p]);
            let along = along as f32;
            if host.shape.soft_cap.is_some() {
                let slopes = scratch.slopes.row(query);
                for ((grad, p), slope) in row.iter_mut().zip(probabilities).zip(slopes) {
                    *grad = (*grad - along) * (scale * p * slope);
                }
            } else {
                for (grad, p) in row.iter_mut().zip(probabilities) {
                    *grad = (*grad - along) * (scale * p);
                }
            }
        }
    }
}
