//! Step functions of texts.

use core::fmt;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value, json};
use stepfn_attribution::{Prepared, Preparer, Provenance, ScoringOptions, Text, TextScores, score};
use stepfn_core::{Alignment, StepFunction, StepScore};
use stepfn_models::chat::MessageSpan;
use stepfn_models::config::TransformerConfig;

use crate::bow::{CORRECTED, Mass, WordStart};
use crate::chat::Asked;
use crate::generate::Drafts;
use crate::long_texts::windows;
use crate::once::Once;
use crate::step_functions::Borrowed;
use crate::texts::{Numbered, Task, Told};
use crate::units::Units;
use crate::{
    BowCorrection, Error, ErrorKind, Input, LanguageModel, LongTexts, Outcome, Result, RunOptions, ScoreUnit,
    ScoredText, ScoredUnit, StepFunctions, WordSplit, uncertainty, warnings,
};

/// Step functions to compute, and how. For many texts: [`LanguageModel::score_all`].
pub struct ScoreTask<B: Backend> {
    /// The step functions.
    pub functions: Vec<Box<dyn StepFunction<B>>>,
    /// How many of the most likely tokens of each step to name; 0 for none, [`MOST_ALTERNATIVES`](crate::MOST_ALTERNATIVES) at most.
    pub alternatives: usize,
    /// What has scores of its own. Scores of its tokens are joined as each function [says](StepScore::join).
    pub by: ScoreUnit,
    /// Where words are, for [`ScoreUnit::Word`].
    pub words: WordSplit,
    /// How probabilities of words are corrected for tokenizers that have the space before a word in its first token: of `probability`, `surprisal` and
    /// `crossentropy`, for [`ScoreUnit::Word`]. For [`ScoreUnit::Token`] the last token of a word has the numerator, and its first the denominator.
    pub bow_correction: Option<BowCorrection>,
    /// For [`ScoreUnit::Text`]: measures of quality and uncertainty of the whole text, from so many passes with dropout, 2 or more.
    pub uncertainty: Option<usize>,
    /// What happens to a text that is longer than the model's positions.
    pub long: LongTexts,
    /// Whether a causal model's text begins with the model's start token, which predicts the first one of the text; by default as the tokenizer has it.
    pub start_token: Option<bool>,
    /// Scores texts that are all the same once, and gives the others the scores of the first; not with passes with dropout, whose noise is each text's own.
    pub once: Option<Once>,
    /// How they run.
    pub options: RunOptions,
}

impl<B: Backend> ScoreTask<B> {
    /// These step functions.
    pub fn new(functions: impl StepFunctions<B>) -> Self {
        Self {
            functions: functions.boxed(),
            alternatives: 0,
            by: ScoreUnit::Token,
            words: WordSplit::default(),
            bow_correction: None,
            uncertainty: None,
            long: LongTexts::default(),
            start_token: None,
            once: None,
            options: RunOptions::default(),
        }
    }

    /// The names of the scores that each [unit](ScoredText::units) has: those of the functions, and of measures of uncertainty.
    pub fn unit_scores(&self) -> Vec<String> {
        let measures = self.uncertainty.map(|_| uncertainty::MEASURES).into_iter().flatten();
        self.functions.iter().map(|function| function.name()).chain(measures).map(str::to_owned).collect()
    }

    /// The function that asks for passes with dropout though the model drops nothing: all these passes are the same, and their mean says nothing.
    pub fn drops_nothing(&self, model: &LanguageModel<B>) -> Option<&str> {
        let noisy = self.noisy()?;
        let config = model.config();
        let stacks = || config.encoder.iter().chain([&config.decoder]);
        let drops_nothing = match self.options.dropout {
            Some(rate) => rate == 0.0,
            None => stacks().all(|stack| stack.dropout.rates().all(|rate| rate == 0.0)),
        };
        drops_nothing.then_some(noisy)
    }

