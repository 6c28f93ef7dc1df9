//! Properties of whole pipelines.

use proptest::prelude::*;
use serde_json::json;
use stepfn_models::tokenizer::Token;

use super::*;
use crate::{Alternative, MERGED};

fn tokens(surfaces: &[&str]) -> Vec<Token> {
    let mut start = 0;
    surfaces
        .iter()
        .enumerate()
        .map(|(id, surface)| {
            let special = surface.starts_with('<');
            let span = start..if special { start } else { start + surface.len() };
            start = span.end;
            Token { id: id as u32, surface: (*surface).to_owned(), span, special }
        })
        .collect()
}

/// A translation with scores `value(side, token, step)`; target tokens before the step are visible.
fn translation(value: impl Fn(Side, usize, usize) -> f32) -> Attribution {
    let source = tokens(&["The", " chair", "man", " left", "</s>"]);
    let target = tokens(&["<pad>", " Der", " Vor", "sitz", "ende", " ging", "</s>"]);
    let mut attribution = Attribution::new(source, target, 1..7);
    attribution.source_scores = Some(Scores::filled(5, 6, &[], |token, step, _| value(Side::Source, token, step)));
    attribution.target_scores =
        Some(Scores::filled(
            7,
            6,
            &[],
            |token, step, _| {
                if token <= step { value(Side::Target, token, step) } else { f32::NAN }
            },
        ));
    attribution
}

fn run(pipeline: &str, attribution: &Attribution) -> Attribution {
    let result = pipeline.parse::<Pipeline>().unwrap().apply(attribution).unwrap();
    result.check().unwrap();
    result
}

fn total(attribution: &Attribution) -> f64 {
    let scores = [&attribution.source_scores, &attribution.target_scores];
    scores.into_iter().flatten().flat_map(|scores| scores.values()).filter(|v| !v.is_nan()).map(|&v| f64::from(v)).sum()
}

#[test]
fn words_merge_rows_columns_and_step_scores() {
    let mut attribution = translation(|_, token, step| (token as f32 + 1.0) * if step == 2 { -10.0 } else { 1.0 });
    attribution.step_scores.insert("probability".to_owned(), vec![0.5, 0.5, 0.25, 0.5, f32::NAN, 1.0]);
    attribution.step_scores.insert("surprisal".to_owned(), vec![1.0, 1.0, 2.0, 1.0, f32::NAN, 0.0]);
    attribution.step_scores.insert("rank".to_owned(), vec![1.0, 2.0, 4.0, 6.0, 1.0, 1.0]);
    attribution.deltas = Some(vec![0.0, 0.1, -0.3, 0.2, 0.0, 0.0]);
    attribution.contrast = [None, Some(5), Some(6), None, None, None]
        .map(|id: Option<usize>| {
            id.map(|id| Token { span: id * 4..id * 4 + 4, ..tokens(&[" x", "y"])[id % 5].clone() })
        })
        .to_vec();

    let words = run("subwords", &attribution);
    let surfaces = |tokens: &[Token]| tokens.iter().map(|token| token.surface.clone()).collect::<Vec<_>>();
    assert_eq!(surfaces(&words.source), ["The", " chairman", " left", "</s>"]);
    assert_eq!(surfaces(&words.target), ["<pad>", " Der", " Vorsitzende", " ging", "</s>"]);
    assert_eq!((words.source[1].id, words.source[2].id, words.source[1].span.clone()), (MERGED, 3, 3..12));
    assert_eq!(words.steps, 1..5);
    // "chairman" (tokens 1, 2) on "Vorsitzende" (steps 1 to 3), the farthest from zero: token 2 at step 2.
    assert_eq!(words.source_scores.as_ref().unwrap().at(1, 1), [-30.0]);
    // The word sees its own beginnings; "Der" never sees "Vorsitzende".
    assert_eq!(words.target_scores.as_ref().unwrap().at(2, 1), [-30.0]);
    assert!(words.target_scores.as_ref().unwrap().at(2, 0)[0].is_nan());
    // The step without a value ("ging") stays without one.
    assert_eq!(words.step_scores["probability"][..2], [0.5, 0.0625]);
    assert!(words.step_scores["probability"][2].is_nan());
    assert_eq!(words.step_scores["surprisal"][1], 4.0);
    assert_eq!(words.step_scores["rank"][1], 4.0);
    assert_eq!(words.deltas.as_ref().unwrap()[1], -0.3);
    assert_eq!(
        words.contrast.iter().map(|token| token.as_ref().map(|token| token.surface.as_str())).collect::<Vec<_>>(),
        [None, Some(" xy"), None, None]
    );
    assert_eq!(words.about.aggregation, ["subwords"]);
}

