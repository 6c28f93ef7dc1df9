//! Tables that map our parameter names to the names in a family's checkpoint.
//!
//! Our parameters, most with `.weight` and some with `.bias`; `S` is `encoder` or `decoder` (also the only stack of a model), `N` a layer:
//!
//! | name | shape of the weight |
//! |---|---|
//! | `S.embedding` | `[vocab, embedding]` |
//! | `S.positions`, `S.token_types` | `[rows, hidden]`, or `[rows, embedding]` before a projection |
//! | `S.project_in`, `S.project_out` | `[hidden, embedding]`, `[embedding, hidden]` |
//! | `S.embedding_norm`, `S.final_norm` | `[hidden]`, or `[embedding]` before a projection |
//! | `S.relative_bias`, or `S.layers.N.relative_bias` | `[buckets, heads]` |
//! | `S.layers.N.self_attention.query`, `.key`, `.value` | `[heads · head_dim, hidden]` |
//! | `S.layers.N.self_attention.output` | `[hidden, heads · head_dim]` |
//! | `S.layers.N.self_attention.query_norm`, `.key_norm` | `[head_dim]`, `[heads, head_dim]` or `[heads · head_dim]` |
//! | `S.layers.N.self_attention.sinks` (no `.weight`) | `[heads]` |
//! | `S.layers.N.cross_attention.…` | like self-attention |
//! | `S.layers.N.self_attention_norm`, `.cross_attention_norm`, `.feed_forward_norm` | `[hidden]` |
//! | `S.layers.N.self_attention_post_norm`, `.cross_attention_post_norm`, `.feed_forward_post_norm` | `[hidden]` |
//! | `S.layers.N.feed_forward.gate`, `.up` | `[size, hidden]` |
//! | `S.layers.N.feed_forward.activation` | xIELU's `.alpha_p` and `.alpha_n` `[1]`, `.beta` `[]` |
//! | `S.layers.N.feed_forward.down` | `[hidden, size]` |
//! | `S.layers.N.feed_forward.router` | `[experts, hidden]` |
//! | `S.layers.N.feed_forward.experts.E.…`, `S.layers.N.feed_forward.shared.…` | like a feed-forward |
//! | `S.layers.N.feed_forward.shared_gate` | `[1, hidden]` |
//! | `head.transform`, `head.norm` | `[embedding, hidden]`, `[embedding]` |
//! | `head` | `[vocab, embedding]` |

/// One row of a family's table: our parameter name, their tensor name, and how the tensor stores the parameter. The first `{}` stands for the
/// number of the layer, the second for that of the expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Name {
    /// Our name, without `.weight` or `.bias`. Rows for only one of the two (`head.bias`) include the suffix and are
    /// [`exact`](Name::exact). If several rows have the same `ours`, the first whose tensor is in the checkpoint counts.
    pub ours: &'static str,
    /// Their name, without `.weight` or `.bias` unless [`exact`](Name::exact).
    pub theirs: &'static str,
    /// How the tensor stores the parameter.
    pub layout: Layout,
    /// Whether `theirs` is the full name, with no `.weight` or `.bias` to add.
    pub exact: bool,
}

/// How a stored tensor contains a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// The parameter is the tensor.
    Whole,
    /// The weight is stored as `[in, out]`.
    Transposed,
    /// One of several stacked blocks of rows: query, key and value, or gate and up.
    Rows(Packed),
    /// The same for a weight stored as `[in, out]`.
    Columns(Packed),
    /// Query, key and value of the first head, then of the second, and so on. Where heads share keys and values: the queries of the first group,
    /// its key and its value, then of the second group (Falcon).
    PerHead(Packed),
    /// Query, value and key of the first quarter of the heads, then of the second, and so on (CodeGen).
    Quarters(Packed),
    /// One of the experts in a tensor of all of them, `[experts, out, in]`, and there one of stacked blocks of rows, or all rows.
    Stacked(Option<Packed>),
    /// The same as `[experts, in, out]`, with biases as `[experts, out]`: there the outputs of gate and up take turns, or all are of one.
    StackedColumns(Option<Packed>),
    /// `[1, n]` for a bias of n elements.
    RowVector,
}

/// One of several parameters stored in one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packed {
    /// The first of three: queries.
    Query,
    /// The second of three: keys.
    Key,
    /// The third of three: values.
    Value,
    /// The first of two: the gate.
    Gate,
    /// The second of two: the gated values.
    Up,
}

/// A parameter that is a whole stored tensor.
pub const fn whole(ours: &'static str, theirs: &'static str) -> Name {
    Name { ours, theirs, layout: Layout::Whole, exact: false }
}

/// A parameter stored under exactly this name, including `.weight` or `.bias`.
pub const fn exact(ours: &'static str, theirs: &'static str, layout: Layout) -> Name {
    Name { ours, theirs, layout, exact: true }
}

/// A parameter with another layout in a stored tensor.
pub const fn laid_out(ours: &'static str, theirs: &'static str, layout: Layout) -> Name {
    Name { ours, theirs, layout, exact: false }
}
