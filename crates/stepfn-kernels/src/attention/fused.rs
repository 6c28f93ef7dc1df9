//! Attention in host memory. It works on one head and one block of queries at a time, so that the scores stay in a core's cache, and only
//! on the range of keys that the block sees. Heads are read and written in place in the packed projections.
//!
//! Forward, a task is one (text, head, block of queries). Backward, it is one (text, key head, some cotangents), because query heads that
//! share keys add to the same gradient. If a text has at most [`BLOCK`] queries, one product covers all cotangents of a task.

mod softmax;

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use self::softmax::{SoftmaxBackwardRows, SoftmaxRows};
use super::{AttentionGradients, AttentionInputs, AttentionShape, Visible};
use crate::cores::on_all_cores_with;
use crate::host::flex::{self, Strided};
use crate::lanes::LANES;
use crate::product::{Before, Blocks, Matrix, MatrixMut, product};
use crate::watched::{Ends, watched};

/// Queries per block: the scores of 128 queries and 1,024 keys fill half of a typical L2 cache.
const BLOCK: usize = 128;
/// Rows of gradients per product.
const GRADIENT_ROWS: usize = 512;
/// With fewer multiplications than this, starting other threads costs more than it saves.
const PARALLEL_MIN: usize = 1 << 20;

pub(super) fn attention<B: Backend>(inputs: &AttentionInputs<B>) -> Option<Tensor<B, 2>> {
    let host = Host::of(inputs)?;
    let (head_dim, columns) = (host.shape.head_dim, host.query.size()[1]);
    let mut read = vec![0.0; host.query.size()[0] * columns];
    let target = Blocks::new(&mut read, columns);
    host.each_block(|block, scratch| {
        host.probabilities(block, scratch);
        host.drop_out(block, scratch);
        let value = host.value.matrix().block(host.key_rows(block), host.key_columns(block.head));
        // SAFETY: each task writes a different (text, head, block of queries), so no two tasks hold overlapping blocks.
        #[allow(unsafe_code, reason = "tasks write blocks of one tensor")]
        let mut mixed = unsafe { target.block(host.query_rows(block), columns_of(block.head, head_dim)) };
        product(&mut mixed, Before::Dropped, 1.0, scratch.probabilities.matrix(), value);
    });
    Some(flex::made(read, [host.query.size()[0], columns]))
}

pub(super) fn probabilities<B: Backend>(inputs: &AttentionInputs<B>) -> Option<Tensor<B, 4>> {
    let host = Host::of(inputs)?;
    let (n_heads, [queries, keys]) = (host.shape.n_heads, host.width);
    let mut all = vec![0.0; host.shape.texts * n_heads * queries * keys];
    if !all.is_empty() {
        let heads = all.chunks_mut(queries * keys).enumerate();
        let of_head = |ends: &Ends, scratch: &mut Scratch, (index, rows): (usize, &mut [f32])| {
            for block in host.blocks(index / n_heads).take_while(|_| !ends.now()) {
                let block = &Block { head: index % n_heads, ..block };
                host.probabilities(block, scratch);
                let rows = rows.chunks_exact_mut(keys).skip(block.queries.start);
                for (row, made) in rows.zip(scratch.probabilities.rows()) {
                    row[block.keys.clone()].copy_from_slice(&made[..block.keys.len()]);
                }
            }
        };
        watched(host.work(), |ends| {
            on_all_cores_with(heads, Scratch::default, |scratch, rows| of_head(ends, scratch, rows));
        });
    }
    Some(flex::made(all, [host.shape.texts, n_heads, queries, keys]))
}

