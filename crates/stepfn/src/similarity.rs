//! NMTScore: how alike two texts are to a model that translates between several languages (Vamvas & Sennrich 2022, arXiv:2204.13692).

mod result;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{Progress, Provenance, Request, ScoringOptions, Text, TextScores, score};
use stepfn_core::StepFunction;

use crate::languages::Speakers;
use crate::texts::{Numbered, Task, Told};
use crate::{Error, ErrorKind, Input, LanguageModel, Outcome, Result, RunOptions, warnings};

pub use result::{SimilarText, Similarity, SimilarityDirection};

/// What is measured of two texts, A and B: by mean log-probabilities of tokens, see [`SimilarityTask`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SimilarityMeasure {
    /// How likely the model is to translate B into A.
    Direct,
    /// How likely the model is to translate A into what it translates B into.
    #[default]
    CrossLikelihood,
    /// How likely the model is to translate what it translates B into, in another language, into A.
    Pivot,
}

impl SimilarityMeasure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::CrossLikelihood, Self::Pivot];

    /// Its name: `direct`, `cross_likelihood` or `pivot`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::CrossLikelihood => "cross_likelihood",
            Self::Pivot => "pivot",
        }
    }
}

/// How similarity is measured. Each input has two [variants](Input::variants), A and B. For many inputs: [`LanguageModel::similarity_all`].
///
/// With `H(y | x)` the mean cross-entropy of the tokens of `y` and its end, in nats, and `t(x)` the model's own translation of `x`, one direction of a measure
/// is `base^(H_self − H)`, and `base^(−H)` without normalization:
///
/// | | `H` | `H_self` |
/// |---|---|---|
/// | direct | `H(A \| B)` | `H(A \| A)` |
/// | cross-likelihood | `H(t(B) \| A)` | `H(t(B) \| B)` |
/// | pivot | `H(A \| t(B))` | `H(A \| t(A))` |
///
/// The other direction exchanges A and B, and the similarity is the mean of both. Where the texts have little to do with each other it is near 0; a text is 1 to itself,
/// and more than 1 is possible.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityTask {
    /// What is measured.
    pub measure: SimilarityMeasure,
    /// The languages of A and of B, by their codes in the model or their names in these codes: `en`, `eng_Latn`, ….
    pub languages: [String; 2],
    /// The language of the model's translations, for the measures that have any.
    pub via: String,
    /// Whether a measure is divided by the same of the text with itself.
    pub normalize: bool,
    /// Whether the mean of both directions is taken, and not only how likely A is.
    pub both_directions: bool,
    /// What is raised to the power of cross-entropies in nats, greater than 1: `e`, so that without normalization a measure is a geometric mean of probabilities. The
    /// published package takes 2.
    pub base: f64,
    /// How they run: seed, memory and size of batches.
    pub options: RunOptions,
}

impl SimilarityTask {
    /// Cross-likelihood of texts in these languages by translations into English, normalized, in both directions.
    pub fn new(a_language: impl Into<String>, b_language: impl Into<String>) -> Self {
        Self {
            measure: SimilarityMeasure::default(),
            languages: [a_language.into(), b_language.into()],
            via: "en".to_owned(),
            normalize: true,
            both_directions: true,
            base: core::f64::consts::E,
            options: RunOptions::default(),
        }
    }

    /// Checks what can be known before a text is read.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a base that is none.
    pub fn check(&self) -> Result<()> {
        match self.base.is_finite() && self.base > 1.0 {
            true => Ok(()),
            false => {
                let what = format!("a base of {} makes no similarity", self.base);
                Err(Error::new(ErrorKind::Option, what, "give a number greater than 1, such as 2"))
            }
        }
    }

