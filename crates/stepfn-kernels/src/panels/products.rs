//! Products with weights in panels, on all cores.

mod pulling;

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::packing::{Groups, in_groups, parts_of, with_memory};
use super::tiles::{Instructions, MOST_ROWS, Start, Target, forward};
use super::{PANEL, Panels};
use crate::cores::on_all_cores;
use crate::host::HostRows;
use crate::host::flex::{self, Strided};
use crate::product::Matrix;
use crate::watched::{Ends, is_moot, watched};

pub(crate) use self::pulling::pull;

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
}

#[cfg(test)]
mod tests;