pub(super) fn backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: &Tensor<B, 2>,
    per_text: usize,
) -> Option<AttentionGradients<B>> {
    let host = Host::of(inputs)?;
    let [query_rows, query_columns] = host.query.size();
    let grad = rows_of_heads(grad, [query_rows * per_text, query_columns])?;
    let pairs = host.shape.texts * host.shape.n_kv_heads;
    // A few tasks per thread, but no empty ones.
    let parts = (4 * rayon::current_num_threads()).div_ceil(pairs.max(1)).clamp(1, per_text.max(1));
    let each = per_text.div_ceil(parts).max(1);
    let tasks: Vec<Task> = (0..pairs)
        .flat_map(|pair| (0..per_text).step_by(each).map(move |first| (pair, first..(first + each).min(per_text))))
        .map(|(pair, cotangents)| Task {
            text: pair / host.shape.n_kv_heads,
            kv_head: pair % host.shape.n_kv_heads,
            cotangents,
        })
        .collect();
    // Scores, their gradients, and those of queries, keys and values.
    let work = host.work() * (1 + 4 * per_text);
    Some(host.gradients(query_rows * per_text, per_text, |targets| {
        watched(work, |ends| {
            let run = |scratch: &mut Scratch, task: &Task| {
                host.backward(task, grad.matrix(), per_text, targets, scratch, ends);
            };
            if host.work() * per_text >= PARALLEL_MIN {
                on_all_cores_with(tasks.iter(), Scratch::default, run);
            } else {
                let scratch = &mut Scratch::default();
                tasks.iter().for_each(|task| run(scratch, task));
            }
        });
    }))
}

pub(super) fn backward_at_queries<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: &Tensor<B, 2>,
) -> Option<AttentionGradients<B>> {
    let host = Host::of(inputs)?;
    let [rows, columns] = host.query.size();
    let grad = rows_of_heads(grad, [rows, columns])?;
    let of_heads =
        (0..host.shape.texts).flat_map(|text| (0..host.shape.n_kv_heads).map(move |kv_head| (text, kv_head)));
    Some(host.gradients(rows, host.width[0], |targets| {
        let run = |scratch: &mut Scratch, (text, kv_head): (usize, usize)| {
            host.each_head((text, kv_head), scratch, &Ends::default(), &mut |block, scratch| {
                let apart = Apart { cotangents: block.queries.clone(), rows: host.query_rows(block), each: 1 };
                host.backward_block(block, apart, grad.matrix(), host.width[0], targets, scratch);
            });
        };
        if host.work() >= PARALLEL_MIN {
            on_all_cores_with(of_heads.collect::<Vec<_>>().into_iter(), Scratch::default, run);
        } else {
            let scratch = &mut Scratch::default();
            of_heads.for_each(|head| run(scratch, head));
        }
    }))
}

/// A tensor of this size, if it is in host memory and the heads of a row are contiguous.
fn rows_of_heads<B: Backend>(x: &Tensor<B, 2>, size: [usize; 2]) -> Option<Strided<2>> {
    Strided::of(x).filter(|x| x.size() == size).filter(|x| x.size()[1] <= 1 || x.strides()[1] == 1)
}

/// [`AttentionInputs`] in host memory.
struct Host<'a, B: Backend> {
    query: Strided<2>,
    key: Strided<2>,
    value: Strided<2>,
    bias: Option<Strided<4>>,
    /// One for each head.
    sinks: Option<Vec<f32>>,
    dropout: Option<Strided<4>>,
    shape: AttentionShape,
    visible: &'a Visible<B>,
    /// Queries and keys per text.
    width: [usize; 2],
}

/// A block of one text's queries in one head, and the range of keys that they see.
#[derive(Debug, Clone)]
struct Block {
    text: usize,
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

/// Some cotangents of one text, for one key head.
struct Task {
    text: usize,
    kv_head: usize,
    cotangents: Range<usize>,
}

struct Targets<'a> {
    query: Blocks<'a>,
    key: Blocks<'a>,
    value: Blocks<'a>,
}

/// Cotangents of a block that are pulled back together.
struct Apart {
    cotangents: Range<usize>,
    /// Their rows among the gradients of what attention returned, which are those of the queries' gradients too.
    rows: Range<usize>,
    /// Rows of each: all of the block's queries, or one.
    each: usize,
}

/// Intermediate results of one thread, in buffers that it reuses.
#[derive(Default)]
struct Scratch {
    /// `A`, and then `A ⊙ D`.
    probabilities: Rows,
    /// `A ⊙ D`, when `A` is still needed.
    kept: Rows,
    /// `s · cap'`, if scores are capped.
    slopes: Rows,
    /// `dA`, and then `dS`.
    grad: Rows,
}

