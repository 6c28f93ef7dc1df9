use stepfn_attribution::contexts::Operator;
use stepfn_core::functions::{ContrastProbDiff, Entropy, Probability, Surprisal};
use stepfn_evaluate::{FIRST, LAST, Metric, RANDOM};

use super::*;
use crate::{Attention, InputXGradient, Occlusion, Saliency};

type Cpu = crate::backend::DefaultBackend;

fn model() -> LanguageModel {
    LanguageModel::load("verse").unwrap()
}

const TEXTS: [&str; 3] = [
    "Let there be light, and there was light.",
    "And the king said unto him",
    "In the beginning God created the heaven",
];

fn task(methods: Vec<Box<dyn AttributionMethod<Cpu>>>) -> EvaluateTask<Cpu> {
    let measures = Measures { orders: 2, ..Measures::default() };
    EvaluateTask { measures, ..EvaluateTask::new(methods) }
}

#[test]
fn methods_are_beside_chance_for_each_operator_and_function() {
    let model = model();
    let methods: Vec<Box<dyn AttributionMethod<Cpu>>> = vec![
        Box::new(Occlusion { abs: false, ..Occlusion::default() }),
        Box::new(Attention::default()),
        Box::new(Occlusion::default()),
    ];
    let task = task(methods).function(Probability { logprob: true }).function(Entropy::default());
    let found = model.evaluate(TEXTS, &task).unwrap();
    let names: Vec<&str> = found.functions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["log_probability", "entropy"]);
    for (_, evaluation) in &found.functions {
        assert_eq!(evaluation.rows.len(), 2 * 2 * 6);
        let names: Vec<&str> = evaluation.rows[..6].iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["occlusion", "attention", "occlusion 2", RANDOM, FIRST, LAST]);
        assert!(
            evaluation
                .rows
                .iter()
                .all(|row| row.texts == 3 && row.figures.iter().all(|figure| figure.low <= figure.high))
        );
    }
    // Hiding what is lost most with its own operator is more than chance.
    let occlusion = &found.functions[0].1.rows[0];
    assert!(occlusion.over_random[0].mean > 0.0, "{occlusion:?}");

    let json: Value = serde_json::from_str(&found.json().unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 48);
    assert_eq!(json["rows"][0]["figures"]["comprehensiveness"]["mean"], json!(occlusion.figures[0].mean));
    assert_eq!(json["about"]["parameters"]["occlusion"]["abs"], json!(false));
    let csv = found.csv();
    assert_eq!(csv.lines().count(), 1 + 48 * 4);
    let table = found.to_string();
    assert!(
        table.contains("entropy, hidden by `remove`, special tokens hidden too") && table.contains("lerf ↓"),
        "{table}"
    );
    assert!(found.html().contains("<polyline"));
}

#[test]
fn the_seed_decides_and_texts_go_alone_or_together() {
    let model = model();
    let task = task(vec![Box::new(Saliency::default())]);
    let whole = model.evaluate(TEXTS, &task).unwrap();
    let again = model.evaluate(TEXTS, &task).unwrap();
    assert_eq!(whole.functions, again.functions);
    let other = EvaluateTask { options: RunOptions { seed: 1, ..RunOptions::default() }, ..task };
    let other = model.evaluate(TEXTS, &other).unwrap();
    assert_ne!(whole.functions[0].1.rows[1].figures, other.functions[0].1.rows[1].figures, "other random orders");
    assert_eq!(whole.functions[0].1.rows[0].figures[0].mean, other.functions[0].1.rows[0].figures[0].mean);
}

#[test]
fn units_are_columns_and_their_values_add_up() {
    let model = model();
    let asked = |unit| {
        let task = EvaluateTask { unit, ..task(vec![Box::new(InputXGradient::default())]) };
        let input = Input { from: Some(4), ..Input::text(TEXTS[0]) };
        model.evaluate([input], &task).unwrap().functions.remove(0).1.rows.remove(0)
    };
    let (tokens, answer) = (asked(TargetUnit::Token), asked(TargetUnit::Answer));
    assert!(tokens.columns > 3 && answer.columns == 1);
    // There is one text, and so no interval.
    assert!(answer.figures[0].low.is_nan() && answer.figures[0].mean.is_finite());
    // A text's own units come first, and what is to be hidden as one is refused.
    let one = task(vec![Box::new(InputXGradient::default())]);
    let at = TEXTS[0].find("light").unwrap();
    let own = Input { units: core::iter::once(at..at + 5).collect(), ..Input::text(TEXTS[0]) };
    assert_eq!(model.evaluate([own], &one).unwrap().functions[0].1.rows[0].columns, 1);
    let spans = Input { target_spans: core::iter::once(0..5).collect(), ..Input::text(TEXTS[0]) };
    assert!(model.evaluate([spans], &one).unwrap_err().what().contains("hidden as one"));
}