    /// What asks for passes with dropout.
    fn noisy(&self) -> Option<&str> {
        let noisy = self.functions.iter().find(|function| function.needs().noisy_samples > 0).map(|noisy| noisy.name());
        noisy.or(self.uncertainty.map(|_| "uncertainty"))
    }

    /// The parameters of all functions, by name.
    fn parameters(&self, config: &TransformerConfig) -> Map<String, Value> {
        let of_functions = self.functions.iter().map(|function| (function.name(), function.parameters().into()));
        let of_functions = of_functions.map(|(name, value)| (name.to_owned(), value));
        let joined = (self.by != ScoreUnit::Token).then(|| ("by".to_owned(), self.by.name().into()));
        let is_unicode = self.by == ScoreUnit::Word && self.words == WordSplit::Unicode;
        let split = is_unicode.then(|| ("words".to_owned(), "unicode".into()));
        let bow = self.bow_correction.map(|bow| ("bow_correction".to_owned(), bow.name().into()));
        let passes = self.uncertainty.map(|passes| ("uncertainty".to_owned(), passes.into()));
        let start = self.start_token.map(|start| ("start_token".to_owned(), start.into()));
        let long = match self.long {
            LongTexts::Error => None,
            LongTexts::Truncate => Some("truncate".into()),
            LongTexts::Windows { .. } => windows(self.long, config).map(|windows| json!({ "windows": windows.stride })),
        };
        let long = long.map(|long| ("long".to_owned(), long));
        let own = [joined, split, bow, passes, start, long].into_iter().flatten();
        of_functions.chain(own).chain(self.options.parameters(config)).collect()
    }

    /// Checks what can be known before a text is read.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for options that have no effect together, or not with this model.
    fn check(&self, model: &LanguageModel<B>) -> Result<()> {
        let wrong = |what: &str, hint: &str| Err(Error::new(ErrorKind::Option, what, hint));
        if self.words == WordSplit::Unicode && self.by != ScoreUnit::Word {
            return wrong("where words are matters to scores of words alone", "score by word, or leave it out");
        }
        if self.bow_correction.is_some() {
            if ![ScoreUnit::Word, ScoreUnit::Token].contains(&self.by) {
                let what = "the correction for where words begin is one of words and of their tokens";
                return wrong(what, "score by word or by token, or leave it out");
            }
            if model.is_masked() {
                let what =
                    "a model of masked tokens says nothing about what follows a word, so there is nothing to correct";
                return wrong(what, "leave out the correction");
            }
            if !self.functions.iter().any(|function| CORRECTED.contains(&function.name())) {
                let what = "no step function asked for is corrected for where words begin";
                return wrong(what, "ask for probability, surprisal or crossentropy, or leave out the correction");
            }
        }
        match self.uncertainty {
            Some(_) if self.by != ScoreUnit::Text => {
                return wrong("measures of uncertainty are of whole texts", "score by text, or leave them out");
            }
            Some(0 | 1) => {
                return wrong("measures of uncertainty compare passes with dropout", "ask for 2 passes or more");
            }
            _ => {}
        }
        if let (Some(_), Some(noisy)) = (&self.once, self.noisy()) {
            let what = format!("`{noisy}` runs the model with dropout, and equal texts would have the same noise");
            return wrong(&what, "score each text, or leave out this function");
        }
        let is_causal = !model.is_masked() && !model.is_encoder_decoder();
        if self.start_token.is_some() && !is_causal {
            let what = "whether a text has a start token is a question for causal models";
            return wrong(what, "leave it out");
        }
        if self.long != LongTexts::Error && model.is_masked() {
            let what = "a model of masked tokens reads all of a text to predict each token";
            return wrong(what, "leave it out, and split texts that are too long");
        }
        Ok(())
    }

    /// What to know of a text that is longer than those that the model was made for, if it is read as a whole.
    fn length(&self, config: &TransformerConfig, text: &Text) -> Option<String> {
        match self.long {
            LongTexts::Error => warnings::of_length(config, text),
            _ => warnings::of_lengths(config, text.source.as_ref().map_or(0, Vec::len), 0),
        }
    }

