//! What is asked: a text as token ids, and the steps that matter.

use core::ops::Range;

use stepfn_core::Alignment;

use crate::AttributionError;

/// A text as the model reads it, and the steps of it that are scored or attributed.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// What the encoder of an encoder–decoder reads; `None` for a causal model.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads and predicts: a causal model's prompt and continuation, or the start token and the target of an
    /// encoder–decoder.
    pub target: Vec<u32>,
    /// Positions in `target` whose prediction is asked about, from what stands before them. Position 0 is predicted from nothing and can't be one.
    pub steps: Range<usize>,
    /// What contrastive step functions compare with.
    pub contrast: Option<ContrastText>,
}

/// The other side of a comparison: another context, another continuation, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct ContrastText {
    /// What the encoder reads instead; `None` for a causal model.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads and predicts instead.
    pub target: Vec<u32>,
    /// Its first position that a step can be compared with: behind its own prompt.
    pub first: usize,
    /// Which of its positions, counted from `first`, each step is compared with.
    pub alignment: Alignment,
}

impl Text {
    /// A text of a causal model: every token after the prompt is a step.
    pub fn causal(ids: Vec<u32>, prompt: usize) -> Self {
        Self { source: None, steps: prompt..ids.len(), target: ids, contrast: None }
    }

    /// A text of an encoder–decoder: every token of `target` after the start token is a step.
    pub fn seq2seq(source: Vec<u32>, target: Vec<u32>) -> Self {
        Self { source: Some(source), steps: 1..target.len(), target, contrast: None }
    }

    /// Whether steps lie in the text, behind its first token.
    ///
    /// # Errors
    /// [`AttributionError::Text`] with `number`, the text's.
    pub fn check(&self, number: usize) -> Result<(), AttributionError> {
        let wrong = |expected: String, found: String| Err(AttributionError::Text { text: number, expected, found });
        let Range { start, end } = self.steps;
        if start == 0 || start >= end || end > self.target.len() {
            let expected = format!("steps from position 1 to {} at most", self.target.len());
            return wrong(expected, format!("{start}..{end}"));
        }
        match &self.contrast {
            Some(contrast) if contrast.first == 0 || contrast.first >= contrast.target.len() => wrong(
                format!("a contrast that goes on after its prompt, of {} tokens", contrast.first.max(1)),
                format!("{} tokens", contrast.target.len()),
            ),
            _ => Ok(()),
        }
    }
}
