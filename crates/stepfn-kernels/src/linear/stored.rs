//! Linear layers over [`StoredRows`]: `y = x Wᵀ + b`, and its gradient `dx = dy W`.
//!
//! Each task expands a tile of the weight into memory of its own, few enough elements to stay in cache, and multiplies it while it is there.
//! Going forward, a tile is some whole rows of the weight, which give as many columns of `y`. Going back, every row adds to all of `dx`: a
//! task has some columns of `dx` to itself, and takes these columns of the weight some rows at a time.

use core::any::Any;
use core::cell::Cell;
use core::ops::Range;

use super::fused::{COLLIDING, PARALLEL_MIN, TILE, repeated, turned};
use crate::cores::on_all_cores;
use crate::host::HostRows;
use crate::host::flex::{self, Strided};
#[cfg(target_arch = "x86_64")]
use crate::panels::int8::Int8;
use crate::product::{Before, Blocks, Matrix, Tiles, product_until};
use crate::watched::{Ends, is_moot, watched};
use crate::weight::{Panels, StoredRows};
use burn::tensor::{Tensor, backend::Backend};

/// Elements of a tile: a megabyte, which a core's L2 cache has room for.
const NEAR: usize = 1 << 18;

/// `x Wᵀ + b`, or `None` if fused loops can't read the tensors.
///
/// # Shapes
/// - `x`: `[rows, in]`
/// - `weight`: `[out, in]`
/// - `bias`: `[1, out]`
/// - result: `[rows, out]`
pub(crate) fn linear<B: Backend>(
    x: &Tensor<B, 2>,
    weight: &dyn StoredRows,
    bias: Option<&Tensor<B, 2>>,
) -> Option<Tensor<B, 2>> {
    let any: &dyn Any = weight;
    if let Some(panels) = any.downcast_ref::<Panels>() {
        return panels.linear(x, bias);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(rounded) = any.downcast_ref::<Int8>() {
        return rounded.linear(x, bias);
    }
    let [outputs, inputs] = weight.size();
    let x = Strided::of(x).filter(|x| x.size()[1] == inputs)?;
    let bias = match bias {
        Some(bias) => Some(HostRows::of(bias).filter(|bias| bias.as_slice().len() == outputs)?),
        None => None,
    };
    let (x, bias) = (x.matrix(), bias.as_ref().map(HostRows::as_slice));
    let rows = x.size()[0];
    if is_moot(rows * inputs * outputs) {
        return Some(flex::made(vec![0.0; rows * outputs], [rows, outputs]));
    }
    let tiles = Expanded::new(weight, x);
    // As for other weights: few rows are computed as `yᵀ = W xᵀ`, so that only `x` and `y` are transposed.
    let few = rows > 1 && rows * (inputs + outputs) <= inputs * outputs;
    let y = watched(rows * inputs * outputs, |ends| match few {
        true => tiles.few_rows(ends, x, bias),
        false => tiles.all_rows(ends, x, bias),
    });
    Some(flex::made(y, [rows, outputs]))
}

/// `grad W`, or `None` if fused loops can't read the tensor.
///
/// # Shapes
/// - `grad`: `[rows, out]`
/// - `weight`: `[out, in]`
/// - result: `[rows, in]`
pub(crate) fn pull<B: Backend>(grad: &Tensor<B, 2>, weight: &dyn StoredRows) -> Option<Tensor<B, 2>> {
    if let Some(panels) = (weight as &dyn Any).downcast_ref::<Panels>() {
        return panels.pull(grad);
    }
    let [outputs, inputs] = weight.size();
    let grad = Strided::of(grad).filter(|grad| grad.size()[1] == outputs)?;
    let rows = grad.size()[0];
    if is_moot(rows * inputs * outputs) {
        return Some(flex::made(vec![0.0; rows * inputs], [rows, inputs]));
    }
    let tiles = Expanded::new(weight, grad.matrix());
    let to_x = watched(rows * inputs * outputs, |ends| tiles.pull(ends, grad.matrix()));
    Some(flex::made(to_x, [rows, inputs]))
}

/// Tiles of a weight, to be multiplied by the rows of another matrix.
struct Expanded<'a> {
    weight: &'a dyn StoredRows,
    /// Threads that share the work.
    threads: usize,
}

impl<'a> Expanded<'a> {
    fn new(weight: &'a dyn StoredRows, other: Matrix) -> Self {
        let [outputs, inputs] = weight.size();
        let parallel = other.size()[0] * inputs * outputs >= PARALLEL_MIN;
        Self { weight, threads: if parallel { rayon::current_num_threads() } else { 1 } }
    }

