//! The entry: texts and a method in, attributions out.

use burn::tensor::backend::Backend;
use stepfn_core::StepFunction;
use stepfn_models::Model;

use crate::engine::Subject;
use crate::grid::Found;
use crate::scoring::{ScoringOptions, score};
use crate::{AttributedFn, AttributionError, AttributionOptions, Method, Scores, Text, TextScores};

/// What was found out about one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributed {
    /// Scores of source tokens; `None` for a causal model or a method that has none.
    pub source_scores: Option<Scores>,
    /// Scores of target tokens; `None` where they were not asked for.
    pub target_scores: Option<Scores>,
    /// For methods that promise completeness: how far the scores of each step are from adding up.
    pub deltas: Option<Vec<f32>>,
    /// Values of the step functions that were asked for beside.
    pub step_scores: Option<TextScores>,
}

/// Step functions whose values are wanted beside an attribution.
pub type StepScores<B> = [Box<dyn StepFunction<B>>];

/// Attributes each text: a score for each (input token, step). A text that can't be leaves the others alone.
///
/// # Examples
/// ```
/// use burn::tensor::DType;
/// use stepfn_attribution::{AttributionOptions, Method, Registries, Text, attribute};
/// use stepfn_cpu::Backend;
/// use stepfn_models::Model;
///
/// let model = Model::<Backend>::load("../../tests/goldens/models/gpt2", DType::F32, &Default::default())?;
/// let registries = Registries::<Backend>::default();
/// let function = registries.attributed("probability", &Default::default())?;
/// let method = Method::make("saliency", &Default::default())?;
///
/// // Four tokens of a prompt, then two more, whose probabilities are attributed.
/// let text = Text::causal(vec![5, 9, 30, 7, 61, 12], 4);
/// let options = AttributionOptions::default();
/// let attributed = attribute(&model, &[text], &method, &function, &[], &options)?.remove(0)?;
/// let scores = attributed.target_scores.expect("a causal model's text always has scores");
/// assert_eq!(scores.shape(), [6, 2]);
/// // What the model writes first depends on all of the prompt, and not on what comes later.
/// assert!(scores.at(0, 0)[0] > 0.0 && scores.at(4, 0)[0].is_nan() && scores.at(4, 1)[0] > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Parameters that make no sense for any text. What is wrong with a single text is that text's error.
pub fn attribute<B: Backend>(
    model: &Model<B>,
    texts: &[Text],
    method: &Method,
    function: &AttributedFn<B>,
    step_scores: &StepScores<B>,
    options: &AttributionOptions<'_>,
) -> Result<Vec<Result<Attributed, AttributionError>>, AttributionError> {
    method.validate()?;
    if !options.features.is_empty() && options.features.len() != texts.len() {
        return Err(AttributionError::Parameter {
            of: "the options".to_owned(),
            parameter: "features".to_owned(),
            expected: format!("groups of each of the {} texts, or none at all", texts.len()),
            found: format!("those of {}", options.features.len()),
        });
    }
    if !method.hides_tokens() && options.features.iter().any(|features| !features.is_empty()) {
        return Err(AttributionError::Parameter {
            of: "the options".to_owned(),
            parameter: "features".to_owned(),
            expected: format!("no groups of tokens, for {} hides none (aggregation merges its scores)", method.name()),
            found: "some".to_owned(),
        });
    }
    let mut beside = if step_scores.is_empty() {
        Vec::new()
    } else {
        let AttributionOptions { seed, rates, first_number, memory, .. } = *options;
        let scoring = ScoringOptions { seed, rates, first_number, memory, ..ScoringOptions::default() };
        score(model, texts, step_scores, &scoring)?
    }
    .into_iter();
    let mut all = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let scores = beside.next().transpose();
        let found = Subject::new(model, function, options, text, (index, texts.len()))
            .and_then(|subject| method.attribute(&subject));
        let attributed = match (found, scores) {
            (Err(AttributionError::Cancelled), _) => return Err(AttributionError::Cancelled),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Found { source, target, deltas }), Ok(step_scores)) => {
                Ok(Attributed { source_scores: source, target_scores: target, deltas, step_scores })
            }
        };
        all.push(attributed);
    }
    Ok(all)
}
