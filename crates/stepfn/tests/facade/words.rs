//! Scores of words, sentences and regions.

use std::path::Path;

use serde_json::Value;
use stepfn::extend::burn::{self, tensor::Tensor};
use stepfn::extend::{Join, Needs, StepBatch, StepError, StepFunction, StepScore};
use stepfn::functions::{Entropy, McDropoutEntropy, McDropoutMutualInformation, Probability, Rank, Surprisal};
use stepfn::{
    BowCorrection, ErrorKind, Input, LongTexts, Place, Region, RunOptions, ScoreTask, ScoreUnit, ScoredText, WordSplit,
};

use super::{g2p, verse};

const TEXT: &str = "And God said, Let there be light. And there was light. And it was so.";

fn by(unit: ScoreUnit) -> ScoreTask<stepfn::backend::DefaultBackend> {
    ScoreTask { by: unit, ..ScoreTask::new((Surprisal::default(), Probability::default(), Entropy::default())) }
}

fn scored(input: Input, task: &ScoreTask<stepfn::backend::DefaultBackend>) -> stepfn::Result<ScoredText> {
    verse().score_all([input], task).next().unwrap().result
}

fn texts(scored: &ScoredText) -> Vec<&str> {
    scored.units.iter().map(|unit| unit.text.as_str()).collect()
}

/// The joined score of a function of each unit.
fn of(scored: &ScoredText, function: usize) -> Vec<f64> {
    scored.units.iter().map(|unit| unit.scores[function].1).collect()
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 2e-4 * theirs.abs().max(1.0)
}

#[test]
fn scores_of_units_are_joined_from_those_of_their_tokens() {
    let words = scored(Input::text(TEXT), &by(ScoreUnit::Word)).unwrap();
    assert_eq!(texts(&words), TEXT.split_whitespace().collect::<Vec<_>>());
    for unit in &words.units {
        let own = unit.tokens.start - words.scores.first..unit.tokens.end - words.scores.first;
        let values = |name: &str| words.values(name).unwrap()[own.clone()].iter().map(|&value| f64::from(value));
        assert_eq!(&TEXT[unit.span.clone()], unit.text);
        assert!(close(unit.scores[0].1, values("surprisal").sum()));
        assert!(close(unit.scores[1].1, values("probability").product()));
        assert!(close(unit.scores[2].1, values("entropy").sum()));
        assert!(close(unit.scores[0].1, -unit.scores[1].1.log2()));
    }
    let ranks = ScoreTask { by: ScoreUnit::Word, ..ScoreTask::new((Rank::default(),)) };
    let ranks = scored(Input::text(TEXT), &ranks).unwrap();
    let said = &ranks.units[2].tokens;
    let own = &ranks.values("rank").unwrap()[said.start - ranks.scores.first..said.end - ranks.scores.first];
    assert_eq!((own.len(), ranks.units[2].scores[0].1), (2, f64::from(own[0] + own[1]) / 2.0), "others are averaged");
    let whole = scored(Input::text(TEXT), &by(ScoreUnit::Text)).unwrap();
    assert_eq!((texts(&whole), whole.units.len()), (vec![TEXT], 1));
    assert!(close(of(&whole, 0)[0], of(&words, 0).iter().sum()));
    assert!(close(of(&whole, 0)[0], -whole.scores.sequence.logprob / core::f64::consts::LN_2));
    let sentences = scored(Input::text(TEXT), &by(ScoreUnit::Sentence)).unwrap();
    assert_eq!(texts(&sentences), ["And God said, Let there be light.", "And there was light.", "And it was so."]);
    assert!(close(of(&sentences, 0).iter().sum(), of(&whole, 0)[0]));
    let unicode = ScoreTask { words: WordSplit::Unicode, ..by(ScoreUnit::Word) };
    assert_eq!(texts(&scored(Input::text(TEXT), &unicode).unwrap())[..5], ["And", "God", "said", ",", "Let"]);
    assert_eq!(scored(Input::text(TEXT), &by(ScoreUnit::Token)).unwrap().units, []);
}

