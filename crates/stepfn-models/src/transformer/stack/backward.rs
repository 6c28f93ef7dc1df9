//! The way back through a stack: from its last hidden states to its embeddings, and to the encoder's output.

use std::borrow::Cow;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;

use super::Stack;
use crate::transformer::attention::{Sight, Watch, Watched};
use crate::transformer::block::{BlockTape, Sights};
use crate::transformer::inside::AttentionKind;
use crate::transformer::rows::{Places, Rows};
use crate::transformer::rules::{Rule, Saved, scaled};
use crate::transformer::tape::{Entry, LayerTape, Origin, StackTape};

impl<B: Backend> Stack<B> {
    /// Pulls cotangents of the last hidden states back to what the pass began with, and to the encoder's output. Under
    /// [`Rule::DeepLift`] the baseline is a pass over as many places.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents, hidden]` if each has a place of its own, the same in all texts; else `[texts · cotangents · places, hidden]`
    /// - result: `[texts · cotangents · places, embedding]`, or hidden size where the pass began at a block; `[texts · cotangents · source width,
    ///   hidden]`
    ///
    /// # Panics
    /// If shapes don't fit the tape, or a baseline's pass the other.
    pub fn pull_back(
        &self,
        tape: &StackTape<B>,
        rule: Rule<&StackTape<B>>,
        grad: Tensor<B, 2>,
        origin: Origin,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        self.pull_back_watched(tape, rule, grad, origin, None)
    }

    /// [`pull_back`](Self::pull_back) that shows what passes through attention.
    pub(crate) fn pull_back_watched(
        &self,
        tape: &StackTape<B>,
        rule: Rule<&StackTape<B>>,
        grad: Tensor<B, 2>,
        origin: Origin,
        watch: Option<&Watch<'_, B>>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let texts = tape.batch.len();
        let (width, device) = (tape.batch.width(), grad.device());
        let per_text = match origin {
            Origin::Places(places) => places.len(),
            Origin::Everywhere { cotangents } => cotangents,
        };
        let cotangents = Cotangents { texts, per_text };
        let mut rows = match origin {
            Origin::Places(places) => Some(Rows::new(texts, width, places, &device)),
            Origin::Everywhere { .. } => None,
        };
        let tape = Saved { here: tape, rule };
        let mut grad = match &self.project_out {
            Some(project_out) => project_out.backward(grad),
            None => grad,
        };
        let at = |x: &Tensor<B, 2>| rows.as_ref().map_or_else(|| x.clone(), |rows| rows.of(x));
        let over = if rows.is_some() { Cotangents::one_each(1) } else { cotangents };
        if let Some(mask) = &tape.here.last_mask {
            grad = scaled(grad, at(mask), over);
        }
        if let Some(norm) = &self.final_norm {
            let x = tape.part(|tape| &tape.unnormalized);
            grad = x.made(at, |x| norm.backward(x, grad, over));
        }
        if let (Rule::DeepLift { .. }, Some(single)) =
            (tape.rule, rows.take_if(|_| matches!(tape.rule, Rule::DeepLift { .. })))
        {
            // Multipliers compare passes place by place.
            grad = single.spread(grad);
        }
        let mut single = rows.as_ref().map(|rows| tape.here.tables.rows(rows, &device));

        let mut to_memory: Option<Tensor<B, 2>> = None;
        for (layer, block) in self.blocks.iter().enumerate().skip(tape.here.entry.layer()).rev() {
            let tables = &tape.here.tables;
            let queries = single.as_ref().unwrap_or(tables);
            let sight = Sight {
                visible: self.visible(queries, layer),
                bias: queries.bias.as_ref(),
                rotation: tables.rotation.as_ref(),
                query_rotation: queries.rotation.as_ref(),
                cotangents,
                own: rows.is_some(),
                watched: watch.map(|watch| Watched { watch, kind: AttentionKind::Own, layer }),
            };
            let memory = queries.memory.as_ref().map(|visible| Sight {
                visible,
                bias: None,
                rotation: None,
                query_rotation: None,
                watched: watch.map(|watch| Watched { watch, kind: AttentionKind::Cross, layer }),
                ..sight
            });
            let sights = Sights { own: sight, memory, rows: rows.as_ref() };
            let to;
            (grad, to) = tape.made(
                |tape| self.inside(tape, layer),
                |inside| block.backward(inside.part(|inside| &**inside), grad, sights),
            );
            to_memory = match (to_memory, to) {
                (Some(sum), Some(to)) => Some(sum + to),
                (sum, to) => sum.or(to),
            };
            // Below the last block, every place has cotangents.
            (rows, single) = (None, None);
        }
        if let Some(rows) = rows {
            grad = rows.spread(grad);
        }
        if tape.here.entry != Entry::Embeddings {
            return (grad, to_memory);
        }
        if let Some(mask) = &tape.here.embedding_mask {
            grad = scaled(grad, mask.clone(), cotangents);
        }
        if let (Some(norm), Some(x)) = (&self.embedding_norm, tape.optional(|tape| tape.before_norm.as_ref())) {
            grad = norm.backward(x, grad, cotangents);
        }
        if let Some(project_in) = &self.project_in {
            grad = project_in.backward(grad);
        }
        (grad, to_memory)
    }

    /// What a layer's backward reads: kept, or computed again.
    fn inside<'a>(&self, tape: &'a StackTape<B>, layer: usize) -> Cow<'a, BlockTape<B>> {
        match &tape.layers[layer - tape.entry.layer()] {
            LayerTape::Whole(inside) => Cow::Borrowed(inside),
            LayerTape::Input(x) => {
                let masks = self.masks(&tape.batch, &tape.dropout, tape.batch.width(), x.dtype());
                let memory = tape.memory.as_ref().map(|(hidden, source)| (hidden, source));
                let around = self.surroundings(layer, &tape.tables, memory, &masks, &x.device());
                Cow::Owned(self.blocks[layer].forward(x.clone(), around).1)
            }
        }
    }
}
