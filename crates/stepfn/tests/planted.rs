//! Facts planted in sources, where the truth is known: SmolLM2 answers from one of ten sources.
//!
//! The model is not in the repository; `STEPFN_SMOLLM2` is its path, and `.ci/run` downloads it. Without it, the test prints that it was skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

use stepfn::{ContextMethod, ContextTask, Input, LanguageModel, TargetUnit};

/// Who keeps what, and which of them are asked for.
const FACTS: [(&str, &str); 10] = [
    ("Lisbon", "a blue bicycle"),
    ("Oslo", "three old maps"),
    ("Cairo", "a jar of honey"),
    ("Lima", "a wooden flute"),
    ("Delhi", "seven candles"),
    ("Paris", "a broken clock"),
    ("Tokyo", "an orange umbrella"),
    ("Rome", "a box of chalk"),
    ("Dublin", "a silver spoon"),
    ("Athens", "two green bottles"),
];
const ASKED: [usize; 2] = [4, 8];

/// For each method: the drops of the log-probability of all answers without the three best sources, without three random ones and without the first
/// three; and how often the best source is the one with the fact.
fn drops(model: &LanguageModel, method: ContextMethod) -> ([f64; 3], usize) {
    let task = ContextTask { method, statement: TargetUnit::Answer, checks: Some(3), ..ContextTask::default() };
    let (mut drops, mut right) = ([0.0; 3], 0);
    for asked in ASKED {
        let sources = FACTS.iter().map(|(city, thing)| format!("The museum in {city} keeps {thing}."));
        let (city, thing) = FACTS[asked];
        let question = format!("What does the museum in {city} keep?");
        let target = Some(format!("The museum in {city} keeps {thing}."));
        let answer = model.context(Input { target, ..Input::context(sources, question) }, &task).unwrap();
        for (sum, name) in drops.iter_mut().zip(["drop_3", "random_drop_3", "first_drop_3"]) {
            *sum += answer.measured[name];
        }
        let scores = answer.source_scores.as_ref().unwrap();
        // Those that a prefilter passes over have none.
        let score =
            |source: &usize| Some(scores.at(*source, 0)[0]).filter(|score| score.is_finite()).unwrap_or(f32::MIN);
        let best = (0..FACTS.len()).max_by(|a, b| score(a).total_cmp(&score(b)));
        right += usize::from(best == Some(asked));
    }
    println!("{}: {drops:?}, {right} of {} right", task.method.name(), ASKED.len());
    (drops, right)
}

#[test]
fn the_source_of_a_planted_fact_is_found() {
    let Some(path) = std::env::var_os("STEPFN_SMOLLM2") else {
        println!(
            "SKIPPED: a published model. Get it with `python3 tests/real/smollm2.py get FOLDER`, and set STEPFN_SMOLLM2 to what that prints."
        );
        return;
    };
    let model = LanguageModel::load(path.to_str().unwrap()).unwrap();
    let ([exact, random, first], right) = drops(&model, ContextMethod::LeaveOneOut);
    assert_eq!(right, ASKED.len(), "without the source of the fact, the answer loses most");
    assert!(random <= 0.5 * exact && first <= 0.5 * exact, "{exact}, {random}, {first}");
    let ([found, ..], _) = drops(&model, ContextMethod::Gradient { prefilter: Some(4) });
    assert!(found >= 0.95 * exact, "{found} of {exact}");
}