#[test]
fn what_makes_no_sense_is_told_before_anything_runs() {
    let model = model();
    let wrong = |task: EvaluateTask<Cpu>| model.evaluate(TEXTS, &task).unwrap_err().what().to_owned();
    let one = || task(vec![Box::new(Saliency::default())]);
    assert!(wrong(task(Vec::new())).contains("no methods"));
    let attention = EvaluateTask { unit: TargetUnit::Answer, ..task(vec![Box::new(Attention::default())]) };
    assert!(wrong(attention).contains("attention has no function"));
    let measures = |measures: Measures| EvaluateTask { measures, ..one() };
    assert!(wrong(measures(Measures { orders: 0, ..Measures::default() })).contains("random orders is 0"));
    assert!(wrong(measures(Measures { soft_share: 1.0, ..Measures::default() })).contains("soft metrics is 1"));
    let deletion = Measures { metrics: vec![Metric::Deletion], ..Measures::default() };
    assert!(wrong(measures(deletion).function(Surprisal::default())).contains("deletion is of probabilities"));
    let nothing: [&str; 0] = [];
    assert!(model.evaluate(nothing, &one()).unwrap_err().what().contains("no text"));
    let short = model.evaluate(["Let"], &one()).unwrap_err();
    assert!(short.what().contains("no step") || short.what().contains("token"), "{short:?}");
}

#[test]
fn sensitivity_is_of_methods_that_read_embeddings() {
    let task = |radius: f64| {
        let metrics = vec![Metric::MaxSensitivity];
        let measures = Measures { metrics, noises: 2, noise_radius: radius, orders: 1, ..Measures::default() };
        let methods: [Box<dyn AttributionMethod<Cpu>>; 2] =
            [Box::new(Saliency::default()), Box::new(Occlusion::default())];
        EvaluateTask { measures, ..EvaluateTask::new(methods) }
    };
    let model = model();
    let of = |radius: f64| {
        let rows = model.evaluate(TEXTS, &task(radius)).unwrap().functions.remove(0).1.rows;
        assert!(rows[1].figures[0].mean.is_nan() && rows[2].figures[0].mean.is_nan(), "{rows:?}");
        rows[0].figures[0].mean
    };
    let (none, little, more) = (of(0.0), of(0.01), of(0.1));
    assert_eq!(none, 0.0);
    assert!(0.0 < little && little < more && little < 0.3, "{little} {more}");
}

#[test]
fn functions_that_compare_are_measured_where_they_compare() {
    let model = model();
    let task =
        task(vec![Box::new(Occlusion { abs: false, ..Occlusion::default() })]).function(ContrastProbDiff::default());
    let contrast = "Let there be light, and there was darkness.";
    let input = || Input { contrast_target: Some(contrast.to_owned()), ..Input::text(TEXTS[0]) };
    let of = |input: Input, task: &EvaluateTask<Cpu>| {
        model.evaluate([input], task).map(|found| found.functions[0].1.rows[0].clone())
    };
    let shared = of(input(), &task).unwrap();
    assert!(shared.columns > 3 && shared.figures.iter().all(|figure| figure.mean.is_finite()), "{shared:?}");
    let own = EvaluateTask { contrast_force_inputs: true, ..task };
    assert_ne!(of(input(), &own).unwrap().figures[0].mean, shared.figures[0].mean);
    let missing = of(Input::text(TEXTS[0]), &own).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Contrast, "{missing}");
    let unread = Input { contrast_source: Some("Let".to_owned()), ..input() };
    let own = EvaluateTask { contrast_force_inputs: false, ..own };
    assert_eq!(of(unread, &own).unwrap_err().kind(), ErrorKind::SameContext);
}

#[test]
fn what_people_marked_is_found_by_words_and_by_bytes() {
    let model = model();
    let metrics = vec![Metric::Auprc, Metric::TokenF1, Metric::Iou, Metric::Mrr];
    let measures = Measures { metrics, special: vec![true], operators: vec![Operator::Mask], ..Measures::default() };
    let methods: [Box<dyn AttributionMethod<Cpu>>; 1] = [Box::new(Saliency::default())];
    let task = EvaluateTask { measures, unit: TargetUnit::Answer, ..EvaluateTask::new(methods) };
    let of = |rationale: Vec<Mark>| {
        let input = Input { from: Some(6), rationale, ..Input::text(TEXTS[0]) };
        Ok::<_, Error>(model.evaluate([input], &task)?.functions.remove(0).1.rows)
    };
    let figures = |rows: &[stepfn_evaluate::Row]| -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.figures.iter().map(|figure| figure.mean).collect()).collect()
    };
    let words = figures(&of(vec![Mark::Text("light".to_owned())]).unwrap());
    let at = TEXTS[0].find("light").unwrap();
    // The second light is after the first step that is asked about.
    assert_eq!(words, figures(&of(vec![Mark::Span(at..at + 5)]).unwrap()));
    assert!(words.iter().flatten().all(|figure| (0.0..=1.0).contains(figure)), "{words:?}");
    // The order of the text has it at its place, and there is a first token of the text before it.
    let place = model
        .ask(TEXTS[0])
        .score((Probability::default(),))
        .unwrap()
        .target
        .iter()
        .position(|token| token.span.contains(&at))
        .unwrap();
    assert!((words[2][3] - 1.0 / (place as f64 + 1.0)).abs() < 1e-12, "{words:?}");
    assert!(of(vec![]).unwrap_err().what().contains("has no `rationale`"));
    assert!(of(vec![Mark::Text("darkness".to_owned())]).unwrap_err().what().contains("is not in the text"));
    assert!(of(vec![Mark::Span(90..99)]).unwrap_err().what().contains("does not lie in the text"));
    let marked = Input { rationale: vec![Mark::Span(0..3)], ..Input::text(TEXTS[0]) };
    let error = model.ask_about(marked).attribute(Saliency::default()).unwrap_err();
    assert!(error.what().contains("`rationale` says what people marked"), "{error}");
}
