//! A text as token ids, and its steps.

use core::ops::Range;

use stepfn_core::Alignment;

use crate::{AttributionError, Masked, Side};

/// A text as the model reads it, and the steps of it that are scored or attributed.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// What the encoder of an encoder–decoder reads; `None` for other models.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads and predicts: a causal model's prompt and continuation, or the start token and the target of an
    /// encoder–decoder. The whole text of a model of masked tokens.
    pub target: Vec<u32>,
    /// Positions in `target` whose predictions are asked about. Position 0 has nothing before it that could predict it; a model of masked tokens can.
    pub steps: Range<usize>,
    /// What contrastive step functions compare with.
    pub contrast: Option<ContrastText>,
    /// What is masked where a token is predicted; `None` for a model that predicts what comes next.
    pub masked: Option<Masked>,
}

/// The other side of a comparison: another context, another continuation, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct ContrastText {
    /// What the encoder reads instead; `None` for a causal model.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads and predicts instead.
    pub target: Vec<u32>,
    /// Its first position that a step can be compared with: the first after its own prompt.
    pub first: usize,
    /// Which of its positions, counted from `first`, each step is compared with.
    pub alignment: Alignment,
    /// What is masked where one of its tokens is predicted, of a model of masked tokens.
    pub masked: Option<Masked>,
}

impl Text {
    /// A text of a causal model: every token after the prompt is a step.
    pub fn causal(ids: Vec<u32>, prompt: usize) -> Self {
        Self { source: None, steps: prompt..ids.len(), target: ids, contrast: None, masked: None }
    }

    /// A text of an encoder–decoder: every token of `target` after the start token is a step.
    pub fn seq2seq(source: Vec<u32>, target: Vec<u32>) -> Self {
        Self { source: Some(source), steps: 1..target.len(), target, contrast: None, masked: None }
    }

    /// A text of a model of masked tokens: every token from `first` on that can be masked is a step.
    pub fn masked(ids: Vec<u32>, masked: Masked, first: usize) -> Self {
        Self { source: None, steps: first..masked.until.len(), target: ids, contrast: None, masked: Some(masked) }
    }

    /// The ids of one side; empty if the text does not have that side.
    pub fn ids(&self, side: Side) -> &[u32] {
        match side {
            Side::Source => self.source.as_deref().unwrap_or_default(),
            Side::Target => &self.target,
        }
    }

    /// Checks that the steps are in the text, after its first token where nothing predicts that.
    ///
    /// # Errors
    /// [`AttributionError::Text`].
    pub fn check(&self) -> Result<(), AttributionError> {
        if let Some(masked) = &self.masked {
            masked.check(&self.steps, self.target.len())?;
            return match &self.contrast {
                Some(contrast) if contrast.steps().is_empty() => {
                    Err(AttributionError::Text("the contrast has no token to compare with".to_owned()))
                }
                Some(ContrastText { masked: Some(masked), target, .. }) => {
                    let steps = self.contrast.as_ref().map_or(0..0, ContrastText::steps);
                    masked.check(&steps, target.len())
                }
                _ => Ok(()),
            };
        }
        let Range { start, end } = self.steps;
        if start == 0 || start >= end || end > self.target.len() {
            return Err(AttributionError::Text(format!(
                "steps {start}..{end} are not in the text: steps go from position 1 to {}",
                self.target.len()
            )));
        }
        match &self.contrast {
            Some(contrast) if contrast.first == 0 || contrast.first >= contrast.target.len() => {
                Err(AttributionError::Text(format!(
                    "the contrast has {} tokens and its prompt {}, so nothing is left to compare with",
                    contrast.target.len(),
                    contrast.first.max(1)
                )))
            }
            _ => Ok(()),
        }
    }
}
