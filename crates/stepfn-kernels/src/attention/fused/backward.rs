//! The gradients of queries, keys and values, for cotangents of all queries or of one each.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::softmax::SoftmaxBackwardRows;
use super::{Block, Host, PARALLEL_MIN, Scratch, columns_of, rows_of_heads};
use crate::attention::{AttentionGradients, AttentionInputs};
use crate::cores::on_all_cores_with;
use crate::host::flex;
use crate::product::{Before, Blocks, Matrix, product};
use crate::watched::{Ends, watched};

/// Rows of gradients per product.
const GRADIENT_ROWS: usize = 512;

pub(in super::super) fn backward<B: Backend>(
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

pub(in super::super) fn backward_at_queries<B: Backend>(
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

impl<B: Backend> Host<'_, B> {
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