#[test]
fn one_side_may_be_merged_alone() {
    let attribution = translation(|_, _, _| 1.0);
    let words = run("subwords(source)", &attribution);
    assert_eq!((words.source.len(), words.target.len(), words.steps.clone()), (4, 7, 1..7));
    let words = run("subwords(target)", &attribution);
    assert_eq!((words.source.len(), words.target.len(), words.steps.clone()), (5, 5, 1..5));
}

#[test]
fn a_span_that_straddles_the_first_step_keeps_its_steps() {
    let mut attribution = translation(|_, _, step| step as f32);
    attribution.steps = 3..7;
    let cut = |scores: &Scores| Scores::filled(scores.tokens(), 4, &[], |token, step, _| scores.at(token, step + 2)[0]);
    attribution.source_scores = attribution.source_scores.as_ref().map(cut);
    attribution.target_scores = attribution.target_scores.as_ref().map(cut);
    attribution.step_scores.insert("probability".to_owned(), vec![0.5, 0.5, 1.0, 1.0]);
    let merged = run("spans(target=2:5)", &attribution);
    assert_eq!(merged.steps, 2..5);
    assert_eq!(merged.step_scores["probability"], [0.25, 1.0, 1.0]);
    assert_eq!(merged.source_scores.as_ref().unwrap().at(0, 0), [3.0]);
    let only_prompt = run("spans(target=0:3)", &attribution);
    assert_eq!((only_prompt.steps.clone(), only_prompt.target.len()), (1..5, 5));
}

#[test]
fn slices_keep_steps() {
    let sliced = run("slices(source=1:3,target=0)", &translation(|_, token, _| token as f32));
    assert_eq!((sliced.source.len(), sliced.target.len(), sliced.steps.clone()), (2, 7, 1..7));
    assert_eq!(sliced.source_scores.unwrap().at(0, 0), [1.0]);
    let mut prompted = translation(|_, token, _| token as f32);
    prompted.steps = 3..7;
    let cut = |scores: &Scores| Scores::filled(scores.tokens(), 4, &[], |token, step, _| scores.at(token, step + 2)[0]);
    prompted.source_scores = prompted.source_scores.as_ref().map(cut);
    prompted.target_scores = prompted.target_scores.as_ref().map(cut);
    let sliced = run("slices(target=1)", &prompted);
    assert_eq!((sliced.source.len(), sliced.target.len(), sliced.steps.clone()), (5, 5, 1..5));
    assert_eq!(sliced.target_scores.unwrap().at(0, 0), [1.0]);
}

#[test]
fn pairs_are_subtracted_where_the_pipeline_says() {
    let one = translation(|_, _, _| 3.0);
    let mut other = translation(|_, token, _| token as f32);
    other.source[0].surface = "A".to_owned();
    let pipeline: Pipeline = "subwords,pair,normalize".parse().unwrap();
    assert!(pipeline.needs_pair());
    let difference = pipeline.apply_pair(&one, &other).unwrap();
    difference.check().unwrap();
    assert_eq!(difference.source[0].surface, "The → A");
    assert_eq!(difference.source[1].surface, " chairman");
    // Step 0: sources 3 − (0, 2, 3, 4), target 3 − 0: shares of 3 + 1 + 0 + 1 + 3.
    assert_eq!(difference.source_scores.as_ref().unwrap().at(0, 0), [3.0 / 8.0]);
    assert_eq!(difference.source_scores.as_ref().unwrap().at(3, 0), [-1.0 / 8.0]);
    assert_eq!(difference.about.aggregation, ["subwords", "pair", "normalize"]);

    assert!(pipeline.apply(&one).is_err(), "one output is no pair");
    let shorter = run("slices(source=0:2)", &other);
    let message = "pair".parse::<Pipeline>().unwrap().apply_pair(&one, &shorter).unwrap_err().to_string();
    assert!(message.contains("5 source tokens") && message.contains("2 source tokens"), "{message}");
}

