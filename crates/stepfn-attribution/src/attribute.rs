//! The entry: texts and a method in, scores of input tokens out.

use burn::tensor::backend::Backend;
use stepfn_core::{Need, StepFunction, StepScore};
use stepfn_models::{Model, check_interrupted};

use crate::masked::Reading;
use crate::passes::prediction::check_can_differ;
use crate::scoring::{ScoringOptions, check_kind, score};
use crate::{
    AttributedFn, AttributionError, AttributionMethod, AttributionOptions, InputScores, Passes, Question, Steps, Text,
    TextScores,
};

/// The attribution of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributed {
    /// The scores of the input tokens.
    pub scores: InputScores,
    /// Values of the step functions that were asked for in addition, and alternatives.
    pub step_scores: Option<TextScores>,
}

/// Step functions whose values are wanted in addition to an attribution.
pub type StepScores<B> = [Box<dyn StepFunction<B>>];

/// Attributes each text: a score for each (input token, step). A text that fails does not affect the others.
///
/// # Examples
/// ```
/// use burn::tensor::DType;
/// use stepfn_attribution::methods::Saliency;
/// use stepfn_attribution::{AttributedFn, AttributionOptions, Baseline, Text, attribute};
/// use stepfn_core::functions::Probability;
/// use stepfn_cpu::Backend;
/// use stepfn_models::Model;
///
/// let model = Model::<Backend>::load("../../tests/goldens/models/gpt2", DType::F32, &Default::default())?;
/// let function = AttributedFn::new(Probability::default());
///
/// // Four tokens of a prompt, then two more, whose probabilities are attributed.
/// let text = Text::causal(vec![5, 9, 30, 7, 61, 12], 4);
/// let options = AttributionOptions::new(Baseline::token(0));
/// let attributed = attribute(&model, &[text], &Saliency::default(), &function, &[], &options)?.remove(0)?;
/// let scores = attributed.scores.target.expect("a causal model's text always has scores");
/// assert_eq!(scores.shape(), [6, 2]);
/// // What the model writes first depends on all of the prompt, and not on what comes later.
/// assert!(scores.at(0, 0)[0] > 0.0 && scores.at(4, 0)[0].is_nan() && scores.at(4, 1)[0] > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Parameters that make no sense for any text, and [`AttributionError::Cancelled`]. What is wrong with a single text is that text's error.
pub fn attribute<B: Backend>(
    model: &Model<B>,
    texts: &[Text],
    method: &dyn AttributionMethod<B>,
    function: &AttributedFn<B>,
    step_scores: &StepScores<B>,
    options: &AttributionOptions<'_>,
) -> Result<Vec<Result<Attributed, AttributionError>>, AttributionError> {
    method.check()?;
    Question::check_features(options, texts.len(), (method.name(), method.hides_tokens()))?;
    Question::check_spans(options, texts.len(), (method.name(), method.takes_spans()))?;
    let step_scores = if step_scores.is_empty() && options.alternatives == 0 {
        Vec::new()
    } else {
        let AttributionOptions { seed, rates, first_number, memory, alternatives, .. } = *options;
        let scoring = ScoringOptions { seed, rates, first_number, memory, alternatives, ..ScoringOptions::default() };
        score(model, texts, step_scores, &scoring)?
    };
    let mut step_scores = step_scores.into_iter();
    let mut all = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        check_interrupted()?;
        let step_scores = match step_scores.next().transpose() {
            Ok(step_scores) => step_scores,
            Err(error) => {
                all.push(Err(error));
                continue;
            }
        };
        let of_reading = |reading: &Reading<'_>, part: [usize; 2]| -> Result<InputScores, AttributionError> {
            let question = Question::of(reading, options, [index, texts.len()], part)?;
            let scores = method.attribute(&Passes::new(question, model, function)?)?;
            let scores = match method.is_of_function() && function.needs().contrast == Need::Required {
                true => scores.without(&unpaired(&question)?),
                false => scores,
            };
            match scores.infinite() {
                Some(column) => {
                    let step = question.spans(question.steps())[column].start() - question.steps().start();
                    Err(AttributionError::NotFinite { step, method: method.name().to_owned() })
                }
                None => Ok(scores),
            }
        };
        let scores = check_kind(model.config(), text).and_then(|()| text.readings()).and_then(|readings| {
            options.spans.get(index).map_or(Ok(()), |target| target.check(text))?;
            check_can_differ(text, function, !options.contrast_force_inputs)?;
            let parts = readings.iter().enumerate().map(|(part, reading)| {
                of_reading(reading, [part, readings.len()]).map_err(|error| error.at_reading(part, reading.places))
            });
            Ok(text.joined(parts.collect::<Result<_, _>>()?, method.is_of_layer()))
        });
        all.push(match scores {
            Err(AttributionError::Cancelled) => return Err(AttributionError::Cancelled),
            scores => scores.map(|scores| Attributed { scores, step_scores }),
        });
    }
    Ok(all)
}

/// What comes of passes over each reading of a text. One that predicts what comes next is read as it is; of a model of masked tokens, a masked copy is read for
/// each step: a text of one step, with [`Question::masked`] tokens, which comes after all others.
///
/// # Errors
/// A text that the model can't read, or whose contrast can't make a difference; those of `work`.
pub fn over_readings<B: Backend, T>(
    model: &Model<B>,
    text: &Text,
    function: &AttributedFn<B>,
    options: &AttributionOptions<'_>,
    mut work: impl FnMut(&Passes<'_, B>) -> Result<T, AttributionError>,
) -> Result<Vec<T>, AttributionError> {
    check_kind(model.config(), text)?;
    check_can_differ(text, function, !options.contrast_force_inputs)?;
    let readings = text.readings()?;
    options.spans.first().map_or(Ok(()), |target| target.check(text))?;
    let of_reading = |(part, reading): (usize, &Reading<'_>)| {
        let question = Question::of(reading, options, [0, 1], [part, readings.len()])?;
        let found = Passes::new(question, model, function).and_then(|passes| work(&passes));
        found.map_err(|error| error.at_reading(part, reading.places))
    };
    readings.iter().enumerate().map(of_reading).collect()
}

/// The columns none of whose steps has a partner in the contrast, counted from the first: there a contrastive function has no value, and no input a
/// share of it.
fn unpaired(question: &Question<'_>) -> Result<Vec<usize>, AttributionError> {
    let (text, steps) = (question.text(), question.steps());
    if text.contrast.is_none() {
        return Ok(Vec::new());
    }
    let partners = text.partners()?;
    let is_unpaired = |span: &Steps| span.within(steps).all(|step| partners[step].is_none());
    let columns = question.spans(steps).into_iter().enumerate();
    Ok(columns.filter(|(_, span)| is_unpaired(span)).map(|(column, _)| column).collect())
}