    /// The texts of an input.
    fn pair<'i>(&self, input: &'i Input) -> Result<[&'i str; 2]> {
        let wrong = |what: &str, hint: &str| Err(Error::new(ErrorKind::Text, what, hint));
        input.without_spans()?;
        let has_more = input.text.is_some() || input.source.is_some() || input.target.is_some();
        if has_more || !input.messages.is_empty() {
            return wrong("a text, a source, a target or messages were given besides the two texts", "leave them out");
        }
        match input.variants.as_slice() {
            [a, b] if a.text.is_empty() || b.text.is_empty() => {
                wrong("one of the two texts is empty", "give two texts")
            }
            [a, b] => Ok([&a.text, &b.text]),
            _ => wrong("similarity is one of two texts", "give two texts"),
        }
    }

    /// The sides whose probability is measured, 0 for A.
    fn sides(&self) -> &'static [usize] {
        if self.both_directions { &[0, 1] } else { &[0] }
    }

    /// The sides that are translated.
    fn translated(&self) -> &'static [usize] {
        match self.measure {
            SimilarityMeasure::Direct => &[],
            SimilarityMeasure::Pivot if self.normalize => &[0, 1],
            _ if self.both_directions => &[0, 1],
            _ => &[1],
        }
    }

    /// What has to be scored for one direction, as the table of [`SimilarityTask`] has it.
    fn scored<'t>(&'t self, texts: [&'t str; 2], translations: &'t [Option<String>; 2], of: usize) -> Vec<Scored<'t>> {
        let given = 1 - of;
        let text = |side: usize| Spoken { text: texts[side], language: &self.languages[side] };
        let translation =
            |side: usize| Spoken { text: translations[side].as_deref().unwrap_or_default(), language: &self.via };
        let [likelihood, own] = match self.measure {
            SimilarityMeasure::Direct => [[text(given), text(of)], [text(of), text(of)]],
            SimilarityMeasure::CrossLikelihood => [[text(of), translation(given)], [text(given), translation(given)]],
            SimilarityMeasure::Pivot => [[translation(given), text(of)], [translation(of), text(of)]],
        };
        core::iter::once(likelihood).chain(self.normalize.then_some(own)).collect()
    }

    fn parameters<B: Backend>(&self, model: &LanguageModel<B>) -> Map<String, Value> {
        let [a, b] = &self.languages;
        let mut parameters = Map::new();
        let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
        set("measure", self.measure.name().into());
        set("a_lang", a.as_str().into());
        set("b_lang", b.as_str().into());
        if self.measure != SimilarityMeasure::Direct {
            set("via", self.via.as_str().into());
            set("generation", serde_json::to_value(&model.generation().settings).unwrap_or_default());
        }
        set("normalize", self.normalize.into());
        set("both_directions", self.both_directions.into());
        set("base", self.base.into());
        parameters
    }

    /// A text of each kind that is needed, ready to be scored.
    fn ready<B: Backend>(&self, model: &LanguageModel<B>, speakers: &mut Speakers, input: &Input) -> Result<Ready> {
        let texts = self.pair(input)?;
        let mut translations = [None, None];
        for &side in self.translated() {
            let speaker = speakers.of(model, &self.languages[side], &self.via)?;
            let written = speaker.preparer(model).generate(texts[side], false)?;
            let translation = written.into_iter().next().map(|best| best.text).unwrap_or_default();
            if translation.trim().is_empty() {
                let what = format!("the model translates {:?} into nothing", texts[side]);
                return Err(Error::new(ErrorKind::Text, what, "check the languages, or measure directly"));
            }
            translations[side] = Some(translation);
        }
        let mut all = Vec::new();
        for of in self.sides() {
            for [source, target] in self.scored(texts, &translations, *of) {
                let request = Request {
                    source: Some(source.text.to_owned()),
                    target: Some(target.text.to_owned()),
                    ..Request::default()
                };
                let speaker = speakers.of(model, source.language, target.language)?;
                let text = speaker.preparer(model).prepare(&request)?.text;
                crate::room::check(model, &text)?;
                all.push(text);
            }
        }
        Ok(Ready { translations, texts: all })
    }

    /// A direction from its cross-entropies: that of the text, and with normalization that of the text with itself.
    fn direction(&self, of: &str, crossentropies: &[f64]) -> SimilarityDirection {
        let crossentropy = crossentropies.first().copied().unwrap_or(f64::NAN);
        let own = crossentropies.get(1).copied();
        let score = self.base.powf(own.unwrap_or(0.0) - crossentropy);
        SimilarityDirection { of: of.to_owned(), score, crossentropy, self_crossentropy: own }
    }
}

