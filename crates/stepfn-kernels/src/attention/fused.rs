//! Attention in host memory. It works on one head and one block of queries at a time, so that the scores stay in a core's cache, and only
//! on the range of keys that the block sees. Heads are read and written in place in the packed projections.
//!
//! Forward, a task is one (text, head, block of queries). Backward, it is one (text, key head, some cotangents), because query heads that
//! share keys add to the same gradient; where these would be few, blocks of a text are shared out too, and what they add to keys and values is added up in the
//! end. If a text has at most [`BLOCK`] queries, one product covers all cotangents of a task.

mod backward;
mod softmax;

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use self::softmax::SoftmaxRows;
use super::{AttentionInputs, AttentionShape, Visible};

pub(super) use self::backward::{backward, backward_at_queries};
use crate::cores::on_all_cores_with;
use crate::host::flex::{self, Strided};
use crate::lanes::LANES;
use crate::product::{Before, Blocks, Matrix, MatrixMut, product};
use crate::watched::{Ends, watched};

/// Queries per block: the scores of 128 queries and 1,024 keys fill half of a typical L2 cache.
const BLOCK: usize = 128;
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

    /// Elements of a row with its padding.
    fn padded(&self) -> usize {
        self.size[1].next_multiple_of(LANES)
    }

    /// Elements from a row to the next: an odd number of cache lines, so that a column of many rows is spread over all sets of a cache.
    fn stride(&self) -> usize {
        const CACHE_LINE: usize = 16;
        self.padded() + CACHE_LINE
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.size, [self.stride(), 1])
    }

    fn matrix_mut(&mut self) -> MatrixMut<'_> {
        let stride = self.stride();
        MatrixMut::new(&mut self.values, self.size, stride)
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.stride())
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.stride()..][..self.padded()]
    }

    #[inline(always)]
    fn row_mut(&mut self, index: usize) -> &mut [f32] {
        let (start, end) = (index * self.stride(), self.padded());
        &mut self.values[start..][..end]
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
}

/// The row of a broadcast tensor for one query, over the keys of a block.
#[inline(always)]
fn row_of<'a>(tensor: &'a Strided<4>, block: &Block, query: usize) -> impl Iterator<Item = &'a f32> {
    let [text, head, row, column] = tensor.strides();
    let start = block.text * text + block.head * head + query * row + block.keys.start * column;
    let data = &tensor.data()[start..];
    (0..block.keys.len()).map(move |key| &data[key * column])
}