#[test]
fn words_of_ones_own_have_a_row_each() {
    let own = |words: &[&str]| Input {
        words: words.iter().map(|&word| word.to_owned()).collect(),
        ..Input::text("Don't be afraid, Mary.")
    };
    let words = scored(own(&["Do", "n't", "be", "afraid", "Mary"]), &by(ScoreUnit::Word)).unwrap();
    assert_eq!(texts(&words), ["Do", "n't", "be", "afraid", "Mary"]);
    let error = scored(own(&["Don't", "afraid"]), &by(ScoreUnit::Word)).unwrap_err();
    assert_eq!(
        (error.kind(), error.what()),
        (ErrorKind::Text, "word 2 of `words`, \"afraid\", does not follow the one before it in the text")
    );
    assert!(scored(own(&["Don't"]), &by(ScoreUnit::Text)).unwrap_err().what().contains("this is other work"));
    // Behind a prompt, of what follows it.
    let prompted = Input {
        source: Some("Let there be".to_owned()),
        target: Some("Let there be light, and".to_owned()),
        ..Input::default()
    };
    let words = scored(prompted, &by(ScoreUnit::Word)).unwrap();
    assert_eq!(texts(&words), ["light,", "and"]);
    assert!(of(&words, 0).iter().all(|score| score.is_finite()));
}

#[test]
fn regions_are_named_parts_and_what_is_between_them_is_in_none() {
    let region = |name: Option<&str>, place| Region { name: name.map(str::to_owned), place };
    let input = |regions| Input { regions, ..Input::text(TEXT) };
    let places = vec![
        region(Some("who"), Place::Text("God".to_owned())),
        region(None, Place::Span(25..32)),
        region(None, Place::Text("light".to_owned())),
    ];
    let found = scored(input(places), &by(ScoreUnit::Region)).unwrap();
    assert_eq!(texts(&found), ["God", "e light", "light"]);
    assert_eq!(
        found.units.iter().map(|unit| unit.tokens.len()).collect::<Vec<_>>(),
        [1, 1, 1],
        "`be` begins before its region"
    );
    assert_eq!(found.units[0].name.as_deref(), Some("who"));
}

