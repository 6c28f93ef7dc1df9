//! Products with weights in panels, on all cores.

use core::cell::Cell;
use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::packing::{Groups, in_groups, in_panels, parts_of, size_in_panels, with_memory};
use super::tiles::{Instructions, MOST_DOTS, MOST_ROWS, Start, Target, backward, dots, forward};
use super::turning::{TILE, Turned, turn_to_rows};
use super::{PANEL, Panels};
use crate::cores::on_all_cores;
use crate::host::HostRows;
use crate::host::flex::{self, Strided};
use crate::product::Matrix;
use crate::watched::{Ends, is_moot, watched};

/// Number of multiplications from which on several cores are faster.
const PARALLEL_MIN: usize = 1 << 20;
/// Tasks per thread: a thread that is delayed leaves some of them to the others.
pub(super) const TASKS: usize = 6;
/// Rows whose numbers stay in a core's L2 cache, or near it, while all of a task's panels pass.
const ROWS: usize = 256;

/// `x Wᵀ + b` for each of some weights with as many inputs, and their biases: `x` is put into the order of tiles once, and cores share all products.
pub(crate) fn linear<B: Backend>(
    x: &Tensor<B, 2>,
    layers: &[(&Panels, Option<&Tensor<B, 2>>)],
) -> Option<Vec<Tensor<B, 2>>> {
    let x = Strided::of(x)?;
    let [rows, inputs] = x.size();
    let mut work = Vec::with_capacity(layers.len());
    for (weight, bias) in layers {
        let [outputs, _] = weight.size;
        let bias = match bias {
            Some(bias) => Some(HostRows::of(bias).filter(|bias| bias.as_slice().len() == outputs)?),
            None => None,
        };
        work.push((Work::new(weight, rows).filter(|_| weight.size[1] == inputs)?, bias));
    }
    let outputs = |work: &Work| work.weight.size[0];
    if is_moot(work.iter().map(|(work, _)| rows * inputs * outputs(work)).sum()) {
        let zeros = |work: &Work| flex::made(vec![0.0; rows * outputs(work)], [rows, outputs(work)]);
        return Some(work.iter().map(|(work, _)| zeros(work)).collect());
    }
    let layers: Vec<(Work, Option<&[f32]>)> =
        work.iter().map(|(work, bias)| (*work, bias.as_ref().map(HostRows::as_slice))).collect();
    let made = |(y, (work, _)): (Vec<f32>, &(Work, _))| flex::made(y, [rows, outputs(work)]);
    Some(all_linear(x.matrix(), &layers).into_iter().zip(&layers).map(made).collect())
}

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
fn counting(terms: &[(Work, Matrix)], rows: usize) -> Vec<usize> {
    let has_number = |row: usize| {
        terms.iter().any(|(_, grad)| {
            let ([_, columns], [stride, step]) = (grad.size(), grad.strides());
            let from = &grad.data()[row * stride..];
            (0..columns).any(|column| from[column * step] != 0.0)
        })
    };
    (0..rows).filter(|&row| has_number(row)).collect()
}

/// A product of a weight and some rows.
#[derive(Clone, Copy)]
struct Work<'a> {
    weight: &'a Panels,
    with: Instructions,
    rows: usize,
    threads: usize,
}

/// Memory that several tasks fill, each its own part.
pub(super) struct Shared(*mut f32);

#[allow(unsafe_code, reason = "tasks write interleaved parts of one matrix")]
// SAFETY: tasks write disjoint elements, as each use says.
unsafe impl Sync for Shared {}

