//! A block once more at single queries, without some of the values that its attention reads.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::Visible;

use super::{Block, BlockTape};
use crate::config::Residual;
use crate::transformer::attention::{Attention, AttentionTape, Removals};
use crate::transformer::branch::{Branch, BranchTape};
use crate::transformer::inside::AttentionKind;
use crate::transformer::part::Part;
use crate::transformer::places::Places;
use crate::transformer::view::View;

/// Values removed from a block's attention at single queries of one text.
#[derive(Debug)]
pub(crate) struct Without<'a, B: Backend> {
    pub(crate) removals: Removals<'a, B>,
    /// The queries.
    pub(crate) places: Places<B>,
    /// What the changed attention sees there.
    pub(crate) view: View<B>,
    /// What cross-attention sees, where there is an encoder.
    pub(crate) memory: Option<&'a View<B>>,
}

/// A branch with attention, and what a pass saved of it.
type Attending<'a, B> = (&'a Branch<B, Attention<B>>, &'a BranchTape<B, AttentionTape<B>>);

impl<B: Backend> Block<B> {
    pub(super) fn attention<'a>(&'a self, kind: AttentionKind, tape: &'a BlockTape<B>) -> Option<Attending<'a, B>> {
        match kind {
            AttentionKind::Own => Some((&self.self_attention, &tape.self_attention)),
            AttentionKind::Cross => self.cross_attention.as_ref().zip(tape.cross_attention.as_ref()),
        }
    }

    /// The attention probabilities of single queries, `[texts, heads, queries, keys]`.
    pub(crate) fn probabilities_at(
        &self,
        tape: &BlockTape<B>,
        kind: AttentionKind,
        places: &Places<B>,
        view: &View<B>,
    ) -> Option<Tensor<B, 4>> {
        let (branch, saved) = self.attention(kind, tape)?;
        Some(branch.body.probabilities(&saved.body.rows(places), view))
    }

    /// The residual stream after the block at the query of each removal, `[removals, hidden]`.
    pub(crate) fn without_values(
        &self,
        tape: &BlockTape<B>,
        kind: AttentionKind,
        without: &Without<'_, B>,
    ) -> Option<Tensor<B, 2>> {
        let Without { removals, places, view, memory } = without;
        let (branch, saved) = self.attention(kind, tape)?;
        let before = removals.of_queries(places.of(&saved.x));
        let attended = branch.body.without_values(&saved.body.rows(places), view, removals);
        let (mut x, _) = branch.record_onto(before.clone(), before.clone(), None, |_| (attended, ()));
        if let (AttentionKind::Own, Some((cross, saved)), Some(memory)) =
            (kind, self.attention(AttentionKind::Cross, tape), memory)
        {
            // All queries of a text see the same of the encoder.
            let seen = memory.visible.range(0, 0);
            let seen = core::iter::once(seen.start as u32..seen.end as u32).collect();
            let [queries, _] = x.dims();
            let visible = Visible::new(seen, 1, queries, memory.visible.keys(), &x.device());
            let visible = Arc::new(visible);
            let view = View { visible, bias: None, rotation: None, growth: None, dropout: None, twins: None };
            let attend = |x| cross.body.read(x, AttentionKind::Cross, saved.body.seen().clone(), &view);
            (x, _) = cross.record_onto(x.clone(), x, None, attend);
        }
        let read = match self.residual {
            Residual::Sequential | Residual::Scaled(_) => x.clone(),
            Residual::Parallel => before,
        };
        let (x, _) = self.feed_forward.record_onto(x, read, None, |x| self.feed_forward.body.record(x, &None));
        Some(x)
    }
}
