//! The two runs that are compared: the output with its contexts, and without.

use core::ops::Range;

use burn::tensor::backend::Backend;
use stepfn_attribution::{ContrastText, Prepared, Request, Side, Text};
use stepfn_core::Alignment;
use stepfn_models::tokenizer::Token;

use super::templates::{behind, fill};
use super::{Asked, AttributeContextTask};
use crate::context::{begins_in, first_visible};
use crate::{Error, ErrorKind, LanguageModel, Result, room};

/// A text that runs, and where its current output is.
pub(super) struct Run {
    pub(super) prepared: Prepared,
    /// The positions of its tokens in the target.
    pub(super) current: Vec<usize>,
    /// Its bytes in the target's text.
    span: Range<usize>,
}

/// Where a context is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// The side of the model whose tokens it has.
    pub(super) side: Side,
    /// Its bytes in that side's text.
    pub(super) span: Range<usize>,
}

/// The two runs.
pub(super) struct Runs {
    pub(super) contextual: Run,
    pub(super) contextless: Run,
    /// Where the input's context is in the run with contexts, and the output's.
    pub(super) contexts: [Option<Place>; 2],
    /// For each token of the current output without context, its position in the target with context.
    pub(super) partners: Vec<Option<usize>>,
    /// Special tokens that count as text.
    kept: Vec<String>,
}

impl Runs {
    /// Prepares both texts.
    pub(super) fn new<B: Backend>(
        task: &AttributeContextTask<B>,
        model: &LanguageModel<B>,
        asked: &Asked,
    ) -> Result<Self> {
        let input = fill(&asked.input_template, &asked.input_current, asked.input_context.as_deref());
        let output = fill(&asked.output_template, &asked.output_current, asked.output_context.as_deref());
        let bare_input = fill(&task.contextless_input, &asked.input_current, None).text;
        let bare_output = fill(&task.contextless_output, &asked.output_current, None);
        let pair = model.is_encoder_decoder();
        let (output, bare_output) = match pair {
            true => (output, bare_output),
            false => (behind(&input.text, output, &task.separator), behind(&bare_input, bare_output, &task.separator)),
        };
        let place = |side: Side| move |span: Range<usize>| Place { side, span };
        let contexts = [
            input.context.map(place(if pair { Side::Source } else { Side::Target })),
            output.context.map(place(Side::Target)),
        ];
        let kept = task.special_tokens_to_keep.clone();
        let run = |source: String, target: String, span: Range<usize>| -> Result<Run> {
            let request = Request { source: pair.then_some(source), target: Some(target), ..Request::default() };
            let prepared = model.preparer().prepare(&request)?;
            room::check(model, &prepared.text)?;
            let current = positions(&prepared.target_text, &prepared.target, &span, &kept);
            match current.first() {
                None => {
                    let what = "the current output has no tokens but special ones";
                    Err(Error::new(ErrorKind::Text, what, "give another, or keep its special tokens"))
                }
                Some(0) => {
                    let what = "nothing comes before the current output, so nothing predicts its first token";
                    Err(Error::new(ErrorKind::Text, what, "give a current input that has tokens"))
                }
                Some(_) => Ok(Run { prepared, current, span }),
            }
        };
        let contextual = run(input.text, output.text, output.current)?;
        let contextless = run(bare_input, bare_output.text, bare_output.current)?;
        let partners = partners(&contextless, &contextual);
        if partners.iter().all(Option::is_none) {
            let what = "the output has no token in common with itself without context";
            return Err(Error::new(
                ErrorKind::Text,
                what,
                "let templates put a space, or nothing, before {current} in both",
            ));
        }
        Ok(Self { contextual, contextless, contexts, partners, kept })
    }

    /// The output without context, compared with itself with context: the text whose steps are scored.
    pub(super) fn compared(&self) -> Result<Text> {
        let steps = |run: &Run| run.current[0]..run.current[run.current.len() - 1] + 1;
        let (own, other) = (steps(&self.contextless), steps(&self.contextual));
        let pairs = self.contextless.current.iter().zip(&self.partners);
        let pairs = pairs.filter_map(|(&position, &partner)| Some((position - own.start, partner? - other.start)));
        let with = &self.contextual.prepared.text;
        let contrast = ContrastText {
            source: with.source.clone(),
            target: with.target[..other.end].to_vec(),
            first: other.start,
            alignment: Alignment::Pairs(pairs.collect()),
            masked: None,
        };
        let without = self.contextless.prepared.text.clone();
        let target = without.target[..own.end].to_vec();
        Ok(Text { steps: own, target, contrast: Some(contrast), ..without })
    }

    /// The tokens of the contexts.
    pub(super) fn context_tokens(&self) -> [Option<Vec<String>>; 2] {
        let Prepared { source, target, .. } = &self.contextual.prepared;
        [0, 1].map(|which| {
            let tokens = match self.contexts[which].as_ref()?.side {
                Side::Source => source,
                Side::Target => target,
            };
            Some(self.of_context(which, tokens)?.into_iter().map(|at| tokens[at].surface.clone()).collect())
        })
    }

    /// Which of a side's tokens, which may be merged, are of the input's context (0), or of the output's (1).
    pub(super) fn of_context(&self, which: usize, tokens: &[Token]) -> Option<Vec<usize>> {
        let Place { side, span } = self.contexts[which].as_ref()?;
        let text = match side {
            Side::Source => self.contextual.prepared.source_text.as_deref().unwrap_or_default(),
            Side::Target => &self.contextual.prepared.target_text,
        };
        Some(positions(text, tokens, span, &self.kept))
    }
}

/// The tokens that begin in a part of a text, but for special ones that don't count as text.
fn positions(text: &str, tokens: &[Token], part: &Range<usize>, kept: &[String]) -> Vec<usize> {
    let counts = |token: &Token| !token.special || kept.contains(&token.surface);
    let is_inside = |(_, token): &(usize, &Token)| counts(token) && begins_in(text, token, part);
    tokens.iter().enumerate().filter(is_inside).map(|(at, _)| at).collect()
}

/// For each token of one run's current output, the same token of the other's: the same id at the same place of the text.
fn partners(of: &Run, among: &Run) -> Vec<Option<usize>> {
    let key = |run: &Run, position: usize| {
        let token = &run.prepared.target[position];
        let start = first_visible(&run.prepared.target_text, token);
        (start - run.span.start, token.id)
    };
    let others: Vec<((usize, u32), usize)> = among.current.iter().map(|&at| (key(among, at), at)).collect();
    let partner = |&position: &usize| {
        let own = key(of, position);
        others.iter().find(|(other, _)| *other == own).map(|&(_, at)| at)
    };
    of.current.iter().map(partner).collect()
}