/// A text in its language.
struct Spoken<'t> {
    text: &'t str,
    language: &'t str,
}

/// What is read, and what is written.
type Scored<'t> = [Spoken<'t>; 2];

/// An input that is ready to be scored.
struct Ready {
    translations: [Option<String>; 2],
    texts: Vec<Text>,
}

/// The mean cross-entropy of the scored tokens, in nats.
fn crossentropy(scores: &TextScores) -> f64 {
    -scores.log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum::<f64>() / scores.log_probs.len() as f64
}

impl<B: Backend> Task<B> for &SimilarityTask {
    type Output = Similarity;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn windows(&self) -> [usize; 2] {
        [2, 128]
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<Similarity>>> {
        self.check()?;
        let mut speakers = Speakers::default();
        // Wrong languages are wrong for all texts.
        speakers.of(model, &self.languages[0], &self.languages[1])?;
        if self.measure != SimilarityMeasure::Direct {
            speakers.of(model, &self.languages[1], &self.via)?;
        }
        let mut prepare = |Numbered { id, input, .. }: &Numbered| {
            let ready = self.ready(model, &mut speakers, input.as_ref().map_err(Clone::clone)?)?;
            let long = ready.texts.iter().find_map(|text| warnings::of_length(model.config(), text));
            long.iter().for_each(|long| (told.warning)(id, long));
            Ok((ready, long))
        };
        let prepared: Vec<Result<(Ready, Option<String>)>> = window.iter().map(&mut prepare).collect();
        let texts: Vec<Text> = prepared.iter().flatten().flat_map(|(ready, _)| ready.texts.clone()).collect();
        // Of each pair there are several texts.
        let progress = |progress: Progress| {
            let texts_done = progress.texts_done * window.len() / texts.len().max(1);
            (told.progress)(Progress { texts_done, texts: window.len(), ..progress })
        };
        let options = ScoringOptions {
            seed: self.options.seed,
            memory: model.memory(&self.options),
            batch_tokens: self.options.batch_tokens,
            progress: Some(&progress),
            ..ScoringOptions::default()
        };
        let none: [Box<dyn StepFunction<B>>; 0] = [];
        let mut scores = score(model.model(), &texts, &none, &options)?.into_iter();
        let about = Provenance { parameters: self.parameters(model), seed: self.options.seed, ..model.provenance() };
        let mut outcomes = Vec::new();
        for (numbered, prepared) in window.iter().zip(prepared) {
            let result = prepared.and_then(|(Ready { translations, texts }, long)| {
                let own: Vec<_> = scores.by_ref().take(texts.len()).collect();
                let own = own.into_iter().map(|scores| Ok(crossentropy(&scores?))).collect::<Result<Vec<f64>>>()?;
                let input = numbered.input.as_ref().map_err(Clone::clone)?;
                let each = own.chunks(if self.normalize { 2 } else { 1 });
                let directions: Vec<SimilarityDirection> =
                    input.variants.iter().zip(each).map(|(of, own)| self.direction(&of.name, own)).collect();
                let similarity = directions.iter().map(|one| one.score).sum::<f64>() / directions.len() as f64;
                let texts = input.variants.iter().zip(translations);
                let texts = texts
                    .map(|(variant, translation)| SimilarText {
                        name: variant.name.clone(),
                        text: variant.text.clone(),
                        translation,
                    })
                    .collect();
                let about = Provenance { warnings: long.into_iter().collect(), ..about.clone() };
                let (id, fields) = (numbered.id.clone(), input.fields.clone());
                Ok(Similarity { id, fields, texts, similarity, directions, about })
            });
            let Numbered { number, id, fields, .. } = numbered;
            outcomes.push(Outcome { id: id.clone(), number: *number, fields: fields.clone(), result });
        }
        Ok(outcomes)
    }
}
