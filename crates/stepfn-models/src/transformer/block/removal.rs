//! A block once more at single queries, without some of the values that its attention reads.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::Visible;

use super::{AttentionTape, Block, BlockTape, Branch, BranchTape};
use crate::config::Residual;
use crate::transformer::attention::{Attention, Removals, View};
use crate::transformer::inside::AttentionKind;
use crate::transformer::rows::{Places, Rows};

/// Values taken away from a block's attention at single queries of one text.
#[derive(Debug)]
pub(crate) struct Without<'a, B: Backend> {
    pub(crate) removals: Removals<'a, B>,
    /// The queries.
    pub(crate) rows: Rows<B>,
    /// What the changed attention sees there.
    pub(crate) view: View<'a, B>,
    /// What cross-attention sees there.
    pub(crate) memory: Option<&'a Visible<B>>,
}

/// A branch with attention, and what a pass saved of it.
type Attending<'a, B> = (&'a Branch<B, Attention<B>>, &'a BranchTape<B, AttentionTape<B>>);

impl<B: Backend> Block<B> {
    fn attention<'a>(&'a self, kind: AttentionKind, tape: &'a BlockTape<B>) -> Option<Attending<'a, B>> {
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
        rows: &Rows<B>,
        view: &View<B>,
    ) -> Option<Tensor<B, 4>> {
        let (branch, saved) = self.attention(kind, tape)?;
        Some(branch.body.probabilities(&saved.body.rows(rows), view.visible, view.bias))
    }

    /// The residual stream behind the block at the query of each removal, `[removals, hidden]`.
    pub(crate) fn without_values(
        &self,
        tape: &BlockTape<B>,
        kind: AttentionKind,
        without: &Without<B>,
    ) -> Option<Tensor<B, 2>> {
        let Without { removals, rows, view, memory } = without;
        let (branch, saved) = self.attention(kind, tape)?;
        let before = removals.of_queries(rows.of(&saved.x));
        let attended = branch.body.without_values(&saved.body.rows(rows), view, removals);
        let (mut x, _) = branch.norms.around(before.clone(), before.clone(), None, |_| (attended, ()));
        if let (AttentionKind::Own, Some((cross, saved)), Some(memory)) =
            (kind, self.attention(AttentionKind::Cross, tape), memory)
        {
            // Of one text, all queries see the same of the encoder.
            let seen = memory.range(0, 0);
            let seen = core::iter::once(seen.start as u32..seen.end as u32).collect();
            let [queries, _] = x.dims();
            let visible = Visible::new(seen, 1, queries, memory.keys(), &x.device());
            let view = View { visible: &visible, bias: None, rotation: None, dropout: None };
            let attend = |x: Tensor<B, 2>| cross.body.forward(x, saved.body.seen().clone(), view);
            (x, _) = cross.norms.around(x.clone(), x, None, attend);
        }
        let fed = match self.residual {
            Residual::Sequential => x.clone(),
            Residual::Parallel => before,
        };
        let (x, _) = self.feed_forward.norms.around(fed, x, None, |x| self.feed_forward.body.forward(x, None));
        Some(x)
    }
}
