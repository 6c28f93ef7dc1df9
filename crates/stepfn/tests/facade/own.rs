//! Step functions and methods of one's own.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn::extend::{
    AttributionError, AttributionMethod, InputScores, Join, Named, ParameterError, Passes, ScoreTable, Side, StepBatch,
    StepError, StepFunction, StepScore,
};
use stepfn::functions::Probability;
use stepfn::{Answer, AttributeTask, ErrorKind, IntegratedGradients, LanguageModel, Value, json};

use super::{LIGHT, values, verse};

/// `factor · ln p_y`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Scaled {
    factor: f64,
}

impl Default for Scaled {
    fn default() -> Self {
        Self { factor: 1.0 }
    }
}

impl Named for Scaled {
    const NAME: &'static str = "scaled";
    const SUMMARY: &'static str = "ln p_y times a factor";
    const UNIT: &'static str = "nats";

    fn validate(&self) -> core::result::Result<(), ParameterError> {
        if self.factor > 0.0 { Ok(()) } else { Err(Self::out_of_range("factor", "a number above 0", self.factor)) }
    }
}

impl StepScore for Scaled {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> serde_json::Map<String, Value> {
        stepfn::extend::parameters(self)
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for Scaled {
    fn score(&self, steps: &StepBatch<B>) -> core::result::Result<Tensor<B, 1>, StepError> {
        Ok(steps.log_prob().mul_scalar(self.factor))
    }
}

#[test]
fn a_step_function_of_ones_own_is_scored_attributed_and_merged() {
    let mut model = verse();
    let ask = |model: &LanguageModel, factor| model.ask(LIGHT).score([Scaled { factor }]).unwrap();
    let (one, two) = (ask(&model, 1.0), ask(&model, 2.0));
    let pairs = one.values("scaled").unwrap().iter().zip(two.values("scaled").unwrap());
    pairs.for_each(|(one, two)| assert_eq!(2.0 * one, *two));

    model.registry_mut().register_function::<Scaled>().unwrap();
    let function = |factor: f64| model.function("scaled", json!({ "factor": factor }));
    assert_eq!(function(-1.0).err().unwrap().kind(), ErrorKind::Parameter);
    let answer = model
        .ask(LIGHT)
        .function(function(2.0).unwrap())
        .step_scores([function(2.0).unwrap()])
        .attribute(IntegratedGradients::default())
        .unwrap();
    assert_eq!(
        (answer.about.attributed_fn.as_str(), &answer.about.parameters["scaled"]),
        ("scaled", &json!({ "factor": 2.0 }))
    );
    // Scores of a word's tokens join as the function says: by their sum.
    let words = answer.aggregate("subwords").unwrap();
    let sum = |answer: &Answer| answer.step_scores["scaled"].iter().map(|x| f64::from(*x)).sum::<f64>();
    assert!(words.steps.len() < answer.steps.len());
    assert!((sum(&words) - sum(&answer)).abs() < 1e-3, "{} {}", sum(&words), sum(&answer));

    let error = model.registry_mut().register_function::<Scaled>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
}

/// The distance between a token and the predicted one, times the function's value there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Distance {
    squared: bool,
}

impl Named for Distance {
    const NAME: &'static str = "distance";
    const SUMMARY: &'static str = "how far a token is from the predicted one, times the function's value";
}

impl<B: Backend> AttributionMethod<B> for Distance {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> core::result::Result<InputScores, AttributionError> {
        let question = passes.question();
        let steps = question.steps();
        let of_text = passes.values(&passes.input(steps), steps)?.into_data().iter::<f64>().collect::<Vec<_>>();
        let mut table = ScoreTable::zeros(question);
        for ((column, step), value) in steps.positions().enumerate().zip(of_text) {
            for token in 0..step {
                let distance = (step - token) as f64;
                table.set(Side::Target, token, column, value * if self.squared { distance.powi(2) } else { distance });
            }
        }
        Ok(table.finish())
    }
}

#[test]
fn a_method_of_ones_own_is_used_by_its_type_and_by_its_name() {
    let mut model = verse();
    let by_type = model.ask(LIGHT).step_scores([Probability::default()]).attribute(Distance { squared: true }).unwrap();
    let (scores, probabilities) = (by_type.target_scores.as_ref().unwrap(), &by_type.step_scores["probability"]);
    let first = by_type.steps.start;
    for (step, probability) in probabilities.iter().enumerate() {
        let distance = (first + step) as f32;
        assert!((scores.at(0, step)[0] - distance * distance * probability).abs() < 1e-4);
    }
    model.registry_mut().register_method::<Distance>().unwrap();
    let method = model.method("distance", json!({ "squared": true })).unwrap();
    let task = AttributeTask::new(method);
    let by_name = model.attribute_all([LIGHT], &task).next().unwrap().result.unwrap();
    assert_eq!(values(&by_name), values(&by_type));
    assert_eq!(by_name.about.method, "distance");
    assert_eq!(model.method("distance", json!({ "square": true })).err().unwrap().kind(), ErrorKind::Parameter);
    assert!(model.registry().methods().any(|method| method.name == "distance"));
}

/// `ln p_y`, but at one token NaN, and with another no number at all.
struct Holed {
    nan_at: i64,
    fails_at: i64,
}

impl StepScore for Holed {
    fn name(&self) -> &str {
        "holed"
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for Holed {
    fn score(&self, steps: &StepBatch<B>) -> core::result::Result<Tensor<B, 1>, StepError> {
        let targets: Vec<i64> = steps.target_ids().into_data().iter::<i64>().collect();
        if targets.contains(&self.fails_at) {
            return Err(StepError::Function { function: "holed".to_owned(), message: "there is a hole".to_owned() });
        }
        let is_nan: Vec<f32> = targets.iter().map(|&id| if id == self.nan_at { f32::NAN } else { 0.0 }).collect();
        let scores = steps.log_prob();
        Ok(scores.clone() + Tensor::<B, 1>::from_data(is_nan.as_slice(), &scores.device()))
    }
}

#[test]
fn a_value_that_is_not_finite_is_not_attributed() {
    let model = verse();
    let tokens = model.ask(LIGHT).score([Probability::default()]).unwrap().tokens().to_vec();
    let nan_at = i64::from(tokens[2].id);
    let asked = || model.ask(LIGHT).function(Holed { nan_at, fails_at: -1 });
    let of_methods = [
        asked().attribute(stepfn::Occlusion::default()),
        asked().attribute(stepfn::Saliency::default()),
        asked().attribute(IntegratedGradients::default()),
        asked().attribute(stepfn::Lime::default()),
    ];
    for answer in of_methods {
        let error = answer.unwrap_err();
        assert_eq!(error.what(), "step 2: the value of `holed` is not finite");
        assert_eq!(error.kind(), ErrorKind::Numbers);
    }
    let scores = model.ask(LIGHT).score([Holed { nan_at, fails_at: -1 }]).unwrap();
    let is_nan: Vec<bool> = scores.values("holed").unwrap().iter().map(|value| value.is_nan()).collect();
    assert_eq!(is_nan.iter().filter(|is_nan| **is_nan).count(), 1, "a score is what the function says");
}

#[test]
fn a_function_fails_for_the_text_that_it_fails_for() {
    let model = verse();
    let texts = ["And the king of Egypt", LIGHT, "And there was", "In the beginning"];
    let tokens = model.ask(LIGHT).score([Probability::default()]).unwrap().tokens().to_vec();
    let be = tokens.iter().find(|token| token.surface.trim() == "be").unwrap();
    let task = stepfn::ScoreTask::new([Holed { nan_at: -1, fails_at: i64::from(be.id) }]);
    let found: Vec<_> = model.score_all(texts, &task).map(|outcome| outcome.result).collect();
    let says: Vec<String> = found
        .iter()
        .map(|result| result.as_ref().map_or_else(|error| error.what().to_owned(), |_| String::new()))
        .collect();
    assert_eq!(says, ["", "step function `holed`: there is a hole", "", ""]);
    for (text, result) in texts.iter().zip(&found).filter(|(_, result)| result.is_ok()) {
        let alone = model.ask(*text).score([Holed { nan_at: -1, fails_at: -1 }]).unwrap();
        let among = result.as_ref().unwrap().values("holed").unwrap();
        let pairs = among.iter().zip(alone.values("holed").unwrap());
        pairs.for_each(|(among, alone)| assert!((among - alone).abs() < 1e-5));
    }
}