#[test]
fn words_are_corrected_as_published_and_as_minicons_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/words/words.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |name: &str, number: usize| golden[name][number].as_str().unwrap().to_owned();
    for (name, start_token) in [("start", None), ("start", Some(true)), ("no_start", Some(false)), ("prompted", None)] {
        for (case, bow_correction) in [
            ("plain", None),
            ("minicons", Some(BowCorrection::Minicons)),
            ("published", Some(BowCorrection::Published)),
        ] {
            for (number, expected) in golden[name][case].as_array().unwrap().iter().enumerate() {
                let input = match name {
                    "prompted" => {
                        let (prompt, ending) = (text("prompts", number), text("endings", number));
                        Input { target: Some(format!("{prompt} {ending}")), ..Input::source(prompt) }
                    }
                    _ => Input::text(text("texts", number)),
                };
                let logs = Probability { logprob: true };
                let task = ScoreTask {
                    by: ScoreUnit::Word,
                    bow_correction,
                    start_token,
                    ..ScoreTask::new((logs, Surprisal::default(), Rank::default()))
                };
                let words = scored(input, &task).unwrap();
                assert_eq!(words.units.len(), expected.as_array().unwrap().len());
                assert!(words.scores.scores.iter().all(|(_, values)| values.len() == words.tokens().len()));
                for (word, theirs) in expected.as_array().unwrap().iter().enumerate() {
                    let [ours, bits] = [0, 1].map(|function| words.units[word].scores[function].1);
                    match (name, word) {
                        ("no_start", 0) => assert!(ours.is_nan() && bits.is_nan()),
                        _ => {
                            assert!(
                                close(ours, theirs.as_f64().unwrap()),
                                "{name} {case} {number} {word}: {ours} {theirs}"
                            );
                            assert!(close(bits, -ours / core::f64::consts::LN_2));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn tokens_and_words_are_those_of_minicons() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/words/words.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let minicons = Some(BowCorrection::Minicons);
    for (case, unit, bow_correction) in [
        ("tokenized", ScoreUnit::Word, None),
        ("tokenized_minicons", ScoreUnit::Word, minicons),
        ("tokens", ScoreUnit::Token, None),
        ("tokens_minicons", ScoreUnit::Token, minicons),
    ] {
        for (number, expected) in golden["start"][case].as_array().unwrap().iter().enumerate() {
            let logs = Probability { logprob: true };
            let task = ScoreTask {
                by: unit,
                bow_correction,
                ..ScoreTask::new((logs, Surprisal::default(), Entropy::default()))
            };
            let found = scored(Input::text(golden["texts"][number].as_str().unwrap()), &task).unwrap();
            let ours = |function: usize| match unit {
                ScoreUnit::Token => found.scores.scores[function].1.iter().map(|&value| f64::from(value)).collect(),
                _ => of(&found, function),
            };
            let (logs, bits) = (ours(0), ours(1));
            assert_eq!(logs.len(), expected.as_array().unwrap().len());
            for ((log, bits), theirs) in logs.iter().zip(bits).zip(expected.as_array().unwrap()) {
                assert!(close(*log, theirs.as_f64().unwrap()), "{case} {number}: {log} {theirs}");
                assert!(close(bits, -log / core::f64::consts::LN_2));
            }
            let plain = ScoreTask { by: unit, ..ScoreTask::new([Entropy::default()]) };
            let plain = scored(Input::text(golden["texts"][number].as_str().unwrap()), &plain).unwrap();
            let [plain, found] = [&plain, &found].map(|scored| scored.values("entropy").unwrap());
            let alike = plain.iter().zip(found).all(|(own, other)| close(f64::from(*own), f64::from(*other)));
            assert!(alike && plain.len() == found.len(), "others stay as they are");
        }
    }
}

#[test]
fn the_correction_leaves_tokens_and_sequences_as_they_are() {
    let task = |bow_correction| ScoreTask { bow_correction, ..by(ScoreUnit::Word) };
    let plain = scored(Input::text(TEXT), &task(None)).unwrap();
    let corrected = scored(Input::text(TEXT), &task(Some(BowCorrection::Published))).unwrap();
    assert_eq!(plain.target, corrected.target);
    assert!(close(plain.scores.sequence.logprob, corrected.scores.sequence.logprob));
    assert_eq!(of(&plain, 2).len(), of(&corrected, 2).len());
    assert!(of(&plain, 2).iter().zip(of(&corrected, 2)).all(|(plain, corrected)| close(*plain, corrected)));
    assert_eq!(corrected.about.parameters["bow_correction"], "published");
}

#[test]
fn options_that_have_no_effect_are_refused() {
    let functions = || (Surprisal::default(), Entropy::default());
    let what = |task: ScoreTask<_>| scored(Input::text(TEXT), &task).unwrap_err().what().to_owned();
    let bow = Some(BowCorrection::Published);
    assert!(what(ScoreTask { bow_correction: bow, ..by(ScoreUnit::Sentence) }).contains("is one of words"));
    assert!(
        what(ScoreTask { bow_correction: bow, by: ScoreUnit::Word, ..ScoreTask::new((Entropy::default(),)) })
            .contains("no step function asked for")
    );
    assert!(what(ScoreTask { words: WordSplit::Unicode, ..ScoreTask::new(functions()) }).contains("words alone"));
    assert!(what(by(ScoreUnit::Region)).contains("there are no regions"));
    let pair = ScoreTask { start_token: Some(true), ..by(ScoreUnit::Token) };
    let error = g2p().score_all(["hello"], &pair).next().unwrap().result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Option);
}

#[test]
fn without_a_start_token_nothing_predicts_the_first_token() {
    let tokens = |start_token| {
        let task = ScoreTask { start_token, ..ScoreTask::new((Surprisal::default(),)) };
        scored(Input::text("Let there be light"), &task).unwrap()
    };
    let (with, without) = (tokens(None), tokens(Some(false)));
    assert_eq!(with.scores, tokens(Some(true)).scores);
    assert_eq!((with.target[0].surface.as_str(), with.tokens().len()), ("<s>", 4));
    assert_eq!((without.target[0].surface.as_str(), without.tokens().len()), ("Let", 3));
}

#[test]
fn runs_in_parts_have_the_scores_of_one() {
    let task = ScoreTask {
        bow_correction: Some(BowCorrection::Published),
        options: RunOptions { batch_tokens: 16, ..RunOptions::default() },
        ..by(ScoreUnit::Word)
    };
    let texts = ["Let there be light", TEXT, "And the king"];
    let together: Vec<ScoredText> = verse().score_all(texts, &task).map(|outcome| outcome.result.unwrap()).collect();
    for (text, scored_together) in texts.into_iter().zip(&together) {
        let alone = scored(Input::text(text), &task).unwrap();
        assert!(of(&alone, 0).iter().zip(of(scored_together, 0)).all(|(alone, together)| close(*alone, together)));
    }
}

#[test]
fn windows_are_as_long_as_the_texts_that_the_model_was_made_for() {
    let text = [TEXT; 9].join(" ");
    let run = |long| scored(Input::text(text.as_str()), &ScoreTask { long, ..by(ScoreUnit::Word) }).unwrap();
    let (whole, windows) = (run(LongTexts::Error), run(LongTexts::Windows { stride: Some(32) }));
    assert!(whole.about.warnings[0].contains("made for 128") && windows.about.warnings.is_empty());
    let [whole, windows, cut] = [of(&whole, 0), of(&windows, 0), of(&run(LongTexts::Truncate), 0)];
    assert!(windows.iter().all(|bits| bits.is_finite()));
    // The first window is the beginning of the text.
    let known = cut.iter().take_while(|bits| bits.is_finite()).count();
    assert!(known > 60 && cut[known..].iter().all(|bits| bits.is_nan()), "{known}");
    assert!((0..known).all(|word| close(whole[word], windows[word]) && close(whole[word], cut[word])));
    assert!(!close(whole[whole.len() - 1], windows[whole.len() - 1]));
}

#[test]
fn texts_that_fit_are_not_cut() {
    for long in [LongTexts::Truncate, LongTexts::Windows { stride: Some(8) }] {
        let plain = scored(Input::text(TEXT), &by(ScoreUnit::Word)).unwrap();
        let other = scored(Input::text(TEXT), &ScoreTask { long, ..by(ScoreUnit::Word) }).unwrap();
        assert_eq!(plain.units, other.units);
    }
}

/// `ln p_y` in one of several passes with dropout.
struct InPass {
    name: String,
    pass: usize,
    passes: usize,
}

impl StepScore for InPass {
    fn name(&self) -> &str {
        &self.name
    }

    fn join(&self) -> Join {
        Join::Sum
    }

    fn needs(&self) -> Needs {
        Needs::noisy(self.passes)
    }
}

impl<B: burn::tensor::backend::Backend> StepFunction<B> for InPass {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let noisy = steps.require_noisy(&self.name, self.passes)?;
        Ok(noisy.log_prob(steps.target_ids(), self.passes).slice(self.pass..=self.pass).squeeze_dim(0))
    }
}

#[test]
fn measures_of_a_text_are_those_of_its_tokens_and_passes() {
    let passes = 4;
    let options = RunOptions { dropout: Some(0.1), seed: 3, ..RunOptions::default() };
    let measured = ScoreTask { uncertainty: Some(passes), options, ..by(ScoreUnit::Text) };
    let found = scored(Input::text(TEXT), &measured).unwrap();
    assert_eq!(found.scores.scores.len(), 3, "what is computed for measures is no score of a token");
    let of = |name: &str| found.units[0].scores.iter().find(|(own, _)| own == name).unwrap().1;
    let disagreement = McDropoutMutualInformation { n_mcd_steps: passes };
    let entropy = McDropoutEntropy { n_mcd_steps: passes };
    let parts = ScoreTask { options, ..ScoreTask::new((disagreement, entropy, Entropy::default())) };
    let parts = scored(Input::text(TEXT), &parts).unwrap();
    let all = parts.tokens().len() as f64;
    let mean = |name: &str| parts.values(name).unwrap().iter().map(|&value| f64::from(value)).sum::<f64>() / all;
    assert!(close(of("knowledge_uncertainty"), mean("mc_dropout_mutual_information")));
    assert!(close(of("total_uncertainty"), mean("mc_dropout_entropy")));
    assert!(close(of("softmax_entropy"), mean("entropy")));
    assert!(of("reverse_mutual_information") > 0.0);
    assert!(close(of("tp"), found.scores.sequence.logprob / all));
    let spread = found.scores.log_probs.iter().map(|&log| (f64::from(log) - of("tp")).powi(2)).sum::<f64>() / all;
    assert!(close(of("sent_std"), spread.sqrt()));
    let in_pass = |pass| InPass { name: format!("pass {pass}"), pass, passes };
    let own = ScoreTask { options, ..ScoreTask::new((0..passes).map(in_pass).collect::<Vec<_>>()) };
    let own = scored(Input::text(TEXT), &own).unwrap();
    let sums: Vec<f64> =
        own.scores.scores.iter().map(|(_, logs)| logs.iter().map(|&log| f64::from(log)).sum::<f64>() / all).collect();
    let d_tp = sums.iter().sum::<f64>() / passes as f64;
    let d_var = sums.iter().map(|tp| (tp - d_tp).powi(2)).sum::<f64>() / passes as f64;
    assert!(close(of("d_tp"), d_tp) && (of("d_var") - d_var).abs() < 1e-6 && d_var > 1e-6);
    assert!((of("d_combo") - (1.0 - of("d_tp") / of("d_var"))).abs() < 1e-9);
    // Where nothing is dropped, passes agree and the ratio does not exist.
    let none = ScoreTask { options: RunOptions { dropout: Some(0.0), ..options }, ..measured };
    assert_eq!(none.drops_nothing(&verse()), Some("uncertainty"));
    let none = scored(Input::text(TEXT), &none).unwrap();
    assert!(none.units[0].scores.iter().any(|(name, value)| name == "d_combo" && value.is_nan()));
    let wrong = |task| scored(Input::text(TEXT), &task).unwrap_err().what().to_owned();
    assert!(wrong(ScoreTask { uncertainty: Some(4), ..by(ScoreUnit::Word) }).contains("of whole texts"));
    assert!(wrong(ScoreTask { uncertainty: Some(1), ..by(ScoreUnit::Text) }).contains("compare passes"));
}