impl Shared {
    /// The element at an index, to be written by one task alone.
    pub(super) fn at(&self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

/// Memory for so many elements, all of which `fill` writes, or zeros if it was to end early.
#[allow(unsafe_code, reason = "products write each element, so that clearing them first would be in vain")]
pub(super) fn filled(multiplications: usize, elements: usize, fill: impl FnOnce(&Shared, &Ends) + Send) -> Vec<f32> {
    watched(multiplications, |ends| {
        let mut memory = Vec::with_capacity(elements);
        fill(&Shared(memory.as_mut_ptr()), ends);
        if ends.now() {
            return vec![0.0; elements];
        }
        // SAFETY: `fill` has written all of them (callers' tiles partition the result), within the capacity.
        unsafe { memory.set_len(elements) };
        memory
    })
}

/// Splits a length in at most so many parts, whose lengths are multiples of `unit` but for the last, and as equal as can be: threads that share them finish together.
pub(super) fn split(length: usize, parts: usize, unit: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let units = length.div_ceil(unit.max(1));
    let parts = Groups::in_parts(units, parts.clamp(1, units.max(1)));
    (0..parts.len()).map(move |part| parts.get(part)).map(move |part| part.start * unit..length.min(part.end * unit))
}

/// `y = x Wᵀ + b` for each layer.
fn all_linear(x: Matrix, layers: &[(Work, Option<&[f32]>)]) -> Vec<Vec<f32>> {
    let Some(&(Work { with, rows, .. }, _)) = layers.first() else { return Vec::new() };
    let threads = layers.iter().map(|(work, _)| work.threads).max().unwrap_or(1);
    let groups = Groups::new(rows, with.rows());
    let of_rows: Vec<Range<usize>> = split(groups.len(), rows.div_ceil(ROWS), 1).collect();
    let panels_of = |work: &Work| work.weight.size[0].div_ceil(PANEL);
    let all_panels: usize = layers.iter().map(|(work, _)| panels_of(work)).sum();
    let parts = if threads > 1 { (threads * TASKS).div_ceil(of_rows.len()) } else { 1 };
    // The last panel's outputs may be fewer than its columns.
    let padded = |(work, bias): &(Work, Option<&[f32]>)| {
        bias.map(|bias| {
            let mut bias = bias.to_vec();
            bias.resize(panels_of(work) * PANEL, 0.0);
            bias
        })
    };
    let biases: Vec<Option<Vec<f32>>> = layers.iter().map(padded).collect();
    let sizes: Vec<usize> = layers.iter().map(|(work, _)| rows * work.weight.size[0]).collect();
    let mut tasks = Vec::new();
    for within in &of_rows {
        for (layer, (work, _)) in layers.iter().enumerate() {
            // Tasks of about the same size, whichever layer they are of.
            let parts = (parts * panels_of(work)).div_ceil(all_panels);
            tasks.extend(split(panels_of(work), parts, 1).map(|panels| (layer, panels, within.clone())));
        }
    }
    let multiplications = layers.iter().map(|(work, _)| work.multiplications()).sum();
    let products = |numbers: &[f32], ends: &Ends| {
        let mut results: Vec<Vec<f32>> = sizes.iter().map(|&size| Vec::with_capacity(size)).collect();
        let shared: Vec<Shared> = results.iter_mut().map(|result| Shared(result.as_mut_ptr())).collect();
        let run = |(layer, panels, within): (usize, Range<usize>, Range<usize>)| {
            let (work, _) = &layers[layer];
            if !ends.now() {
                work.linear_part(numbers, biases[layer].as_deref(), (groups, within), panels, &shared[layer]);
            }
        };
        match threads > 1 {
            true => on_all_cores(tasks.into_iter(), run),
            false => tasks.into_iter().for_each(run),
        }
        if ends.now() {
            return sizes.iter().map(|&size| vec![0.0; size]).collect();
        }
        for (result, &size) in results.iter_mut().zip(&sizes) {
            // SAFETY: tasks' rows and panels partition the result, so that each of its elements was written, within the capacity.
            #[allow(unsafe_code, reason = "products write each element, so that clearing them first would be in vain")]
            unsafe {
                result.set_len(size);
            }
        }
        results
    };
    let [_, depth] = x.size();
    with_memory(rows * depth, |numbers| {
        in_groups(x, groups, threads > 1, numbers);
        watched(multiplications, |ends| products(numbers, ends))
    })
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
fn pull_few(terms: &[(Work, Matrix)], counting: &[usize]) -> Vec<f32> {
    let mut all = terms.iter().map(|(work, grad)| work.pull_few(*grad, counting));
    let mut sum = all.next().unwrap_or_default();
    all.for_each(|term| sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term));
    sum
}

impl<'a> Work<'a> {
    fn new(weight: &'a Panels, rows: usize) -> Option<Self> {
        let [outputs, inputs] = weight.size;
        let multiplications = rows * inputs * outputs;
        if multiplications == 0 {
            return None;
        }
        let parallel = multiplications >= PARALLEL_MIN;
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        Some(Self { weight, with: Instructions::of_machine()?, rows, threads })
    }

    fn multiplications(&self) -> usize {
        self.rows * self.weight.size[0] * self.weight.size[1]
    }

    /// Calls `task` with each pair of parts of two dimensions, until it is to end.
    fn each<T: Clone + Send + Sync>(&self, first: &[T], second: &[T], ends: &Ends, task: impl Fn(T, T) + Sync + Send) {
        let pair = |index: usize| {
            if !ends.now() {
                task(first[index % first.len()].clone(), second[index / first.len()].clone());
            }
        };
        let pairs = first.len() * second.len();
        if self.threads > 1 {
            on_all_cores(0..pairs, pair);
        } else {
            (0..pairs).for_each(pair);
        }
    }

    /// How many parts the second dimension has, if the first has so many.
    fn parts_beside(&self, first: usize) -> usize {
        if self.threads > 1 { (self.threads * TASKS).div_ceil(first.max(1)) } else { 1 }
    }

    /// `y = x Wᵀ + b`.
    #[cfg(test)]
    fn linear(self, x: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
        all_linear(x, &[(self, bias)]).swap_remove(0)
    }

    /// Some groups of rows by some panels.
    #[allow(unsafe_code, reason = "tiles are pointers into the factors and the result")]
    fn linear_part(
        &self,
        numbers: &[f32],
        bias: Option<&[f32]>,
        (groups, within): (Groups, Range<usize>),
        panels: Range<usize>,
        y: &Shared,
    ) {
        let [outputs, inputs] = self.weight.size;
        let mut near = Vec::new();
        for part in parts_of(inputs) {
            let of_part = &numbers[part.start * self.rows..part.end * self.rows];
            for panel in panels.clone() {
                let columns = PANEL.min(outputs - panel * PANEL);
                let start = match (part.start, bias) {
                    (0, None) => Start::Zero,
                    (0, Some(bias)) => Start::Bias(bias[panel * PANEL..][..PANEL].as_ptr()),
                    _ => Start::Target,
                };
                let of_part_panel = (panel * inputs + part.start) * PANEL..(panel * inputs + part.end) * PANEL;
                let of_panel = self.weight.numbers.rows(self.with, of_part_panel, within.len() > 1, &mut near);
                for group in within.clone() {
                    let rows = groups.get(group);
                    let numbers = &of_part[rows.start * part.len()..rows.end * part.len()];
                    let size = [rows.len(), part.len()];
                    let first = y.at(rows.start * outputs + panel * PANEL);
                    let run = |target| {
                        // SAFETY: a group has from 1 to as many rows as a tile, slices have the sizes of both factors, and each task writes its own rows and columns.
                        unsafe { forward(self.with, size, numbers.as_ptr(), of_panel, start, target) }
                    };
                    if columns == PANEL {
                        run(Target { first, stride: outputs });
                        continue;
                    }
                    let mut near = [0.0; MOST_ROWS * PANEL];
                    for (row, near) in near.chunks_exact_mut(PANEL).enumerate().take(rows.len()) {
                        let row = first.wrapping_add(row * outputs);
                        if matches!(start, Start::Target) {
                            // SAFETY: the row's elements in this panel were written for the part before.
                            near[..columns].copy_from_slice(unsafe { core::slice::from_raw_parts(row, columns) });
                        }
                    }
                    run(Target { first: near.as_mut_ptr(), stride: PANEL });
                    for (row, near) in near.chunks_exact(PANEL).enumerate().take(rows.len()) {
                        // SAFETY: these are the row's elements in this panel, which no other task writes.
                        unsafe { first.wrapping_add(row * outputs).copy_from_nonoverlapping(near.as_ptr(), columns) };
                    }
                }
            }
        }
    }

    /// `dx = dy W`.
    #[cfg(test)]
    fn pull(&self, grad: Matrix) -> Vec<f32> {
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

#[cfg(test)]
mod tests;
