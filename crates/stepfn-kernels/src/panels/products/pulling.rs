//! Products on the way back: gradients of what layers read, from those of their outputs.

use core::cell::Cell;
use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::{ROWS, Shared, Work, filled, split};
use crate::host::flex::{self, Strided};
use crate::panels::packing::{in_panels, size_in_panels, with_memory};
use crate::panels::tiles::{MOST_DOTS, Start, Target, backward, dots};
use crate::panels::turning::{TILE, Turned, turn_to_rows};
use crate::panels::{PANEL, Panels};
use crate::product::Matrix;
use crate::watched::is_moot;

/// `Σ dyᵢ Wᵢ` over some weights with as many inputs, with the gradients `dyᵢ` of their outputs. Rows without any but zeros, as those of places that a step does
/// not see, are left out of the product: their results are zeros.
pub(crate) fn pull<B: Backend>(terms: &[(&Panels, &Tensor<B, 2>)]) -> Option<Tensor<B, 2>> {
    let (weight, grad) = terms.first()?;
    let ([_, inputs], [rows, _]) = (weight.size, grad.dims());
    let mut work = Vec::with_capacity(terms.len());
    for (weight, grad) in terms {
        let grad = Strided::of(grad).filter(|grad| grad.size() == [rows, weight.size[0]])?;
        work.push((Work::new(weight, rows).filter(|_| weight.size[1] == inputs)?, grad));
    }
    if is_moot(work.iter().map(|(work, _)| work.multiplications()).sum()) {
        return Some(flex::made(vec![0.0; rows * inputs], [rows, inputs]));
    }
    let terms: Vec<(Work, Matrix)> = work.iter().map(|(work, grad)| (*work, grad.matrix())).collect();
    let counting = counting(&terms, rows);
    let to_x = match counting.len() {
        0 => vec![0.0; rows * inputs],
        1..=MOST_DOTS => pull_few(&terms, &counting),
        _ => pull_many(&terms, &counting),
    };
    Some(flex::made(to_x, [rows, inputs]))
}

/// The rows that are not all zeros.
pub(super) fn counting(terms: &[(Work, Matrix)], rows: usize) -> Vec<usize> {
    let has_number = |row: usize| {
        terms.iter().any(|(_, grad)| {
            let ([_, columns], [stride, step]) = (grad.size(), grad.strides());
            let from = &grad.data()[row * stride..];
            (0..columns).any(|column| from[column * step] != 0.0)
        })
    };
    (0..rows).filter(|&row| has_number(row)).collect()
}

/// `Σ dyᵢ Wᵢ` of the rows that count, as `dxᵀ = Σ Wᵢᵀ dyᵢᵀ`.
fn pull_many(terms: &[(Work, Matrix)], counting: &[usize]) -> Vec<f32> {
    let Some((most, _)) = terms.iter().max_by_key(|(work, _)| work.threads) else { return Vec::new() };
    let (rows, [_, inputs]) = (counting.len(), most.weight.size);
    let of_rows: Vec<Range<usize>> = split(rows.div_ceil(PANEL), rows.div_ceil(ROWS), 1).collect();
    let parts = most.parts_beside(of_rows.len());
    let of_inputs: Vec<Range<usize>> = split(inputs, parts, most.with.rows()).collect();
    let sizes = terms.iter().map(|(work, _)| size_in_panels(rows, work.weight.size[0]));
    let multiplications = terms.iter().map(|(work, _)| work.multiplications()).sum();
    with_memory(sizes.clone().sum(), |memory| {
        let (mut rest, mut turned) = (memory, Vec::with_capacity(terms.len()));
        for ((work, grad), size) in terms.iter().zip(sizes) {
            let (own, after) = rest.split_at_mut(size);
            in_panels(most.with, *grad, counting, most.threads > 1, own);
            turned.push((work.weight, &*own));
            rest = after;
        }
        filled(multiplications, most.rows * inputs, |to_x, ends| {
            most.clear_others(counting, to_x);
            most.each(&of_inputs, &of_rows, ends, |inputs, panels| {
                most.pull_part(&turned, inputs, (panels, counting), to_x);
            });
        })
    })
}

/// `Σ dyᵢ Wᵢ` of few rows that count.
pub(super) fn pull_few(terms: &[(Work, Matrix)], counting: &[usize]) -> Vec<f32> {
    let mut all = terms.iter().map(|(work, grad)| work.pull_few(*grad, counting));
    let mut sum = all.next().unwrap_or_default();
    all.for_each(|term| sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term));
    sum
}