/// Rows padded to a multiple of [`LANES`]; only the first `columns` elements of a row are meaningful.
#[derive(Default)]
struct Rows {
    values: Vec<f32>,
    size: [usize; 2],
}

impl Rows {
    fn resize(&mut self, size: [usize; 2]) {
        self.size = size;
        self.values.resize(size[0] * self.stride(), 0.0);
    }

    fn stride(&self) -> usize {
        self.size[1].next_multiple_of(LANES)
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.size, [self.stride(), 1])
    }

    fn matrix_mut(&mut self) -> MatrixMut<'_> {
        let stride = self.stride();
        MatrixMut::new(&mut self.values, self.size, stride)
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.stride().max(1))
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &[f32] {
        let stride = self.stride();
        &self.values[index * stride..][..stride]
    }

    #[inline(always)]
    fn row_mut(&mut self, index: usize) -> &mut [f32] {
        let stride = self.stride();
        &mut self.values[index * stride..][..stride]
    }
}

fn columns_of(head: usize, head_dim: usize) -> Range<usize> {
    head * head_dim..(head + 1) * head_dim
}

impl<'a, B: Backend> Host<'a, B> {
    fn of(inputs: &AttentionInputs<'a, B>) -> Option<Self> {
        let AttentionInputs { shape, visible, .. } = *inputs;
        let packed = |x: &Tensor<B, 2>, heads: usize, width: usize| {
            rows_of_heads(x, [shape.texts * width, heads * shape.head_dim])
        };
        let width = [visible.queries(), visible.keys()];
        let full = [shape.texts, shape.n_heads, width[0], width[1]];
        let broadcast = |x: Option<&Tensor<B, 4>>| match x {
            None => Some(None),
            Some(x) => {
                let fits = x.dims().into_iter().zip(full).all(|(found, full)| found == full || found == 1);
                Strided::of(x).filter(|_| fits).map(Some)
            }
        };
        let sinks = match inputs.sinks {
            None => None,
            Some(sinks) => {
                let sinks = Strided::of(sinks).filter(|sinks| sinks.size() == [1, shape.n_heads])?;
                let stride = sinks.strides()[1];
                Some((0..shape.n_heads).map(|head| sinks.data().get(head * stride).copied()).collect::<Option<_>>()?)
            }
        };
        let heads = shape.n_kv_heads > 0 && shape.n_heads.is_multiple_of(shape.n_kv_heads);
        (heads && visible.texts() == shape.texts).then_some(())?;
        Some(Self {
            query: packed(inputs.query, shape.n_heads, width[0])?,
            key: packed(inputs.key, shape.n_kv_heads, width[1])?,
            value: packed(inputs.value, shape.n_kv_heads, width[1])?,
            bias: broadcast(inputs.bias)?,
            sinks,
            dropout: broadcast(inputs.dropout)?,
            shape,
            visible,
            width,
        })
    }

    /// Number of multiplications in the scores.
    fn work(&self) -> usize {
        let AttentionShape { texts, n_heads, head_dim, .. } = self.shape;
        texts * n_heads * head_dim * self.width[0] * self.width[1]
    }

    /// The blocks of a text, for its first head; queries that see nothing are left out.
    fn blocks(&self, text: usize) -> impl Iterator<Item = Block> {
        let queries = self.width[0];
        let starts = (0..queries).step_by(BLOCK);
        starts.filter_map(move |start| {
            let queries = start..(start + BLOCK).min(queries);
            let seen = queries.clone().map(|query| self.visible.range(text, query)).filter(|seen| !seen.is_empty());
            let keys = seen.reduce(|all, seen| all.start.min(seen.start)..all.end.max(seen.end))?;
            Some(Block { text, head: 0, queries, keys })
        })
    }

