//! The gradients of queries, keys and values, for cotangents of all queries or of one each.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::softmax::SoftmaxBackwardRows;
use super::{Block, Host, PARALLEL_MIN, Scratch, columns_of, rows_of_heads};
use crate::attention::{AttentionGradients, AttentionInputs};
use crate::cores::{on_all_cores, on_all_cores_with};
use crate::host::flex;
use crate::product::{Before, Blocks, Matrix, product};
use crate::watched::{Ends, watched};

/// Rows of gradients per product.
const GRADIENT_ROWS: usize = 512;
/// Tasks of one text, at least, if it is long enough. The number depends neither on the machine nor on how many texts there are, because the order of sums
/// depends on it.
const TASKS: usize = 16;

pub(in super::super) fn backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: &Tensor<B, 2>,
    per_text: usize,
) -> Option<AttentionGradients<B>> {
    let host = Host::of(inputs)?;
    let [query_rows, query_columns] = host.query.size();
    let grad = rows_of_heads(grad, [query_rows * per_text, query_columns])?;
    let parts = host.parts(per_text);
    let heads = parts.len() * host.shape.n_kv_heads;
    // A few tasks per thread, but no empty ones.
    let split = (4 * rayon::current_num_threads()).div_ceil(heads.max(1)).clamp(1, per_text.max(1));
    let each = per_text.div_ceil(split).max(1);
    let tasks: Vec<Task> = (0..heads)
        .flat_map(|head| (0..per_text).step_by(each).map(move |first| (head, first..(first + each).min(per_text))))
        .map(|(head, cotangents)| Task {
            part: &parts[head / host.shape.n_kv_heads],
            kv_head: head % host.shape.n_kv_heads,
            cotangents,
        })
        .collect();
    // Scores, their gradients, and those of queries, keys and values.
    let work = host.work() * (1 + 4 * per_text);
    Some(host.gradients(query_rows * per_text, per_text, &parts, |targets| {
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
    let [per_text, keys] = host.width;
    let part = |text: usize| {
        let sums = Sums { keys: 0..keys, first: text * per_text * keys, between: keys };
        Part { text, blocks: host.blocks(text).collect(), sums }
    };
    let parts: Vec<Part> = (0..host.shape.texts).map(part).collect();
    let of_heads = parts.iter().flat_map(|part| (0..host.shape.n_kv_heads).map(move |kv_head| (part, kv_head)));
    Some(host.gradients(rows, per_text, &[], |targets| {
        let run = |scratch: &mut Scratch, (part, kv_head): (&Part, usize)| {
            host.each_head((part, kv_head), scratch, &Ends::default(), &mut |block, scratch| {
                let apart = Apart { cotangents: block.queries.clone(), rows: host.query_rows(block), each: 1 };
                host.backward_block(block, apart, grad.matrix(), &part.sums, targets, scratch);
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

/// Neighbouring blocks of a text, and where their gradients of keys and values are added up.
struct Part {
    text: usize,
    blocks: Vec<Block>,
    sums: Sums,
}

/// Rows for the gradients of some keys, of each cotangent.
struct Sums {
    keys: Range<usize>,
    /// The row of the first of these keys, of the first cotangent.
    first: usize,
    /// Rows from a cotangent to the next.
    between: usize,
}

impl Sums {
    fn rows(&self, cotangent: usize, keys: &Range<usize>) -> Range<usize> {
        let first = self.first + cotangent * self.between + keys.start - self.keys.start;
        first..first + keys.len()
    }
}

/// Some cotangents of one part of a text, for one key head.
struct Task<'a> {
    part: &'a Part,
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
        self.each_head((task.part, task.kv_head), scratch, ends, &mut |block, scratch| {
            let (queries, each) = (self.width[0], block.queries.len());
            // If the block is a whole text, the next cotangent's queries follow directly.
            let together = if each == queries { (GRADIENT_ROWS / queries).max(1) } else { 1 };
            for first in task.cotangents.clone().step_by(together).take_while(|_| !ends.now()) {
                let cotangents = first..(first + together).min(task.cotangents.end);
                let start = (block.text * per_text + cotangents.start) * queries + block.queries.start;
                let rows = start..start + cotangents.len() * each;
                let apart = Apart { cotangents, rows, each };
                self.backward_block(block, apart, grad, &task.part.sums, targets, scratch);
            }
        });
    }

    /// The parts of all texts, of about the same size. Only the first of a text adds to the gradients themselves: rows for the others follow them.
    fn parts(&self, per_text: usize) -> Vec<Part> {
        let keys = self.width[1];
        let count = TASKS.div_ceil((self.shape.n_kv_heads * per_text).max(1));
        let mut behind = self.shape.texts * per_text * keys;
        let mut parts: Vec<Part> = Vec::new();
        for text in 0..self.shape.texts {
            let blocks: Vec<Block> = self.blocks(text).collect();
            let work = |block: &Block| block.queries.len() * block.keys.len();
            let (all, mut before) = (blocks.iter().map(work).sum::<usize>(), 0);
            let mut shares = vec![Vec::new(); count];
            // In causal order, the last blocks see the most keys.
            for block in blocks.into_iter().rev() {
                let share = before * count / all;
                before += work(&block);
                shares[share].push(block);
            }
            for blocks in shares {
                let seen = blocks.iter().map(|block: &Block| block.keys.clone());
                let seen = seen.reduce(|all, seen| all.start.min(seen.start)..all.end.max(seen.end));
                let Some(seen) = seen else { continue };
                let sums = if parts.last().is_some_and(|part| part.text == text) {
                    let first = behind;
                    behind += per_text * seen.len();
                    Sums { first, between: seen.len(), keys: seen }
                } else {
                    Sums { first: text * per_text * keys + seen.start, between: keys, keys: seen }
                };
                parts.push(Part { text, blocks, sums });
            }
        }
        parts
    }

    /// Calls `task` with each block of the heads that share a key head, whose probabilities are in the scratch.
    fn each_head(
        &self,
        (part, kv_head): (&Part, usize),
        scratch: &mut Scratch,
        ends: &Ends,
        task: &mut dyn FnMut(&Block, &mut Scratch),
    ) {
        let group = self.shape.group();
        for head in kv_head * group..(kv_head + 1) * group {
            for block in part.blocks.iter().take_while(|_| !ends.now()) {
                let block = &Block { head, ..block.clone() };
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

    /// The gradients that `fill` adds up, for so many rows of queries, and `per_text` cotangents of the keys of each text. Parts may have rows of their
    /// own for those of keys and values, behind the gradients themselves.
    fn gradients(
        &self,
        query_rows: usize,
        per_text: usize,
        parts: &[Part],
        fill: impl FnOnce(&Targets),
    ) -> AttentionGradients<B> {
        let ([_, query_columns], [key_rows, key_columns]) = (self.query.size(), self.key.size());
        let rows = per_text * key_rows;
        let apart = || parts.iter().filter(|part| part.sums.first >= rows);
        let behind: usize = apart().map(|part| per_text * part.sums.between).sum();
        let mut query = vec![0.0; query_rows * query_columns];
        let mut key = vec![0.0; (rows + behind) * key_columns];
        let mut value = vec![0.0; (rows + behind) * key_columns];
        fill(&Targets {
            query: Blocks::new(&mut query, query_columns),
            key: Blocks::new(&mut key, key_columns),
            value: Blocks::new(&mut value, key_columns),
        });
        if behind > 0 {
            on_all_cores([&mut key, &mut value].into_iter(), |gradients| {
                let (sums, terms) = gradients.split_at_mut(rows * key_columns);
                for part in apart() {
                    let Part { text, sums: Sums { keys, first, between }, .. } = part;
                    for cotangent in 0..per_text {
                        let row = (text * per_text + cotangent) * self.width[1] + keys.start;
                        let term = &terms[(first - rows + cotangent * between) * key_columns..];
                        let sum = &mut sums[row * key_columns..][..keys.len() * key_columns];
                        sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
                    }
                }
                gradients.truncate(rows * key_columns);
            });
        }
        AttentionGradients {
            query: flex::made(query, [query_rows, query_columns]),
            key: flex::made(key, [rows, key_columns]),
            value: flex::made(value, [rows, key_columns]),
        }
    }

    /// Adds the contribution of some cotangents of a block to the gradients.
    fn backward_block(
        &self,
        block: &Block,
        Apart { cotangents, rows, each }: Apart,
        grad: Matrix,
        sums: &Sums,
        targets: &Targets,
        scratch: &mut Scratch,
    ) {
        let head_columns = columns_of(block.head, self.shape.head_dim);
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
            let key_rows = sums.rows(cotangent, &block.keys);
            let scores = scratch.grad.matrix().block(rows.clone(), all.clone());
            let kept = kept.matrix().block(of_queries, all);
            // SAFETY: each task owns its part's sums of its cotangents of its key head, so no two tasks hold overlapping blocks.
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
