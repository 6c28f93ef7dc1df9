//! One text and the options of its attribution, before any model runs.

use stepfn_core::catalog::ParameterError;

use crate::budget::Lengths;
use crate::steps::Steps;
use crate::{AttributionError, AttributionOptions, Features, Side, Text};

/// One text of a call, and how it is attributed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    text: &'a Text,
    options: &'a AttributionOptions<'a>,
    /// Its index in the call.
    index: usize,
    /// The number of texts in the call.
    texts: usize,
}

impl<'a> Question<'a> {
    pub(crate) fn new(
        text: &'a Text,
        options: &'a AttributionOptions<'a>,
        index: usize,
        texts: usize,
    ) -> Result<Self, AttributionError> {
        text.check()?;
        Ok(Self { text, options, index, texts })
    }

    /// The text.
    pub fn text(&self) -> &'a Text {
        self.text
    }

    /// How it is attributed.
    pub fn options(&self) -> &'a AttributionOptions<'a> {
        self.options
    }

    /// The number of the text in the whole run, which its random numbers belong to.
    pub fn number(&self) -> u32 {
        self.options.first_number + self.index as u32
    }

    /// The steps that are asked about.
    pub fn steps(&self) -> Steps {
        Steps::new(self.text.steps.clone())
    }

    /// Tokens of the source; 0 for a causal model.
    pub fn source_len(&self) -> usize {
        self.text.ids(Side::Source).len()
    }

    /// Tokens of the target, including those that no step sees.
    pub fn target_len(&self) -> usize {
        self.text.target.len()
    }

    /// Tokens that the model reads to predict some of the steps.
    pub(crate) fn lengths(&self, steps: Steps) -> Lengths {
        Lengths { source: self.source_len(), target: steps.width() }
    }

    /// Whether target tokens get scores. If not, a method must not change them.
    pub fn attributes_target(&self) -> bool {
        self.text.source.is_none() || self.options.attribute_target
    }

    /// Whether a token is never replaced, because it is a special token.
    pub fn is_kept(&self, id: u32) -> bool {
        self.options.baseline.kept.contains(&id)
    }

    /// Tokens of one side, replaced by the baseline except for kept tokens. The target is only replaced if it is attributed.
    pub(crate) fn baseline_ids(&self, side: Side, ids: &[u32]) -> Vec<u32> {
        if side == Side::Target && !self.attributes_target() {
            return ids.to_vec();
        }
        ids.iter().map(|&id| if self.is_kept(id) { id } else { self.options.baseline.id }).collect()
    }

    /// Groups of tokens that are hidden and shown together, if there are any.
    pub(crate) fn features(&self) -> Option<&'a Features> {
        self.options.features.get(self.index)
    }

    /// Reports how much of the text's work is done.
    ///
    /// # Errors
    /// [`AttributionError::Cancelled`] if the user cancelled.
    pub fn progress(&self, pieces_done: usize, pieces: usize) -> Result<(), AttributionError> {
        let progress = crate::Progress { texts_done: self.index, texts: self.texts, pieces_done, pieces };
        match self.options.progress.map(|on_progress| on_progress(progress)) {
            Some(core::ops::ControlFlow::Break(())) => Err(AttributionError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Checks that groups of tokens are given for every text or for none, and only to a method that hides tokens.
    pub(crate) fn check_features(
        options: &AttributionOptions<'_>,
        texts: usize,
        (method, hides_tokens): (&str, bool),
    ) -> Result<(), AttributionError> {
        let wrong = |expected: String, found: String| ParameterError::new("attribution", "features", expected, found);
        if !options.features.is_empty() && options.features.len() != texts {
            let expected = format!("empty, or groups for each of the {texts} texts");
            return Err(wrong(expected, format!("groups for {}", options.features.len())).into());
        }
        if !hides_tokens && options.features.iter().any(|features| !features.is_empty()) {
            return Err(AttributionError::Unsuited(format!(
                "{method} does not hide tokens, so it cannot use `features`; remove them, or merge scores with `subwords`"
            )));
        }
        Ok(())
    }
}
