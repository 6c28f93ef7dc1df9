//! A forward pass through a stack, from embeddings to the last hidden states.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::dropout::Site;

use super::tape::Recorded;
use super::{Entry, Pass, Stack};
use crate::ModelError;
use crate::check_interrupted;
use crate::config::Positions;
use crate::transformer::TokenBatch;
use crate::transformer::dropout::Masks;
use crate::transformer::part::Streams;
use crate::transformer::places::Places;
use crate::transformer::positions;
use crate::transformer::tables::Tables;
use crate::transformer::twins::Twins;

/// A forward pass under way, and what it has made.
pub(super) struct Run<B: Backend> {
    pub(super) last: Tensor<B, 2>,
    pub(super) tables: Tables<B>,
    pub(super) before_norm: Option<Tensor<B, 2>>,
    pub(super) embedding_mask: Option<Tensor<B, 2>>,
    pub(super) unnormalized: Tensor<B, 2>,
    pub(super) last_mask: Option<Tensor<B, 2>>,
}

impl<B: Backend> Stack<B> {
    /// Runs the blocks on embeddings, and shows each what it keeps.
    pub(super) fn run(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        mut each: impl FnMut(usize, Recorded<B>, &Tensor<B, 2>),
    ) -> Result<Run<B>, ModelError> {
        self.check(&pass)?;
        let Pass { batch, memory, dropout, entry, mut cache, of_tokens, .. } = pass;
        let cached = cache.as_ref().map_or(0, |cache| cache.width);
        let source = memory.map(|(_, source)| source);
        let places = batch.width() - cached;
        let keys = cache.as_ref().map_or(batch.width(), |cache| cache.places(batch.width()));
        let (device, dtype) = (embedded.device(), embedded.dtype());
        let masks = self.masks(batch, dropout, places, dtype);
        let twins = || Twins::of(batch, source, &self.config.positions, places, &device).map(Arc::new);
        let twins = of_tokens.filter(|_| !self.config.bidirectional).and_then(|_| twins());
        // Of the places that are computed, those whose last hidden states are returned; `None` for all.
        let asked = of_tokens.map(|first| first.saturating_sub(cached)).filter(|&first| first > 0);
        let asked = asked.map(|first| Places::new(&(first..places).collect::<Vec<_>>(), batch.len(), places, &device));
        let mut run = Run {
            unnormalized: embedded.clone(),
            last: embedded,
            tables: self.tables(batch, source, [places, keys], dtype).with_twins(twins.clone()),
            before_norm: None,
            embedding_mask: None,
            last_mask: None,
        };
        if entry == Entry::Embeddings {
            self.enter(&mut run, batch, &masks);
        }
        if let Some(twins) = &twins {
            run.last = twins.once(run.last);
        }
        let mut left_out = false;
        for layer in entry.layer()..self.blocks.len() {
            check_interrupted()?;
            let around = self.around(layer, &run.tables, source, &masks, &device);
            let streams = Streams { x: run.last, memory: memory.map(|(hidden, _)| hidden.clone()) };
            let cache = cache.as_mut().map(|cache| &mut cache.layers[layer]);
            // Rows are copied to be left out, which only pays for more than a few.
            let pays = |asked: &&Places<B>| layer + 1 == self.blocks.len() && 8 * asked.len() <= 7 * places;
            if let Some(asked) = asked.as_ref().filter(pays) {
                run.last = self.blocks[layer].forward_at(streams, &around, cache, asked);
                left_out = true;
                continue;
            }
            let tape;
            (run.last, tape) = self.blocks[layer].record_with(streams, &around, cache);
            each(layer, Recorded { tape, around }, &run.last);
        }
        if let Some(cache) = cache {
            cache.filled(batch.width());
        }
        if !left_out {
            if let Some(twins) = &twins {
                run.last = twins.everywhere(run.last);
            }
            if let Some(asked) = &asked {
                run.last = asked.of(&run.last);
            }
        }
        run.unnormalized = run.last.clone();
        if let Some(norm) = &self.final_norm {
            run.last = norm.apply(run.last);
        }
        run.last_mask = masks.multipliers(0, Site::Final, masks.rates().last, self.hidden, &device);
        if let Some(mask) = &run.last_mask {
            run.last = run.last * mask.clone();
        }
        if let Some(project_out) = &self.project_out {
            run.last = project_out.apply(run.last);
        }
        Ok(run)
    }

    /// From embeddings to what enters the first block.
    fn enter(&self, run: &mut Run<B>, batch: &TokenBatch, masks: &Masks) {
        let mut x = run.last.clone();
        let (places, dtype, device) = (masks.places, x.dtype(), x.device());
        let projected = |x| match &self.project_in {
            Some(project_in) => project_in.apply(x),
            None => x,
        };
        if !self.config.projected_last {
            x = projected(x);
        }
        let added = match (&self.positions, self.config.positions.learned()) {
            (Some(table), Some([_, offset])) => {
                Some(table.clone().select(0, positions::learned_rows(batch, places, offset, &device)))
            }
            _ => self.config.positions.sinusoids(batch, places, self.hidden, dtype, &device),
        };
        let (before, after) = match self.config.positions {
            Positions::LearnedAfterNorm { .. } => (None, added),
            _ => (added, None),
        };
        if let Some(added) = before {
            x = x + added;
        }
        if let Some(norm) = &self.embedding_norm {
            run.before_norm = Some(x.clone());
            x = norm.apply(x);
        }
        if let Some(added) = after {
            x = x + added;
        }
        let [_, width] = x.dims();
        run.embedding_mask = masks.multipliers(0, Site::Embedding, masks.rates().embedding, width, &device);
        if let Some(mask) = &run.embedding_mask {
            x = x * mask.clone();
        }
        run.last = if self.config.projected_last { projected(x) } else { x };
    }
}