#[test]
fn reductions_need_their_axis() {
    let attribution = translation(|_, _, _| 1.0);
    let message = "vnorm".parse::<Pipeline>().unwrap().apply(&attribution).unwrap_err().to_string();
    assert!(message.contains("raw") && message.contains("one score per token and step"), "{message}");
    let raw = Attribution {
        source_scores: Some(Scores::filled(5, 6, &[(Axis::Hidden, 2)], |_, _, unit| [3.0, 4.0][unit])),
        ..attribution
    };
    assert!("vnorm".parse::<Pipeline>().unwrap().needs_raw());
    assert_eq!(run("vnorm", &raw).source_scores.unwrap().at(0, 0), [5.0], "the target is per token already");
    assert!("mean(head)".parse::<Pipeline>().unwrap().apply(&raw).is_err());
    assert!("normalize".parse::<Pipeline>().unwrap().apply(&raw).is_err(), "sides that differ can't be added up");
}

#[test]
fn defaults_follow_the_axes() {
    let mut raw = translation(|_, _, _| 1.0);
    let inner = [(Axis::Layer, 2), (Axis::Head, 3)];
    raw.source_scores = Some(Scores::filled(5, 6, &inner, |_, _, position| position as f32));
    raw.target_scores = None;
    assert_eq!(Pipeline::for_display(&raw).to_string(), "mean(head),mean(layer),normalize");
    assert_eq!(raw.per_token().about.aggregation, ["mean(head)", "mean(layer)"]);
    assert_eq!(raw.per_token().source_scores.unwrap().at(0, 0), [2.5]);
    raw.source_scores = Some(Scores::filled(5, 6, &[(Axis::Hidden, 2)], |_, _, unit| unit as f32));
    assert_eq!(Pipeline::per_token(&raw).to_string(), "vnorm(hidden)");
    assert_eq!(Pipeline::per_token(&raw.per_token()).to_string(), "");
}

#[test]
fn bytes_become_characters_and_whole_characters_stay() {
    let mut bytes = translation(|_, token, step| (token + step) as f32);
    let same = bytes.characters();
    assert_eq!((same.target, same.about), (bytes.target.clone(), bytes.about.clone()), "nothing to merge");
    for (token, byte) in [(2, r"\xC3"), (3, r"\xA4")] {
        bytes.target[token].surface = byte.to_owned();
        bytes.target[token].span = 4..6;
    }
    let likely = |id: u32| vec![Alternative { id, surface: "x".to_owned(), probability: 0.5 }];
    bytes.alternatives = (0..6).map(likely).collect();
    let characters = bytes.characters();
    assert_eq!(characters.target[2].surface, "ä");
    assert_eq!((characters.target.len(), characters.steps.clone()), (6, 1..6));
    assert_eq!(characters.target_scores.as_ref().unwrap().shape(), [6, 5]);
    assert_eq!(characters.about.aggregation, ["characters"]);
    // Alternatives are of single tokens: the merged step has none.
    let ids = |step: usize| characters.alternatives[step].iter().map(|other| other.id).collect::<Vec<_>>();
    assert_eq!((ids(0), ids(1), ids(2)), (vec![0], vec![], vec![3]));
    assert!(characters.check().is_ok());
    assert_eq!("characters(sum)".parse::<Pipeline>().unwrap().to_string(), "characters(sum)");
}

