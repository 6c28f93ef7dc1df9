//! Corpora: the share of time that is not the model's, memory, and how soon a run goes on.
//!
//! `cargo build --release --locked && cargo bench -p stepfn-benches --bench corpora [-- --quick] [--model=NAME] [--texts=N] [--lines=N] [--shards=N] [--only=share,memory,resume]`
//!
//! Prints Markdown tables. "The model" is scoring of texts that are in memory as tokens, in the windows and batches of the other rows; "one after the other" reads a file of
//! JSON lines, tokenizes, scores and writes JSON lines; "at the same time" does the same with a thread that reads and tokenizes and another that writes. Runs
//! alternate; ratios are medians with minimum and maximum. The share outside of the model is 1 − (the model) / (all).
//!
//! Memory and resuming are measured from outside, of the program `target/release/stepfn`: the greatest resident set of a run over many lines, and the
//! time of a command whose shards are all there, loading the model included.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't continue should fail")]

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use stepfn::extend::StepFunction;
use stepfn::functions::{Entropy, Surprisal};
use stepfn::writers::{WriterOptions, records};
use stepfn::{Input, LanguageModel, RunOptions, ScoreTask};
use stepfn_attribution::{ScoringOptions, Text, score};

type B = stepfn::backend::DefaultBackend;

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Texts of a window.
const WINDOW: usize = 512;
const WORDS: [&str; 16] = [
    "the", "light", "of", "day", "and", "waters", "king", "was", "upon", "earth", "in", "heaven", "said", "unto",
    "people", "great",
];

/// The text of this number: 6 to 15 words.
fn text(number: usize) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let words = 6 + next() % 10;
    (0..words).map(|_| WORDS[next() % WORDS.len()]).collect::<Vec<_>>().join(" ")
}

/// Writes texts as JSON lines.
fn write_lines(path: &Path, texts: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    (0..texts).for_each(|number| writeln!(file, "{{\"text\": \"{}\"}}", text(number)).unwrap());
    file.flush().unwrap();
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// The three ways to score a file.
struct Share {
    model: LanguageModel,
    task: ScoreTask<B>,
    folder: PathBuf,
    texts: usize,
}

impl Share {
    fn input(&self) -> impl Iterator<Item = Input> + Send + use<> {
        let lines = BufReader::new(File::open(self.folder.join("texts.jsonl")).unwrap()).lines();
        lines.map(|line| {
            let fields: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            Input::text(fields["text"].as_str().unwrap())
        })
    }

    /// Scores texts that are tokens.
    fn model_alone(&self) -> f64 {
        let ids = |number| -> Vec<u32> {
            self.model.tokenizer().encode(&text(number), true).unwrap().iter().map(|token| token.id).collect()
        };
        let texts: Vec<Text> = (0..self.texts).map(|number| Text::causal(ids(number), 1)).collect();
        let functions: Vec<Box<dyn StepFunction<B>>> =
            vec![Box::new(Surprisal::default()), Box::new(Entropy::default())];
        let run = RunOptions::default();
        let options = ScoringOptions {
            memory: self.model.memory(&run),
            batch_tokens: run.batch_tokens,
            ..ScoringOptions::default()
        };
        seconds(|| {
            for window in texts.chunks(WINDOW) {
                drop(score(self.model.model(), window, &functions, &options).unwrap());
            }
        })
    }

    /// Reads, scores and writes a file.
    fn file(&self, overlapped: bool) -> f64 {
        let mut file = BufWriter::new(File::create(self.folder.join("scores.jsonl")).unwrap());
        let mut writer = records("jsonl", &WriterOptions::default()).unwrap();
        let mut outcomes = self.model.score_all(self.input(), &self.task).in_full_windows();
        seconds(|| {
            let mut each = |outcome| {
                file.write_all(writer.write(&outcome).unwrap().as_bytes()).unwrap();
                Ok::<(), ()>(())
            };
            match overlapped {
                true => outcomes.try_for_each_overlapped(each).unwrap(),
                false => outcomes.try_for_each(&mut each).unwrap(),
            }
            file.flush().unwrap();
        })
    }
}

fn share(name: &str, texts: usize, rounds: usize, folder: &Path) {
    let model = LanguageModel::load(name).unwrap();
    write_lines(&folder.join("texts.jsonl"), texts);
    let task = ScoreTask::new((Surprisal::default(), Entropy::default()));
    let share = Share { model, task, folder: folder.to_owned(), texts };
    let runs: Vec<[f64; 3]> = (0..rounds).map(|_| [share.model_alone(), share.file(false), share.file(true)]).collect();
    println!("| {texts} texts, {name} | seconds | outside of the model |");
    println!("|---|---|---|");
    for (column, row) in ["the model", "one after the other", "at the same time"].into_iter().enumerate() {
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            [values[values.len() / 2], values[0], values[values.len() - 1]]
        };
        let [middle, least, most] = sorted(runs.iter().map(|run| run[column]).collect());
        let [outside, low, high] = sorted(runs.iter().map(|run| 100.0 * (1.0 - run[0] / run[column])).collect());
        println!("| {row} | {middle:.2} ({least:.2}–{most:.2}) | {outside:.1} % ({low:.1}–{high:.1}) |");
    }
    println!();
}