    fn preparer<'m>(&self, model: &'m LanguageModel<B>) -> Result<Preparer<'m, B>> {
        Ok(Preparer { start_token: self.start_token, ..model.preparer_masking(self.options.masking)? })
    }

    /// A text that is ready to be scored.
    fn ready(&self, model: &LanguageModel<B>, input: &Input, drafts: &Drafts<'_, B>) -> Result<Ready> {
        input.without_spans()?;
        if !input.variants.is_empty()
            || self.by != ScoreUnit::Word && !input.words.is_empty()
            || self.by != ScoreUnit::Region && !input.regions.is_empty()
        {
            input.without_parts()?;
        }
        let Asked { request, messages } = model.asked(input)?;
        let mut prepared = drafts.prepare(&request)?;
        if prepared.text.contrast.is_some() {
            crate::room::check(model, &prepared.text)?;
            model.align(&mut prepared)?;
        }
        crate::attribute::narrow(&mut prepared, input)?;
        let units = Units::new(self.by, self.words, input, &prepared, model.is_encoder_decoder())?;
        let text = &mut prepared.text;
        let most = model.config().decoder.made_for().unwrap_or(usize::MAX);
        if self.long == LongTexts::Truncate {
            text.steps.end = text.steps.end.min(most.saturating_add(1)).max(text.steps.start + 1);
        }
        // What follows the last word is asked for by a step whose own token does not matter.
        let fits = text.target.len() <= most || self.long != LongTexts::Truncate;
        let asks_beyond = self.bow_correction.is_some() && text.steps.end == text.target.len() && fits;
        if asks_beyond {
            text.target.extend(text.target.last().copied());
            text.steps.end += 1;
        }
        crate::room::check(model, text)?;
        Ok(Ready { prepared, messages, units, asks_beyond })
    }

    /// The scores of a text's tokens, and of its units.
    fn joined(&self, ready: &Ready, mut scores: TextScores, starts: Option<&[bool]>) -> (TextScores, Vec<ScoredUnit>) {
        let prepared = &ready.prepared;
        let mass = self.bow_correction.zip(starts).map(|(variant, starts)| {
            let begins = prepared.target.iter().map(|token| starts.get(token.id as usize) == Some(&true)).collect();
            let starts_text = prepared.source_text.is_none() || !prepared.source.is_empty();
            Mass::taken_from(&mut scores, begins, variant, starts_text)
        });
        let mut scores = if ready.asks_beyond { scores.without_last() } else { scores };
        if let (ScoreUnit::Token, Some(mass)) = (self.by, &mass) {
            mass.correct(&mut scores);
        }
        let measures = self.uncertainty.map(|passes| uncertainty::measures(&mut scores, passes));
        let mut units = ready.units.score(&prepared.target_text, &scores, mass.as_ref());
        units.iter_mut().for_each(|unit| unit.scores.extend(measures.iter().flatten().cloned()));
        (scores, units)
    }
}

impl<B: Backend> fmt::Debug for ScoreTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.functions.iter().map(|function| function.name()).collect();
        f.debug_struct("ScoreTask").field("functions", &names).field("options", &self.options).finish()
    }
}

impl<'t, B: Backend> Task<B> for &'t ScoreTask<B> {
    type Output = ScoredText;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn windows(&self) -> [usize; 2] {
        // The last has enough texts of like length for full batches.
        [8, 512]
    }

    fn prepare(&self, model: &LanguageModel<B>, window: &mut [Numbered]) {
        // What is wrong with the options is said when they run.
        let (Ok(()), Ok(preparer)) = (self.check(model), self.preparer(model)) else { return };
        let drafts = Drafts::of(model, &preparer, &[], 0);
        for Numbered { input, ready, .. } in window {
            let Ok(input) = input else { continue };
            let has_target = input.target.is_some() || (input.text.is_some() && !model.is_encoder_decoder());
            // A target that the model writes, or a contrast that it aligns, has to wait for it.
            if has_target && input.alignment != Alignment::Auto {
                *ready = Some(self.ready(model, input, &drafts));
            }
        }
    }