impl Work<'_> {
    /// `dx = dy W`.
    #[cfg(test)]
    pub(super) fn pull(&self, grad: Matrix) -> Vec<f32> {
        let terms = [(*self, grad)];
        pull_many(&terms, &counting(&terms, self.rows))
    }

    /// Writes zeros to the rows of the result that do not count.
    #[allow(unsafe_code, reason = "rows are pointers into the result")]
    fn clear_others(&self, counting: &[usize], to_x: &Shared) {
        let [_, inputs] = self.weight.size;
        let mut next = 0;
        for &row in counting.iter().chain([&self.rows]) {
            // SAFETY: these rows are within the result, and no task writes them.
            unsafe { to_x.at(next * inputs).write_bytes(0, (row - next) * inputs) };
            next = row + 1;
        }
    }

    /// Some inputs, for some panels of rows, of the sum over weights and turned gradients.
    #[allow(unsafe_code, reason = "tiles are pointers into the factors and the result")]
    fn pull_part(
        &self,
        terms: &[(&Panels, &[f32])],
        within: Range<usize>,
        (panels, counting): (Range<usize>, &[usize]),
        to_x: &Shared,
    ) {
        /// Panels of the weight that are read at a time; what belongs to them of all of the task's rows fits a core's L2 cache.
        const DEEP: usize = 16;
        let ([_, inputs], width) = (self.weight.size, panels.len() * PANEL);
        thread_local! {
            /// This thread's memory for results that are turned: `[inputs, rows]`. What is left from an earlier product is overwritten.
            static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        let mut memory = MEMORY.take();
        memory.resize(memory.len().max(within.len() * width), 0.0);
        let near = &mut memory[..within.len() * width];
        let mut widened = Vec::new();
        let most = self.with.rows();
        // Some panels of each weight, one after the other.
        let pieces = terms.iter().flat_map(|&(weight, turned)| {
            let depth = weight.size[0].div_ceil(PANEL);
            (0..depth).step_by(DEEP).map(move |first| (weight, turned, depth, first))
        });
        for (number, (weight, turned, depth, first)) in pieces.enumerate() {
            let deep = DEEP.min(depth - first);
            let start = if number == 0 { Start::Zero } else { Start::Target };
            for (input, near) in within.clone().step_by(most).zip(near.chunks_mut(most * width)) {
                let rows = most.min(within.end - input);
                let pieces = (deep, rows * PANEL, inputs * PANEL);
                let start_of = (first * inputs + input) * PANEL;
                let (weight, apart) = weight.numbers.pieces(self.with, start_of, pieces, &mut widened);
                for (panel, near) in
                    panels.clone().zip((0..width).step_by(PANEL).map(|start| near[start..].as_mut_ptr()))
                {
                    let of_panel = &turned[(panel * depth + first) * PANEL * PANEL..][..deep * PANEL * PANEL];
                    let target = Target { first: near, stride: width };
                    let weight = (weight.as_ptr(), apart);
                    // SAFETY: there are from 1 to as many rows as a tile has, and slices have the sizes of both factors; a tile's columns are those of a panel.
                    unsafe { backward(self.with, [rows, deep], weight, of_panel.as_ptr(), start, target) };
                }
            }
        }
        let near = Matrix::new(near, [within.len(), width], [width, 1]);
        let rows = &counting[panels.start * PANEL..counting.len().min(panels.end * PANEL)];
        for (first, rows) in (0..).step_by(TILE).zip(rows.chunks(TILE)) {
            for input in within.clone().step_by(TILE) {
                let across = TILE.min(within.end - input);
                let from = input - within.start..input - within.start + across;
                let columns = first..first + rows.len();
                let to = Turned { first: to_x.at(input), stride: inputs };
                // SAFETY: these are the rows' elements for the task's inputs, which no other task writes.
                unsafe { turn_to_rows(self.with, near, [from, columns], rows, to) };
            }
        }
        MEMORY.set(memory);
    }

    /// `dx = dy W` for few rows, as dot products: each number of the weight is read once.
    #[allow(unsafe_code, reason = "rows are pointers into the factors and the result")]
    fn pull_few(&self, grad: Matrix, counting: &[usize]) -> Vec<f32> {
        let rows = counting.len();
        let [outputs, inputs] = self.weight.size;
        let (panels, [stride, step]) = (outputs.div_ceil(PANEL), grad.strides());
        let mut padded = vec![0.0; rows * panels * PANEL];
        for (row, padded) in counting.iter().zip(padded.chunks_exact_mut((panels * PANEL).max(1))) {
            padded[..outputs].iter_mut().enumerate().for_each(|(at, to)| *to = grad.data()[row * stride + at * step]);
        }
        let of_inputs: Vec<Range<usize>> = split(inputs, self.parts_beside(1), TILE).collect();
        filled(self.multiplications(), self.rows * inputs, |to_x, ends| {
            self.clear_others(counting, to_x);
            let only = [Range::default()];
            self.each(&of_inputs, &only, ends, |within, _| {
                let mut widened = Vec::new();
                for input in within {
                    let mut results = [0.0; MOST_DOTS];
                    let results = &mut results[..rows];
                    let pieces = (panels, PANEL, inputs * PANEL);
                    let (weight, apart) = self.weight.numbers.pieces(self.with, input * PANEL, pieces, &mut widened);
                    let (weight, padded) = ((weight.as_ptr(), apart), (padded.as_ptr(), panels * PANEL));
                    // SAFETY: there are from 1 to `MOST_DOTS` rows, each filled up to whole panels, and a row of the weight in each panel.
                    unsafe { dots(self.with, panels, weight, padded, results) };
                    for (row, result) in counting.iter().zip(results.iter()) {
                        // SAFETY: no other task writes this input's elements.
                        unsafe { to_x.at(row * inputs + input).write(*result) };
                    }
                }
            });
        })
    }
}
