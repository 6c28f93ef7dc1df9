//! What methods that look inside the model share: chosen layers and heads, rows of attention, and how they are put together.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::widened;
use stepfn_models::transformer::{AttentionKind, Inside};

use stepfn_core::Named;

use crate::{AttributionError, Axis, InputScores, Passes, ScoreTable, StepRows};

/// The selected layers or heads, sorted and without duplicates; all by default.
pub(super) fn chosen<M: Named>(
    parameter: &str,
    chosen: Option<&Vec<usize>>,
    count: usize,
) -> Result<Vec<usize>, AttributionError> {
    let Some(chosen) = chosen else { return Ok((0..count).collect()) };
    let expected = format!("some of the numbers 0 to {}", count - 1);
    match chosen.iter().find(|&&number| number >= count) {
        Some(number) => Err(M::out_of_range(parameter, expected, number).into()),
        None if chosen.is_empty() => Err(M::out_of_range(parameter, expected, "none of them").into()),
        None => {
            let mut chosen = chosen.clone();
            chosen.sort_unstable();
            chosen.dedup();
            Ok(chosen)
        }
    }
}

/// The places that predict the steps: each step is predicted at the place before it.
pub(super) fn queries<B: Backend>(passes: &Passes<'_, B>) -> Vec<usize> {
    passes.question().steps().places().collect()
}

/// Concatenates `f` over chunks of queries, as many at a time as their attention `[heads, queries, keys]` fits into memory.
pub(super) fn by_queries<B: Backend>(
    passes: &Passes<'_, B>,
    inside: &Inside<'_, B>,
    kind: AttentionKind,
    queries: &[usize],
    f: impl Fn(Tensor<B, 4>) -> Tensor<B, 2>,
) -> Option<Tensor<B, 2>> {
    let keys = passes.question().source_len().max(passes.question().steps().width());
    let at_once = passes.budget().queries(keys);
    let parts: Option<Vec<_>> =
        queries.chunks(at_once).map(|queries| inside.probabilities(kind, queries).map(&f)).collect();
    parts.map(|parts| Tensor::cat(parts, 0))
}

/// The mean over heads of some queries' attention, at least in single precision.
///
/// # Shapes
/// - result: `[queries, keys]`
pub(super) fn mean_over_heads<B: Backend>(
    passes: &Passes<'_, B>,
    inside: &Inside<'_, B>,
    kind: AttentionKind,
    queries: &[usize],
) -> Option<Tensor<B, 2>> {
    by_queries(passes, inside, kind, queries, |probabilities| {
        let [_, _, queries, keys] = probabilities.dims();
        widened(probabilities).mean_dim(1).reshape([queries, keys])
    })
}

/// Collects scores of one kind of attention, layer by layer.
pub(super) struct Layers<B: Backend> {
    raw: bool,
    /// `[steps · tokens, heads]` of each layer, or the mean of these.
    found: Vec<Tensor<B, 2>>,
}

impl<B: Backend> Layers<B> {
    pub(super) fn new(raw: bool) -> Self {
        Self { raw, found: Vec::new() }
    }

    /// The scores of the next layer, `[steps · tokens, heads]`.
    pub(super) fn push(&mut self, scores: Tensor<B, 2>) {
        self.found.push(if self.raw { scores } else { scores.mean_dim(1) });
    }

    /// All layers if raw, otherwise their mean; `None` if there are none.
    ///
    /// # Shapes
    /// - result: `[steps · tokens, layers · heads]`
    pub(super) fn joined(self) -> Option<Tensor<B, 2>> {
        if self.found.is_empty() {
            return None;
        }
        let joined = Tensor::cat(self.found, 1);
        Some(if self.raw { joined } else { joined.mean_dim(1) })
    }
}

/// The scores of all steps at once, with these axes if raw scores are asked for.
///
/// # Shapes
/// - `source`, `target`: `[steps · tokens, units]`
pub(super) fn all_at_once<B: Backend>(
    passes: &Passes<'_, B>,
    axes: Vec<(Axis, usize)>,
    source: Option<Tensor<B, 2>>,
    target: Option<Tensor<B, 2>>,
) -> InputScores {
    let question = passes.question();
    let mut table = ScoreTable::new(question, if question.options().raw { axes } else { Vec::new() });
    table.put(question.steps(), StepRows { source, target, completeness: None });
    table.finish()
}

/// Rows of numbers on a device.
pub(super) fn rows<B: Backend>(values: Vec<f32>, width: usize, device: &B::Device) -> Tensor<B, 2> {
    let height = values.len() / width.max(1);
    Tensor::from_data(TensorData::new(values, [height, width]), (device, DType::F32))
}

/// Numbers as indices on a device.
pub(super) fn indices<B: Backend>(numbers: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}