    fn run(
        &self,
        model: &LanguageModel<B>,
        mut window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<ScoredText>>> {
        self.check(model)?;
        let preparer = self.preparer(model)?;
        let drafts = Drafts::of(model, &preparer, &window, model.memory(&self.options));
        let prepare = |Numbered { id, input, ready, .. }: &mut Numbered| {
            let made = || self.ready(model, input.as_ref().map_err(Clone::clone)?, &drafts);
            let ready = ready.take().unwrap_or_else(made)?;
            self.length(model.config(), &ready.prepared.text).iter().for_each(|length| (told.warning)(id, length));
            Ok(ready)
        };
        let prepared: Vec<Result<Ready>> = window.iter_mut().map(prepare).collect();
        let starts =
            self.bow_correction.map(|bow| bow.starts(model.tokenizers().target(), &model.config().special.eos));
        let starts = starts.transpose()?;
        let mass = starts.clone().map(|starts| Box::new(WordStart { starts }) as Box<dyn StepFunction<B>>);
        let borrowed = self.functions.iter().map(AsRef::as_ref).map(|function: &'t (dyn StepFunction<B> + 'static)| {
            Box::new(Borrowed(function)) as Box<dyn StepFunction<B> + 't>
        });
        let parts = self.uncertainty.map(uncertainty::parts).unwrap_or_default();
        let functions: Vec<Box<dyn StepFunction<B> + 't>> = borrowed.chain(parts).chain(mass).collect();
        // A text that could not be prepared keeps its place, because dropout masks belong to a text's number.
        let nothing = Text { source: None, target: Vec::new(), steps: 0..0, contrast: None, masked: None };
        let text =
            |made: &Result<Ready>| made.as_ref().map_or_else(|_| nothing.clone(), |made| made.prepared.text.clone());
        let texts: Vec<Text> = prepared.iter().map(text).collect();
        let options = ScoringOptions {
            seed: self.options.seed,
            rates: self.options.rates(model.config()),
            first_number: window.first().map_or(0, |numbered| numbered.number as u32),
            memory: model.memory(&self.options),
            batch_tokens: self.options.batch_tokens,
            alternatives: self.alternatives,
            windows: windows(self.long, model.config()),
            progress: Some(told.progress),
        };
        let scores = score(model.model(), &texts, &functions, &options)?;
        let about =
            Provenance { parameters: self.parameters(model.config()), seed: self.options.seed, ..model.provenance() };
        let outcomes = window.into_iter().zip(prepared).zip(scores).map(|((numbered, prepared), scores)| {
            let Numbered { number, id, fields, .. } = numbered;
            let result = prepared.and_then(|ready| {
                let (scores, units) = self.joined(&ready, scores?, starts.as_deref());
                let Ready { prepared, messages, .. } = ready;
                let Prepared { text, source_text, target_text, source, target, .. } = prepared;
                let alternatives = preparer.alternatives(&scores.likely)?;
                let chat = warnings::of_chat(&messages);
                Ok(ScoredText {
                    id: id.clone(),
                    fields: fields.clone(),
                    source_text,
                    target_text,
                    source,
                    target,
                    scores,
                    by: self.by,
                    units,
                    alternatives,
                    messages,
                    about: Provenance {
                        warnings: self.length(model.config(), &text).into_iter().chain(chat).collect(),
                        ..about.clone()
                    },
                })
            });
            Outcome { id, number, fields, result }
        });
        Ok(outcomes.collect())
    }
}

/// A text that is ready to be scored.
pub(crate) struct Ready {
    prepared: Prepared,
    messages: Vec<MessageSpan>,
    units: Units,
    /// Whether a step behind the last token was added.
    asks_beyond: bool,
}