/// The program that people run.
fn program() -> Command {
    let built = env::current_exe().unwrap().ancestors().nth(2).unwrap().join("stepfn");
    Command::new(env::var_os("STEPFN").map_or(built, PathBuf::from))
}

/// Runs the program, and says how long it took and the most memory that it had, in MiB.
fn watched(call: &[&str]) -> (f64, u64) {
    let start = Instant::now();
    let mut child = program().args(call).stdout(Stdio::null()).spawn().expect("cargo build --release --locked");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let done = loop {
        let memory = fs::read_to_string(&status).ok();
        let line = memory.as_ref().and_then(|text| text.lines().find(|line| line.starts_with("VmHWM:")));
        let size = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|size| size.parse::<u64>().ok());
        most = most.max(size.unwrap_or(0));
        if let Some(done) = child.try_wait().unwrap() {
            break done;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(done.success(), "{call:?}");
    (start.elapsed().as_secs_f64(), most >> 10)
}

/// Memory of a tenth of the lines, and of all.
fn memory(name: &str, lines: usize, folder: &Path) {
    println!("| lines, {name} | seconds | greatest resident set |");
    println!("|---|---|---|");
    let input = folder.join("lines.jsonl").display().to_string();
    for lines in [lines / 10, lines] {
        write_lines(Path::new(&input), lines);
        let out = folder.join(format!("scores-{lines}")).display().to_string();
        let call = ["score", "-q", "--model", name, "--step-fn", "surprisal", "--input", &input, "--format", "parquet"];
        let (seconds, most) = watched(&[&call[..], &["--shard-rows", "50000", "-o", &out]].concat());
        println!("| {lines} | {seconds:.1} | {most} MiB |");
        fs::remove_dir_all(&out).unwrap();
    }
    println!();
}

/// The first run over shards of a text each, and the same command again.
fn resume(name: &str, shards: usize, folder: &Path) {
    let input = folder.join("few.jsonl").display().to_string();
    write_lines(Path::new(&input), shards);
    let out = folder.join("shards").display().to_string();
    let call = ["score", "-q", "--model", name, "--step-fn", "surprisal", "--input", &input, "--format", "jsonl"];
    let call = [&call[..], &["--shard-rows", "1", "-o", &out]].concat();
    let (first, _) = watched(&call);
    let mut again: Vec<f64> = (0..5).map(|_| watched(&call).0).collect();
    again.sort_by(f64::total_cmp);
    println!("| shards, {name} | first run | the same command again |");
    println!("|---|---|---|");
    println!("| {shards} | {first:.1} s | {:.2} s ({:.2}–{:.2}) |", again[2], again[0], again[4]);
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let given = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(&format!("--{name}=")));
    let number = |name: &str, usual: usize, quick: usize| {
        given(name).map_or(if is_quick { quick } else { usual }, |number| number.parse().expect("a number"))
    };
    let only = |part: &str| given("only").is_none_or(|parts| parts.split(',').any(|named| named == part));
    let model = given("model").unwrap_or("verse");
    let folder = env::temp_dir().join(format!("stepfn-corpora-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    if only("share") {
        share(model, number("texts", 10_000, 1000), if is_quick { 1 } else { 5 }, &folder);
    }
    if only("memory") {
        memory(model, number("lines", 1_000_000, 2000), &folder);
    }
    if only("resume") {
        resume(model, number("shards", 10_000, 20), &folder);
    }
    fs::remove_dir_all(&folder).unwrap();
}