    /// Calls `task` for each number below `tasks`.
    fn each(&self, tasks: usize, task: impl Fn(usize) + Sync + Send) {
        if self.threads > 1 {
            on_all_cores(0..tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    /// Expands some elements of the weight, and multiplies them.
    fn with_tile(&self, rows: Range<usize>, columns: Range<usize>, multiply: impl FnOnce(Matrix)) {
        thread_local! {
            /// This thread's memory for tiles. What is left from an earlier one is overwritten or not read.
            static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        // Rows that are a power of two apart evict each other from the L1 cache while the product packs them.
        let width = columns.len();
        let stride = if width.is_multiple_of(COLLIDING) { width + TILE } else { width };
        let mut memory = MEMORY.take();
        if memory.len() < rows.len() * stride {
            memory.resize(rows.len() * stride, 0.0);
        }
        for (row, values) in rows.clone().zip(memory.chunks_exact_mut(stride.max(1))) {
            self.weight.expand(row, columns.clone(), &mut values[..width]);
        }
        multiply(Matrix::new(&memory, [rows.len(), width], [stride, 1]));
        MEMORY.set(memory);
    }

    /// Rows of a tile of so many columns.
    fn rows_near(columns: usize) -> usize {
        (NEAR / columns.max(1)).max(1).next_multiple_of(TILE)
    }

    /// Tasks for the rows of the weight: for each, a range of them.
    fn rows_of_tasks(&self) -> (usize, impl Fn(usize) -> Range<usize> + Sync + Send) {
        let [outputs, inputs] = self.weight.size();
        let each = outputs.div_ceil(self.threads).next_multiple_of(TILE).min(Self::rows_near(inputs)).max(1);
        (outputs.div_ceil(each), move |task| task * each..outputs.min((task + 1) * each))
    }

    /// `y = x Wᵀ + b`, computed as written.
    fn all_rows(&self, ends: &Ends, x: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
        let (rows, [outputs, inputs]) = (x.size()[0], self.weight.size());
        let mut y = repeated(bias, rows, outputs);
        let before = if bias.is_some() { Before::Kept } else { Before::Dropped };
        let (tasks, columns_of) = self.rows_of_tasks();
        let blocks = Blocks::new(&mut y, outputs);
        self.each(tasks, |task| {
            let columns = columns_of(task);
            // SAFETY: each task writes its own range of columns, so no two blocks overlap.
            #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
            let mut target = unsafe { blocks.block(0..rows, columns.clone()) };
            self.with_tile(columns, 0..inputs, |tile| product_until(ends, &mut target, before, x, tile.transposed()));
        });
        y
    }

    /// `y = (W xᵀ)ᵀ + b`.
    fn few_rows(&self, ends: &Ends, x: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
        let (rows, [outputs, inputs]) = (x.size()[0], self.weight.size());
        // Whole tiles, which are whole vectors in the product too.
        let padded = rows.next_multiple_of(TILE);
        let columns = turned(x, padded, None, self.threads > 1);
        let columns = Matrix::new(&columns, [inputs, padded], [padded, 1]);
        let mut y = vec![0.0; outputs * padded];
        let (tasks, rows_of) = self.rows_of_tasks();
        let blocks = Blocks::new(&mut y, padded);
        self.each(tasks, |task| {
            let rows = rows_of(task);
            // SAFETY: each task writes its own range of rows, so no two blocks overlap.
            #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
            let mut target = unsafe { blocks.block(rows.clone(), 0..padded) };
            self.with_tile(rows, 0..inputs, |tile| product_until(ends, &mut target, Before::Dropped, tile, columns));
        });
        turned(Matrix::new(&y, [outputs, rows], [padded, 1]), outputs, bias, self.threads > 1)
    }

    /// `dx = dy W`.
    fn pull(&self, ends: &Ends, grad: Matrix) -> Vec<f32> {
        let (rows, [outputs, inputs]) = (grad.size()[0], self.weight.size());
        let tiles = Tiles::of_blocks([rows, inputs], self.weight.block(), self.threads);
        let mut to_x = vec![0.0; rows * inputs];
        let blocks = Blocks::new(&mut to_x, inputs);
        self.each(tiles.len(), |task| {
            let [rows, columns] = tiles.get(task);
            // SAFETY: each task writes a different tile, and tiles do not overlap (see the tests).
            #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
            let mut target = unsafe { blocks.block(rows.clone(), columns.clone()) };
            let each = Self::rows_near(columns.len());
            for first in (0..outputs).step_by(each).take_while(|_| !ends.now()) {
                let part = first..outputs.min(first + each);
                let grad = grad.block(rows.clone(), part.clone());
                let multiply = |tile: Matrix| product_until(ends, &mut target, Before::Kept, grad, tile);
                self.with_tile(part, columns.clone(), multiply);
            }
        });
        to_x
    }
}