#[test]
fn names_are_all_known() {
    for (name, _) in Stage::ABOUT {
        let text = match name {
            "layers" | "heads" | "hidden" => format!("{name}=0"),
            "split" => "split(.)".to_owned(),
            _ => name.to_owned(),
        };
        assert!(text.parse::<Pipeline>().is_ok(), "{text}");
    }
    assert_eq!(json!(Pipeline(vec![Stage::Pair])), json!([{"stage": "pair"}]));
}

fn scores() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop_oneof![4 => -2.0f32..2.0, 1 => Just(f32::NAN), 1 => Just(0.0)], 12 * 6)
}

fn with(values: &[f32]) -> Attribution {
    translation(|side, token, step| values[(token + if side == Side::Target { 5 } else { 0 }) * 6 + step])
}

proptest! {
    #[test]
    fn normalized_columns_add_up_to_one(values in scores()) {
        let shares = run("normalize", &with(&values));
        for step in 0..6 {
            let sides = [&shares.source_scores, &shares.target_scores];
            let column: Vec<f32> = sides.into_iter().flatten().flat_map(|s| (0..s.tokens()).map(|t| s.at(t, step)[0])).collect();
            let sum: f32 = column.iter().filter(|value| !value.is_nan()).map(|value| value.abs()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5 || column.iter().all(|value| value.is_nan() || *value == 0.0), "{sum}");
        }
        // Doing it again changes nothing, and NaN stays where it was.
        let again = run("normalize", &shares);
        for (one, other) in again.source_scores.unwrap().values().iter().zip(shares.source_scores.unwrap().values()) {
            prop_assert!((one - other).abs() < 1e-6 || (one.is_nan() && other.is_nan()));
        }
    }

    #[test]
    fn sums_are_kept(values in scores(), cut in 1usize..6) {
        let attribution = with(&values);
        for pipeline in [format!("spans(source=0:{},target=0:{cut},sum)", cut.min(5)), "subwords(sum)".to_owned()] {
            let merged = run(&pipeline, &attribution);
            prop_assert!((total(&merged) - total(&attribution)).abs() < 1e-3, "{}", pipeline);
        }
    }

    #[test]
    fn merging_single_tokens_changes_nothing(values in scores()) {
        let attribution = with(&values);
        let same = run("spans", &attribution);
        prop_assert_eq!(&same.source, &attribution.source);
        prop_assert_eq!(&same.steps, &attribution.steps);
        let bits = |scores: &Option<Scores>| scores.as_ref().unwrap().values().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&same.source_scores), bits(&attribution.source_scores));
        prop_assert_eq!(bits(&same.target_scores), bits(&attribution.target_scores));
    }

    #[test]
    fn nan_comes_only_of_nothing_but_nan(values in scores()) {
        let attribution = with(&values);
        let merged = run("spans(source=1:4,target=2:5)", &attribution);
        let (merged, raw) = (merged.source_scores.unwrap(), attribution.source_scores.unwrap());
        let all_nan = (1..4).all(|token| (1..4).all(|step| raw.at(token, step)[0].is_nan()));
        prop_assert_eq!(merged.at(1, 1)[0].is_nan(), all_nan);
    }

    #[test]
    fn the_order_of_merged_tokens_does_not_matter(values in scores()) {
        // Two source tokens that are merged, exchanged.
        let turned = translation(|side, token, step| {
            let token = match side {
                Side::Source if token == 1 => 2,
                Side::Source if token == 2 => 1,
                _ => token,
            };
            values[(token + if side == Side::Target { 5 } else { 0 }) * 6 + step]
        });
        for function in Function::ALL {
            let pipeline = format!("spans(source=1:3,{function})");
            let (one, other) = (run(&pipeline, &with(&values)), run(&pipeline, &turned));
            let pairs = one.source_scores.unwrap();
            for (one, other) in pairs.values().iter().zip(other.source_scores.unwrap().values()) {
                let equal = (one - other).abs() < 1e-5 || (one.is_nan() && other.is_nan());
                // Of two as far from zero, `absmax` takes the first.
                let tie = function == Function::AbsMax && (one.abs() - other.abs()).abs() < 1e-6;
                prop_assert!(equal || tie, "{function}: {one} {other}");
            }
        }
    }
}