    /// Runs `task` on all blocks of all heads, on several cores if that is faster.
    fn each_block(&self, task: impl Fn(&Block, &mut Scratch) + Sync) {
        let texts = (0..self.shape.texts).flat_map(|text| self.blocks(text));
        let heads = |block: Block| (0..self.shape.n_heads).map(move |head| Block { head, ..block.clone() });
        let blocks: Vec<Block> = texts.flat_map(heads).collect();
        if self.work() < PARALLEL_MIN {
            let scratch = &mut Scratch::default();
            return blocks.iter().for_each(|block| task(block, scratch));
        }
        // Scores, and the mixture of values.
        watched(2 * self.work(), |ends| {
            on_all_cores_with(blocks.iter(), Scratch::default, |scratch, block| {
                if !ends.now() {
                    task(block, scratch);
                }
            });
        });
    }

    fn query_rows(&self, block: &Block) -> Range<usize> {
        let first = block.text * self.width[0];
        first + block.queries.start..first + block.queries.end
    }

    fn key_rows(&self, block: &Block) -> Range<usize> {
        let first = block.text * self.width[1];
        first + block.keys.start..first + block.keys.end
    }

    /// The columns of the keys and values that a head reads.
    fn key_columns(&self, head: usize) -> Range<usize> {
        columns_of(head / self.shape.group(), self.shape.head_dim)
    }

    /// The probabilities of a block, and the slopes of its capped scores.
    fn probabilities(&self, block: &Block, scratch: &mut Scratch) {
        let size = [block.queries.len(), block.keys.len()];
        let query = self.query.matrix().block(self.query_rows(block), columns_of(block.head, self.shape.head_dim));
        let key = self.key.matrix().block(self.key_rows(block), self.key_columns(block.head));
        scratch.probabilities.resize(size);
        let scores = &mut scratch.probabilities.matrix_mut();
        product(scores, Before::Dropped, self.shape.scale as f32, query, key.transposed());
        if self.shape.soft_cap.is_some() {
            scratch.slopes.resize(size);
        }
        pulp::Arch::new().dispatch(SoftmaxRows { host: self, block, scratch });
    }

    /// Multiplies the probabilities by the dropout mask.
    fn drop_out(&self, block: &Block, scratch: &mut Scratch) {
        let Some(dropout) = &self.dropout else { return };
        for (index, query) in block.queries.clone().enumerate() {
            let row = &mut scratch.probabilities.row_mut(index)[..block.keys.len()];
            let multipliers = row_of(dropout, block, query);
            row.iter_mut().zip(multipliers).for_each(|(p, multiplier)| *p *= multiplier);
        }
    }

    /// Adds a task's contribution to the gradients.
    fn backward(
        &self,
        task: &Task,
        grad: Matrix,
        per_text: usize,
        targets: &Targets,
        scratch: &mut Scratch,
        ends: &Ends,
    ) {
        self.each_head((task.text, task.kv_head), scratch, ends, &mut |block, scratch| {
            let (queries, each) = (self.width[0], block.queries.len());
            // If the block is a whole text, the next cotangent's queries follow directly.
            let together = if each == queries { (GRADIENT_ROWS / queries).max(1) } else { 1 };
            for first in task.cotangents.clone().step_by(together).take_while(|_| !ends.now()) {
                let cotangents = first..(first + together).min(task.cotangents.end);
                let start = (block.text * per_text + cotangents.start) * queries + block.queries.start;
                let rows = start..start + cotangents.len() * each;
                self.backward_block(block, Apart { cotangents, rows, each }, grad, per_text, targets, scratch);
            }
        });
    }

    /// Calls `task` with each block of the heads that share a key head, whose probabilities are in the scratch.
    fn each_head(
        &self,
        (text, kv_head): (usize, usize),
        scratch: &mut Scratch,
        ends: &Ends,
        task: &mut dyn FnMut(&Block, &mut Scratch),
    ) {
        let group = self.shape.group();
        for head in kv_head * group..(kv_head + 1) * group {
            for block in self.blocks(text).take_while(|_| !ends.now()) {
                let block = &Block { head, ..block };
                self.probabilities(block, scratch);
                scratch.kept.resize(scratch.probabilities.size);
                if self.dropout.is_some() {
                    let Scratch { probabilities, kept, .. } = scratch;
                    kept.values.copy_from_slice(&probabilities.values);
                    core::mem::swap(probabilities, kept);
                    self.drop_out(block, scratch);
                    core::mem::swap(&mut scratch.probabilities, &mut scratch.kept);
                }
                task(block, scratch);
            }
        }
    }

