//! A text on a model, against the same metrics computed one set of tokens and one step at a time.

use burn::tensor::DType;
use stepfn_attribution::methods::Saliency;
use stepfn_attribution::{
    AttributedFn, AttributionOptions, Baseline, ContrastText, Masked, Perturbed, Question, ScoringOptions, SpanTarget,
    Text, attribute, score,
};
use stepfn_core::functions::{ContrastProbDiff, Entropy, McDropoutProbAvg, Probability};
use stepfn_core::{Alignment, StepFunction};
use stepfn_models::Model;

use super::*;

type Cpu = stepfn_cpu::Backend;

fn model(name: &str) -> Model<Cpu> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name);
    Model::load(folder, DType::F32, &Default::default()).unwrap()
}

const BASELINE: u32 = 2;
const SPECIAL: u32 = 4;

fn options<'a>() -> AttributionOptions<'a> {
    AttributionOptions::new(Baseline { id: BASELINE, kept: vec![SPECIAL] })
}

fn log_prob() -> AttributedFn<Cpu> {
    AttributedFn::new(Probability { logprob: true })
}

fn texts() -> [(&'static str, Text); 2] {
    let causal = Text::causal(vec![SPECIAL, 31, 8, 16, 40, 9, 22, 13, 7], 3);
    let translation = Text::seq2seq(vec![31, 8, 16, 40, SPECIAL], vec![SPECIAL, 9, 22, 13]);
    [("gpt2", causal), ("marian", translation)]
}

fn candidate(text: &Text, columns: usize) -> Candidate {
    let mut random = SplitMix64::stream(8, 0);
    let mut scores = |tokens: usize| (0..tokens).map(|_| (0..columns).map(|_| random.normal()).collect()).collect();
    Candidate {
        name: "ours".to_owned(),
        source: scores(text.source.as_ref().map_or(0, Vec::len)),
        target: scores(text.target.len()),
        with_noise: Vec::new(),
    }
}

/// The log-probability of the tokens of one span after a text without some tokens, scored by itself.
fn slowly(model: &Model<Cpu>, text: &Text, steps: Steps, operator: Operator, hidden: &[Token]) -> f64 {
    if operator == Operator::Mask {
        // One variant at a time; that it is what transformers computes is tested where masks are made.
        let (options, function) = (options(), log_prob());
        let passes = Passes::new(Question::new(text, &options, 0, 1).unwrap(), model, &function).unwrap();
        let perturbation = passes.perturb().unwrap();
        let variant = [Perturbed { hidden: hidden.to_vec(), ..perturbation.text() }];
        let values = perturbation.values_of(function.plain(), &variant, steps, |_, _| Ok(())).unwrap();
        return values[0].iter().sum();
    }
    let without = |side: Side, ids: &[u32], until: usize| -> Vec<u32> {
        let is_hidden = |token: usize| hidden.contains(&(side, token));
        let id = |(token, &id): (usize, &u32)| match (is_hidden(token), operator) {
            (false, _) => Some(id),
            (true, Operator::Baseline) => Some(BASELINE),
            (true, _) => None,
        };
        let kept: Vec<u32> = ids[..until].iter().enumerate().filter_map(id).collect();
        if kept.is_empty() { vec![BASELINE] } else { kept }
    };
    let target = without(Side::Target, &text.target, steps.start());
    let start = target.len();
    let target: Vec<u32> = target.into_iter().chain(text.target[steps.positions()].iter().copied()).collect();
    let source = text.source.as_ref().map(|source| without(Side::Source, source, source.len()));
    let text = Text { source, steps: start..target.len(), target, contrast: None, masked: None };
    let function: Box<dyn StepFunction<Cpu>> = Box::new(log_prob());
    let scored = score(model, &[text], &[function], &ScoringOptions::default()).unwrap().remove(0).unwrap();
    scored.scores[0].1.iter().map(|&value| f64::from(value)).sum()
}

fn all_hard() -> Task {
    let metrics = Metric::ALL.into_iter().filter(|metric| metric.is_of_values()).collect();
    Task { metrics, operators: Operator::ALL.to_vec(), sets: 6, orders: 2, ..Task::default() }
}

/// The log-probability of the token of one step of a text of masked tokens without some others, scored by itself.
fn slowly_masked(model: &Model<Cpu>, text: &Text, step: usize, operator: Operator, hidden: &[Token]) -> f64 {
    let is_hidden = |token: usize| hidden.contains(&(Side::Target, token));
    let id = |(token, &id): (usize, &u32)| match (is_hidden(token), operator) {
        (false, _) => Some(id),
        (true, Operator::Remove) => None,
        (true, _) => Some(BASELINE),
    };
    let target: Vec<u32> = text.target.iter().enumerate().filter_map(id).collect();
    let step = match operator {
        Operator::Remove => (0..step).filter(|&token| !is_hidden(token)).count(),
        _ => step,
    };
    let masked = text.masked.as_ref().map(|masked| Masked::alone(masked.id, target.len()));
    let text = Text { steps: step..step + 1, target, masked, ..text.clone() };
    let function: Box<dyn StepFunction<Cpu>> = Box::new(log_prob());
    let scored = score(model, &[text], &[function], &ScoringOptions::default()).unwrap().remove(0).unwrap();
    f64::from(scored.scores[0].1[0])
}

fn assert_as_slow(name: &str, text: &Text, spans: &[SpanTarget], task: &Task) {
    let (model, function) = (model(name), log_prob());
    let options = AttributionOptions { spans, ..options() };
    let readings = over_readings(&model, text, &function, &options, |passes| {
        Ok((passes.question().reading(), [false, true].map(|special| columns(passes, special))))
    });
    let readings = readings.unwrap();
    let candidate = candidate(text, readings.iter().map(|(_, columns)| columns[0].len()).sum());
    let rows =
        evaluate_text(&model, text, &function, &options, Given::new(core::slice::from_ref(&candidate)), task).unwrap();
    assert_eq!(rows.len(), task.operators.len() * 2 * 4, "{name}");
    for row in rows.iter().filter(|row| row.name != RANDOM) {
        let mut figures = Vec::new();
        let columns = readings.iter().flat_map(|(reading, columns)| {
            columns[usize::from(row.special)].iter().enumerate().map(move |(number, column)| (number + reading, column))
        });
        for (number, column) in columns {
            let n = column.features.len();
            if n < 2 {
                continue;
            }
            let scores: Vec<f64> = match row.name.as_str() {
                FIRST => (0..n).map(|place| (n - place) as f64).collect(),
                LAST => (0..n).map(|place| (place + 1) as f64).collect(),
                _ => column.features.iter().map(|&token| candidate.score(token, number)).collect(),
            };
            let settings = Settings {
                metrics: task.metrics.clone(),
                ranking: task.ranking,
                log_prob_of: Some(column.steps.len()),
                sets: task.sets,
                seed: [task.seed ^ 0x6661_6974_6866_756c, (number as u64) << 16],
            };
            let value = |hidden: &Vec<bool>| {
                let hidden: Vec<Token> = column
                    .features
                    .iter()
                    .zip(hidden)
                    .filter(|(_, hidden)| **hidden)
                    .map(|(token, _)| *token)
                    .collect();
                match text.masked {
                    Some(_) => slowly_masked(&model, text, text.steps.start + number, row.operator, &hidden),
                    None => slowly(&model, text, column.steps, row.operator, &hidden),
                }
            };
            let slow = measure(&scores, &settings, &mut |sets| Ok(sets.iter().map(value).collect())).unwrap();
            figures.push(slow.figures);
        }
        assert_eq!(row.columns, figures.len(), "{name}");
        for (at, (metric, found)) in task.metrics.iter().zip(&row.figures).enumerate() {
            // Ranks of values that differ by rounding may change.
            if *metric != Metric::Lds {
                let expected = mean(figures.iter().map(|figures| figures[at]));
                let close = (found - expected).abs() < 2e-4 * expected.abs().max(1.0);
                assert!(close, "{name}, {row:?}, {metric:?}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn steps_of_masked_tokens_have_the_figures_of_a_pass_for_each_set() {
    // Whole words are masked where their first token is predicted.
    let masked = Masked { id: 7, until: vec![1, 3, 3, 4, 5, 6] };
    let text = Text { masked: Some(masked), ..Text::causal(vec![SPECIAL, 31, 8, 16, 40, SPECIAL], 1) };
    let alone = Text { masked: Some(Masked::alone(7, 6)), steps: 1..5, ..text.clone() };
    let task = Task { operators: vec![Operator::Baseline, Operator::Remove], ..all_hard() };
    for name in ["bert", "modernbert"] {
        assert_as_slow(name, &alone, &[], &task);
    }
    let (model, options, function) = (model("bert"), options(), log_prob());
    let words = Text { steps: 1..5, ..text };
    let features =
        over_readings(&model, &words, &function, &options, |passes| Ok(columns(passes, true).remove(0).features));
    let features: Vec<Vec<usize>> =
        features.unwrap().iter().map(|all| all.iter().map(|(_, token)| *token).collect()).collect();
    assert_eq!(features, [vec![0, 3, 4, 5], vec![0, 1, 3, 4, 5], vec![0, 1, 2, 4, 5], vec![0, 1, 2, 3, 5]]);
    // What nobody attends to is no matter: another token in a hidden place.
    let task = Task { operators: vec![Operator::Mask], ..all_hard() };
    let rows = evaluate_text(&model, &alone, &function, &options, Given::new(&[candidate(&alone, 4)]), &task).unwrap();
    assert!(rows.iter().all(|row| row.columns == 4 && row.figures[0].abs() > 1e-3), "{rows:?}");
}

/// In the text's own context: the probability of a token less that of the contrast's.
#[test]
fn contrasts_are_compared_with_in_the_text_without_tokens() {
    let model = model("gpt2");
    let (_, own) = texts()[0].clone();
    let (step, other) = (6, 35);
    let mut target = own.target.clone();
    target[step] = other;
    let contrast =
        ContrastText { source: None, target: target.clone(), first: 3, alignment: Alignment::OneToOne, masked: None };
    let text = Text { contrast: Some(contrast), ..own.clone() };
    let (options, function) = (options(), AttributedFn::new(ContrastProbDiff::default()));
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let all = columns(&passes, true);
    let games = Games::new(&passes).unwrap();
    let token = |token: usize| (Side::Target, token);
    let sets = [vec![], vec![token(1)], vec![token(0), token(4)]];
    for operator in [Operator::Baseline, Operator::Remove] {
        let found = games.values(operator, &all, &Asked::from([(step - 3, sets.iter().cloned().collect())])).unwrap();
        let other = Text { target: target.clone(), ..own.clone() };
        for set in &sets {
            let probability = |text| slowly(&model, text, all[step - 3].steps, operator, set).exp();
            let (found, expected) = (found[&(step - 3, set.clone())], probability(&own) - probability(&other));
            assert!((found - expected).abs() < 1e-5, "{operator:?}, {set:?}: {found} instead of {expected}");
        }
    }
    // Where both say the same there is nothing to lose.
    let task = Task { metrics: vec![Metric::Comprehensiveness], special: vec![true], ..Task::default() };
    let rows = evaluate(&passes, Given::new(&[candidate(&text, 6)]), &task).unwrap();
    assert!(rows.iter().all(|row| row.columns == 6 && row.figures[0] != 0.0), "{rows:?}");
    // A step without a partner has no value.
    let contrast = text
        .contrast
        .clone()
        .map(|contrast| ContrastText { alignment: Alignment::Pairs(vec![(step - 3, step - 3)]), ..contrast });
    let text = Text { contrast, ..text };
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let rows = evaluate(&passes, Given::new(&[candidate(&text, 6)]), &task).unwrap();
    assert!(rows.iter().all(|row| row.columns == 1 && row.figures[0].is_finite()), "{rows:?}");
}

#[test]
fn steps_have_the_figures_of_a_pass_for_each_set() {
    for (name, text) in texts() {
        assert_as_slow(name, &text, &[], &all_hard());
    }
}

#[test]
fn spans_have_the_figures_of_a_pass_for_each_set() {
    let task = all_hard();
    for (name, text) in texts() {
        let (start, end) = (text.steps.start, text.steps.end);
        assert_as_slow(name, &text, &[SpanTarget::new(vec![start..start + 1, start + 1..end])], &task);
        assert_as_slow(name, &text, &[SpanTarget::new(core::iter::once(start..end).collect())], &task);
    }
}

#[test]
fn soft_metrics_are_those_of_distributions_without_embeddings() {
    for (name, text) in texts() {
        let (model, options, function) = (model(name), options(), log_prob());
        let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
        let all = columns(&passes, true);
        let games = Games::new(&passes).unwrap();
        let last = all.len() - 1;
        let steps = all[last].steps;
        let sets = [vec![], vec![all[last].features[1]], all[last].features.clone()];
        let asked = Asked::from([(last, sets.iter().cloned().collect())]);
        let found = games.distances(&all, &asked).unwrap();
        let distribution = |hidden: &[Token]| -> Vec<f64> {
            let input = passes.input(steps);
            let zeroed = |side: Side, x: &burn::tensor::Tensor<Cpu, 2>| {
                let [_, size] = x.dims();
                hidden.iter().filter(|(of, _)| *of == side).fold(x.clone(), |x, &(_, token)| {
                    let device = x.device();
                    x.slice_assign([token..token + 1, 0..size], burn::tensor::Tensor::zeros([1, size], &device))
                })
            };
            let source = input.source().map(|source| zeroed(Side::Source, source));
            let variants = stepfn_attribution::Variants::new(1, source, zeroed(Side::Target, input.target()));
            let logits: Vec<f64> =
                model.logits(passes.hidden(&variants, steps).unwrap()).into_data().iter::<f64>().collect();
            let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
            logits.iter().map(|logit| (logit - most).exp() / sum).collect()
        };
        let whole = distribution(&[]);
        for set in &sets {
            // √(1 − Σ √(p q))
            let overlap: f64 = whole.iter().zip(distribution(set)).map(|(p, q)| (p * q).sqrt()).sum();
            let (expected, found) = ((1.0 - overlap).max(0.0).sqrt(), found[&(last, set.clone())]);
            assert!((found - expected).abs() < 1e-4, "{name}, {set:?}: {found} instead of {expected}");
        }
        let task = Task { metrics: vec![Metric::SoftNc, Metric::SoftNs], ..Task::default() };
        let rows = evaluate(&passes, Given::new(&[candidate(&text, all.len())]), &task).unwrap();
        assert!(rows.iter().all(|row| row.figures.iter().all(|figure| (0.0..=2.0).contains(figure))), "{rows:?}");
        assert!(rows.iter().all(|row| row.most.iter().all(|lost| lost.is_nan() || *lost == 0.0)));
    }
}

/// What the function loses without each token, one at a time, is hidden by the operator of the metric: nothing that hides one token finds more.
#[test]
fn scores_that_read_the_truth_win() {
    let (_, text) = texts()[0].clone();
    let (model, options, function) = (model("gpt2"), options(), log_prob());
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let all = columns(&passes, true);
    for operator in Operator::ALL {
        let lost = |column: &Column, token: usize| {
            let value = |hidden: &[Token]| slowly(&model, &text, column.steps, operator, hidden);
            if column.features.contains(&(Side::Target, token)) {
                value(&[]) - value(&[(Side::Target, token)])
            } else {
                f64::NAN
            }
        };
        let target = (0..text.target.len()).map(|token| all.iter().map(|column| lost(column, token)).collect());
        let truth = Candidate {
            name: "truth".to_owned(),
            source: Vec::new(),
            target: target.collect(),
            with_noise: Vec::new(),
        };
        let saliency = attribute(&model, core::slice::from_ref(&text), &Saliency::default(), &function, &[], &options);
        let saliency = saliency.unwrap().remove(0).unwrap().scores.target.unwrap();
        let of_token = |token| (0..all.len()).map(|step| f64::from(saliency.at(token, step)[0])).collect();
        let saliency = Candidate {
            name: "saliency".to_owned(),
            source: Vec::new(),
            target: (0..text.target.len()).map(of_token).collect(),
            with_noise: Vec::new(),
        };
        let task = Task {
            metrics: vec![Metric::Comprehensiveness],
            operators: vec![operator],
            special: vec![true],
            ..Task::default()
        };
        let rows = evaluate(&passes, Given::new(&[truth, saliency]), &task).unwrap();
        assert!(rows[1..].iter().all(|row| row.figures[0] < rows[0].figures[0]), "{rows:?}");
    }
}

#[test]
fn what_can_not_be_evaluated_is_told() {
    let model = model("gpt2");
    let options = options();
    let ask = |text: &Text, function: &AttributedFn<Cpu>| {
        let passes = Passes::new(Question::new(text, &options, 0, 1).unwrap(), &model, function).unwrap();
        evaluate(&passes, Given::new(&[]), &Task::default())
    };
    let (_, text) = texts()[0].clone();
    let error = ask(&text, &AttributedFn::new(McDropoutProbAvg::default())).unwrap_err().to_string();
    assert!(error.contains("mc_dropout_prob_avg"), "{error}");
    let short = Text::causal(vec![SPECIAL, 31], 1);
    let error = ask(&short, &log_prob()).unwrap_err().to_string();
    assert!(error.contains("no step of this text has two tokens"), "{error}");
    // Another function has its own values, and no figures of probabilities.
    let task = Task { metrics: vec![Metric::Comprehensiveness, Metric::Deletion], ..Task::default() };
    let function = AttributedFn::new(Entropy::default());
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let rows = evaluate(&passes, Given::new(&[]), &task).unwrap();
    assert!(rows.iter().all(|row| row.figures[0].is_finite() && row.figures[1].is_nan()), "{rows:?}");
}

#[test]
fn sensitivity_is_the_greatest_change_of_a_column() {
    let (_, text) = texts()[0].clone();
    let (model, options, function) = (model("gpt2"), options(), log_prob());
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let mut own = candidate(&text, 6);
    let scaled = |by: f64| {
        let target = own.target.iter().map(|scores| scores.iter().map(|score| by * score).collect()).collect();
        Candidate { target, ..own.clone() }
    };
    own.with_noise = vec![scaled(1.1), scaled(0.7), scaled(1.0)];
    let task = Task { metrics: vec![Metric::MaxSensitivity], ..Task::default() };
    let rows = evaluate(&passes, Given::new(&[own]), &task).unwrap();
    assert!((rows[0].figures[0] - 0.3).abs() < 1e-9 && rows[1].figures[0].is_nan(), "{rows:?}");
}

#[test]
fn marked_tokens_are_found_by_scores_and_by_chance() {
    let (_, text) = texts()[0].clone();
    let (model, options, function) = (model("gpt2"), options(), log_prob());
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &function).unwrap();
    let mut own = candidate(&text, 6);
    // The second token is the first of each column, and the fourth the second.
    own.target[1] = vec![10.0; 6];
    own.target[3] = vec![9.0; 6];
    let marked = [(Side::Target, 1), (Side::Target, 3)];
    let metrics = vec![Metric::Auprc, Metric::TokenF1, Metric::Iou, Metric::Mrr, Metric::Comprehensiveness];
    let task =
        Task { metrics, operators: vec![Operator::Baseline], special: vec![true], orders: 50, ..Task::default() };
    let rows = evaluate(&passes, Given { candidates: &[own.clone()], marked: &marked }, &task).unwrap();
    assert!(rows[0].figures[..4].iter().all(|figure| (figure - 1.0).abs() < 1e-12), "{rows:?}");
    assert!(rows[1].figures[..4].iter().all(|figure| *figure > 0.2 && *figure < 0.9), "{rows:?}");
    // From the first token on: of three tokens before the first step, the second is marked, of more also the fourth.
    let mrr = rows[2].figures[3];
    assert!((mrr - 0.5).abs() < 1e-12, "{mrr}");
    assert!(rows[0].figures[4].is_finite());
    let rows = evaluate(&passes, Given::new(&[own]), &task).unwrap();
    assert!(rows.iter().all(|row| row.figures[..4].iter().all(|figure| figure.is_nan())), "{rows:?}");
}
