//! From the names of our parameters to those in a family's checkpoint, as tables.
//!
//! Our parameters, each with `.weight` and some with `.bias`; `S` is `encoder` or `decoder` (the only stack of a causal model), `N` a layer:
//!
//! | name | shape of the weight |
//! |---|---|
//! | `S.embedding` | `[vocab, embedding]` |
//! | `S.positions` | `[rows, hidden]` |
//! | `S.project_in`, `S.project_out` | `[hidden, embedding]`, `[embedding, hidden]` |
//! | `S.embedding_norm`, `S.final_norm` | `[hidden]` |
//! | `S.relative_bias` | `[buckets, heads]` |
//! | `S.layers.N.self_attention.query`, `.key`, `.value` | `[heads · head_dim, hidden]` |
//! | `S.layers.N.self_attention.output` | `[hidden, heads · head_dim]` |
//! | `S.layers.N.self_attention.query_norm`, `.key_norm` | `[head_dim]` |
//! | `S.layers.N.cross_attention.…` | as self-attention |
//! | `S.layers.N.self_attention_norm`, `.cross_attention_norm`, `.feed_forward_norm` | `[hidden]` |
//! | `S.layers.N.self_attention_post_norm`, `.feed_forward_post_norm` | `[hidden]` |
//! | `S.layers.N.feed_forward.gate`, `.up` | `[size, hidden]` |
//! | `S.layers.N.feed_forward.down` | `[hidden, size]` |
//! | `head` | `[vocab, embedding]` |

/// One row of a family's table: our parameter, theirs, and how ours lies in theirs. `{}` stands for the layer's number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Name {
    /// Ours, without `.weight` or `.bias`; with it if the row is for one of the two alone (`head.bias`), which [`exact`](Name::exact)
    /// rows are. Of several rows with the same `ours`, the first whose tensor is in the checkpoint is meant.
    pub ours: &'static str,
    /// Theirs, without `.weight` or `.bias`, unless [`exact`](Name::exact).
    pub theirs: &'static str,
    /// How ours lies in theirs.
    pub layout: Layout,
    /// Whether `theirs` is the whole name, to which no `.weight` or `.bias` is added.
    pub exact: bool,
}

/// How a parameter lies in a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// It is the tensor.
    Whole,
    /// Its weight is stored as `[in, out]`.
    Transposed,
    /// Some rows of it: query, key and value, or gate and up, one after the other.
    Rows(Packed),
    /// The same of a weight stored as `[in, out]`.
    Columns(Packed),
    /// Query, key and value of the first head, then of the second, and so on.
    PerHead(Packed),
    /// `[1, n]` for a bias of n elements.
    RowVector,
}

/// One of several parameters that are packed into one tensor.
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
    /// The second of two: what is gated.
    Up,
}

/// A parameter that is a stored tensor.
pub const fn whole(ours: &'static str, theirs: &'static str) -> Name {
    Name { ours, theirs, layout: Layout::Whole, exact: false }
}

/// A parameter, named with its `.weight` or `.bias`, that lies in a stored tensor of this very name.
pub const fn exact(ours: &'static str, theirs: &'static str, layout: Layout) -> Name {
    Name { ours, theirs, layout, exact: true }
}

/// A parameter that lies in a stored tensor in some other way.
pub const fn laid_out(ours: &'static str, theirs: &'static str, layout: Layout) -> Name {
    Name { ours, theirs, layout, exact: false }
}
