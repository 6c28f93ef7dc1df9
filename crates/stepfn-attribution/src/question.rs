//! One text and the options of its attribution, before any model runs.

use core::ops::Range;

use stepfn_core::catalog::ParameterError;

use crate::budget::Lengths;
use crate::masked::{Places, Reading};
use crate::steps::Steps;
use crate::{AttributionError, AttributionOptions, Features, Side, SpanTarget, Text};

/// One text of a call, and how it is attributed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    text: &'a Text,
    options: &'a AttributionOptions<'a>,
    /// Its index in the call.
    index: usize,
    /// The number of texts in the call.
    texts: usize,
    /// Where the step of a masked copy is predicted.
    places: Option<Places>,
    /// Which of its text's readings it is, and how many there are.
    part: [usize; 2],
}

impl<'a> Question<'a> {
    /// The question of the text with this index, among so many texts.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for steps that are not in the text.
    pub fn new(
        text: &'a Text,
        options: &'a AttributionOptions<'a>,
        index: usize,
        texts: usize,
    ) -> Result<Self, AttributionError> {
        text.check()?;
        Ok(Self { text, options, index, texts, places: None, part: [0, 1] })
    }

    /// One of the readings of a text: `[its index, the number of texts]`, and `[its number, that of readings]`.
    pub(crate) fn of(
        reading: &'a Reading<'_>,
        options: &'a AttributionOptions<'a>,
        [index, texts]: [usize; 2],
        part: [usize; 2],
    ) -> Result<Self, AttributionError> {
        Ok(Self { places: reading.places, part, ..Self::new(&reading.text, options, index, texts)? })
    }

    /// Where the step of a masked copy is predicted, in the copy and in its contrast's.
    pub(crate) fn places(&self) -> Option<Places> {
        self.places
    }

    /// The tokens that are masked in a masked copy, the first of which is predicted; none in other texts.
    pub fn masked(&self) -> Range<usize> {
        self.places.map_or(0..0, |places| places.own..places.until)
    }

    /// The number of a masked copy among those of its text; 0 for other texts.
    pub fn reading(&self) -> usize {
        self.part[0]
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
        Steps::new(self.text.steps.clone()).at_mask(self.places.map(|places| places.own))
    }

    /// Which of these steps are attributed as one: each span is a column of scores, in order. Every step by itself, unless spans were asked for.
    pub fn spans(&self, steps: Steps) -> Vec<Steps> {
        let Some(target) = self.span_target() else { return steps.chunks(1) };
        let within = |span: &&Range<usize>| steps.start() <= span.start && span.end <= steps.positions().end;
        target.spans.iter().filter(within).map(|span| steps.part(span.clone())).collect()
    }

    /// How many columns of scores these steps have.
    pub fn columns(&self, steps: Steps) -> usize {
        if self.span_target().is_some() { self.spans(steps).len() } else { steps.len() }
    }

    /// Chunks of the steps that have at most `size` columns each.
    pub(crate) fn chunks(&self, size: usize) -> Vec<Steps> {
        let all = self.steps();
        let spans = self.spans(all);
        let chunk = |spans: &[Steps]| all.part(spans[0].start()..spans[spans.len() - 1].positions().end);
        spans.chunks(size.max(1)).map(chunk).collect()
    }

    /// The spans that are attributed, unless every step is by itself.
    pub(crate) fn span_target(&self) -> Option<&'a SpanTarget> {
        self.options.spans.get(self.index)
    }

    /// The first target token that has no score, whatever the step.
    pub(crate) fn scored_until(&self) -> usize {
        if self.options.prompt_only { self.text.steps.start } else { self.target_len() }
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
        let until = if side == Side::Target { self.scored_until() } else { ids.len() };
        let replaced =
            |(at, &id): (usize, &u32)| if at >= until || self.is_kept(id) { id } else { self.options.baseline.id };
        ids.iter().enumerate().map(replaced).collect()
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
        let [part, parts] = self.part;
        let (pieces_done, pieces) = (part * pieces + pieces_done, parts * pieces);
        let progress = crate::Progress { texts_done: self.index, texts: self.texts, pieces_done, pieces };
        match self.options.progress.map(|on_progress| on_progress(progress)) {
            Some(core::ops::ControlFlow::Break(())) => Err(AttributionError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Checks that spans are given for every text or for none, and only to a method that attributes a function.
    pub(crate) fn check_spans(
        options: &AttributionOptions<'_>,
        texts: usize,
        (method, takes_spans): (&str, bool),
    ) -> Result<(), AttributionError> {
        if !options.spans.is_empty() && options.spans.len() != texts {
            let expected = format!("empty, or spans for each of the {texts} texts");
            let found = format!("spans for {}", options.spans.len());
            return Err(ParameterError::new("attribution", "spans", expected, found).into());
        }
        if !options.spans.is_empty() && !takes_spans {
            return Err(AttributionError::Unsuited(format!(
                "{method} has no function whose values over a span could be added up; attribute tokens, or merge steps by aggregation"
            )));
        }
        Ok(())
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