    /// The gradients that `fill` adds up, for so many rows of queries, and `per_text` cotangents of the keys of each text.
    fn gradients(&self, query_rows: usize, per_text: usize, fill: impl FnOnce(&Targets)) -> AttentionGradients<B> {
        let ([_, query_columns], [key_rows, key_columns]) = (self.query.size(), self.key.size());
        let mut query = vec![0.0; query_rows * query_columns];
        let mut key = vec![0.0; per_text * key_rows * key_columns];
        let mut value = vec![0.0; per_text * key_rows * key_columns];
        fill(&Targets {
            query: Blocks::new(&mut query, query_columns),
            key: Blocks::new(&mut key, key_columns),
            value: Blocks::new(&mut value, key_columns),
        });
        AttentionGradients {
            query: flex::made(query, [query_rows, query_columns]),
            key: flex::made(key, [per_text * key_rows, key_columns]),
            value: flex::made(value, [per_text * key_rows, key_columns]),
        }
    }

    /// Adds the contribution of some cotangents of a block to the gradients.
    fn backward_block(
        &self,
        block: &Block,
        Apart { cotangents, rows, each }: Apart,
        grad: Matrix,
        per_text: usize,
        targets: &Targets,
        scratch: &mut Scratch,
    ) {
        let ([_, keys], head_columns) = (self.width, columns_of(block.head, self.shape.head_dim));
        let key_columns = self.key_columns(block.head);
        let grad = grad.block(rows.clone(), head_columns.clone());
        let value = self.value.matrix().block(self.key_rows(block), key_columns.clone());
        scratch.grad.resize([rows.len(), block.keys.len()]);
        product(&mut scratch.grad.matrix_mut(), Before::Dropped, 1.0, grad, value.transposed());
        pulp::Arch::new().dispatch(SoftmaxBackwardRows { host: self, block, scratch });

        let key = self.key.matrix().block(self.key_rows(block), key_columns.clone());
        let query = self.query.matrix().block(self.query_rows(block), head_columns.clone());
        // SAFETY: each task owns its cotangents of its query heads, so no two tasks hold overlapping blocks.
        #[allow(unsafe_code, reason = "tasks write blocks of one tensor")]
        let mut target = unsafe { targets.query.block(rows, head_columns) };
        product(&mut target, Before::Dropped, 1.0, scratch.grad.matrix(), key);
        let kept = if self.dropout.is_some() { &scratch.kept } else { &scratch.probabilities };
        for (index, cotangent) in cotangents.enumerate() {
            let (all, rows) = (0..block.keys.len(), index * each..(index + 1) * each);
            let of_queries = if each == block.queries.len() { 0..each } else { rows.clone() };
            let query = query.block(of_queries.clone(), 0..self.shape.head_dim);
            let first = (block.text * per_text + cotangent) * keys + block.keys.start;
            let key_rows = first..first + block.keys.len();
            let scores = scratch.grad.matrix().block(rows.clone(), all.clone());
            let kept = kept.matrix().block(of_queries, all);
            // SAFETY: each task owns its cotangents of its key head, so no two tasks hold overlapping blocks.
            #[allow(unsafe_code, reason = "tasks write blocks of one tensor")]
            let [mut of_key, mut of_value] = unsafe {
                [&targets.key, &targets.value].map(|target| target.block(key_rows.clone(), key_columns.clone()))
            };
            product(&mut of_key, Before::Kept, 1.0, scores.transposed(), query);
            let grad = grad.block(rows, 0..self.shape.head_dim);
            product(&mut of_value, Before::Kept, 1.0, kept.transposed(), grad);
        }
    }
}

/// The row of a broadcast tensor for one query, over the keys of a block.
#[inline(always)]
fn row_of<'a>(tensor: &'a Strided<4>, block: &Block, query: usize) -> impl Iterator<Item = &'a f32> {
    let [text, head, row, column] = tensor.strides();
    let start = block.text * text + block.head * head + query * row + block.keys.start * column;
    let data = &tensor.data()[start..];
    (0..block.keys.len()).map(move |key| &data[key * column])
}
