//! `stepfn verify`: compares a model with what the user's own transformers says of it.

use core::time::Duration;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn::backend::{Devices, OnBackend};
use stepfn::functions::Probability;
use stepfn::writers::{Record, WriterOptions, aligned, csv_lines, printable, printable_lines, records};
use stepfn::{LanguageModel, Saliency, ScoredText};

use super::loading::{dispatch, load};
use crate::args::{GenerationArgs, VerifyArgs};
use crate::failure::Failure;
use crate::output::{places, write_one};

/// What runs in the user's Python.
const SCRIPT: &str = include_str!("verify.py");

/// Differences of log-probabilities above this are no rounding.
const MOST_IN_LOG_PROBS: f64 = 1e-3;
/// The same for the shares that tokens have of a gradient.
const MOST_IN_GRADIENTS: f64 = 1e-3;

/// Bytes of the longest answer: some numbers for each token.
const MOST_SAID: u64 = 256 << 20;

/// Texts that tokenizers and positions treat differently: words and marks, accents and digits, spaces and signs.
const TEXTS: [&str; 3] = [
    "The quick brown fox, it seems, jumps over the lazy dog's back.",
    "Na\u{ef}ve caf\u{e9}s in Z\u{fc}rich cost 1234.50 francs in 2019.",
    "  Two spaces, a dash \u{2014} and \u{65e5}\u{672c}\u{8a9e}.",
];

/// Compares.
pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    dispatch(&args.model, Verify(args))
}

struct Verify<'a>(&'a VerifyArgs);

impl OnBackend for Verify<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        let name = args.model.model.as_deref().unwrap_or_default();
        let advice = "give the folder of a model, or its name on a hub";
        if !Path::new(name).exists() && stepfn::models().iter().any(|[own, ..]| own == name) {
            return Err(Failure::usage(format!("{name} is compiled in, where transformers can't read it"), advice));
        }
        let folder = stepfn::model_folder(name)?;
        if !folder.join("config.json").is_file() {
            let what = format!("{name}: transformers reads folders with a config.json, and this is none");
            // A file of another kind is no model for this command; a folder is one that fails.
            return Err(if folder.is_file() { Failure::usage(what, advice) } else { Failure::work(what, advice) });
        }
        // No file of the model is written, either.
        if let Some(path) = &args.output.to.output {
            let mut places = places(None, &args.model);
            if Path::new(&args.python).is_file() {
                places.read("--python", Path::new(&args.python));
            }
            places.write("-o", path)?;
        }
        let generation = GenerationArgs {
            source_lang: args.source_lang.clone(),
            target_lang: args.target_lang.clone(),
            ..GenerationArgs::default()
        };
        let model = load::<D>(&args.model, &generation, args.output.to.quiet)?;
        let texts: Vec<&str> =
            if args.text.is_empty() { TEXTS.to_vec() } else { args.text.iter().map(String::as_str).collect() };
        let ours: Vec<Ours> = texts.iter().map(|text| Ours::of(&model, text)).collect::<Result<_, _>>()?;
        let theirs = ask(&args.python, &folder, &texts, &ours)?;
        let compared = Compared::new(&texts, &ours, theirs)?;
        let different = compared.different();
        let options = WriterOptions { single: true, ..WriterOptions::default() };
        write_one(&args.output.to, records(&args.output.format, &options)?, compared)?;
        match different {
            None => Ok(()),
            Some(what) => Err(Failure::work(
                format!("stepfn and transformers differ in {what}"),
                "report it with this output and the model's name, or check whether the model's own code changes something",
            )),
        }
    }
}

/// What we say of a text.
struct Ours {
    source: Vec<u32>,
    target: Vec<u32>,
    /// The tokens that the tokenizer makes of the text.
    own: Vec<u32>,
    /// Log-probabilities of the tokens from `first` on.
    log_probs: Vec<f64>,
    first: usize,
    /// Each token's share of the last step's gradient: of the source, or of what a causal model has read.
    gradient: Vec<f64>,
}

impl Ours {
    fn of<B: Backend>(model: &LanguageModel<B>, text: &str) -> Result<Self, Failure> {
        let is_pair = model.is_encoder_decoder();
        // Whatever an encoder–decoder is asked about needs a target; the text itself is as good as any.
        let ask = || if is_pair { model.ask(text).target(text) } else { model.ask(text) };
        let log_prob = Probability { logprob: true };
        let scored: ScoredText = ask().score([log_prob.clone()])?;
        let answer = ask().function(log_prob).attribute(Saliency::default())?.per_token();
        let scores = if is_pair { &answer.source_scores } else { &answer.target_scores };
        let scores = scores.as_ref().ok_or_else(|| Failure::work("there is no gradient", "report this as a bug"))?;
        let last = scores.steps().saturating_sub(1);
        let tokens = if is_pair { scores.tokens() } else { scores.tokens().saturating_sub(1) };
        let gradient = (0..tokens).map(|token| f64::from(scores.at(token, last)[0]));
        let source: Vec<u32> = scored.source.iter().map(|token| token.id).collect();
        let target: Vec<u32> = scored.target.iter().map(|token| token.id).collect();
        let log_probs = scored.values("probability").unwrap_or_default();
        Ok(Self {
            own: if is_pair { source.clone() } else { target.clone() },
            source,
            target,
            log_probs: log_probs.iter().map(|value| f64::from(*value)).collect(),
            first: scored.scores.first,
            gradient: shares(gradient.collect()),
        })
    }
}

/// Of their sum: constant factors, such as of embeddings, don't matter.
fn shares(values: Vec<f64>) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a Path,
    texts: Vec<AskedText<'a>>,
}

#[derive(Serialize)]
struct AskedText<'a> {
    text: &'a str,
    source: &'a [u32],
    target: &'a [u32],
}

/// What transformers says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Failed { error: String },
    Theirs(Theirs),
}

#[derive(Deserialize)]
struct Theirs {
    versions: Versions,
    /// Why there is no tokenizer.
    tokenizer: Option<String>,
    texts: Vec<TheirText>,
}

#[derive(Deserialize)]
struct Versions {
    transformers: String,
    torch: String,
}

#[derive(Deserialize)]
struct TheirText {
    ids: Option<Vec<u32>>,
    log_probs: Vec<f64>,
    gradient: Vec<f64>,
}

/// Runs the script in the user's Python.
fn ask(python: &str, folder: &Path, texts: &[&str], ours: &[Ours]) -> Result<Theirs, Failure> {
    let advice = "give a Python that has transformers and torch with --python";
    let failed = |what: String| Failure::work(what, advice);
    let texts = texts.iter().zip(ours);
    let texts = texts.map(|(&text, ours)| AskedText { text, source: &ours.source, target: &ours.target });
    let asked = Asked { model: folder, texts: texts.collect() };
    let asked = serde_json::to_string(&asked).map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{python}: {error}")))?;
    // A Python that ends early is reported below, and one that answers before it has read everything waits for nobody.
    let input = child.stdin.take();
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(asked.as_bytes())));
    let (done, is_done) = mpsc::channel();
    let errors = child.stderr.take();
    thread::spawn(move || {
        if let Some(errors) = errors {
            relay(errors);
        }
        done.send(())
    });
    let mut said = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |output| output.take(MOST_SAID + 1).read_to_end(&mut said));
    let is_endless = said.len() as u64 > MOST_SAID;
    if is_endless {
        // Nobody reads the rest.
        drop(child.kill());
    }
    let status = child.wait().and_then(|status| read.map(|_| status));
    let status = status.map_err(|error| failed(format!("{python}: {error}")))?;
    drop(writer.join());
    // Something that Python started may live on.
    is_done.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
    if is_endless {
        return Err(failed(format!("{python} wrote more than {} MiB, and no answer is as long", MOST_SAID >> 20)));
    }
    match serde_json::from_slice(&said) {
        Ok(Said::Theirs(theirs)) => Ok(theirs),
        Ok(Said::Failed { error }) => Err(failed(format!("transformers can't read this model: {error}"))),
        Err(_) => Err(failed(format!("{python} ended without an answer ({status})"))),
    }
}

/// Passes on what Python reports while it runs. Nothing in it moves the cursor.
fn relay(errors: impl Read) {
    /// The rest of a longer line is passed on as if it were another.
    const LONGEST: u64 = 1 << 16;
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while (&mut errors).take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        // If standard error can't be written, there is nowhere left to report it.
        drop(write!(io::stderr(), "{}", printable_lines(&String::from_utf8_lossy(&line))));
        line.clear();
    }
}

/// How far the two are apart, text by text.
struct Compared {
    versions: Versions,
    tokenizer: Option<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    text: String,
    tokens: usize,
    /// The first token that differs; `None` if all are equal or there is nothing to compare with.
    ids_differ_from: Option<usize>,
    log_probs: f64,
    gradient: f64,
}

impl Compared {
    fn new(texts: &[&str], ours: &[Ours], theirs: Theirs) -> Result<Self, Failure> {
        let row = |((&text, ours), theirs): ((&&str, &Ours), &TheirText)| {
            let log_probs = theirs.log_probs.get(ours.first.saturating_sub(1)..).unwrap_or_default();
            Some(Row {
                text: text.to_owned(),
                tokens: ours.own.len(),
                ids_differ_from: theirs.ids.as_ref().and_then(|ids| first_difference(&ours.own, ids)),
                log_probs: largest(&ours.log_probs, log_probs)?,
                gradient: largest(&ours.gradient, &shares(theirs.gradient.clone()))?,
            })
        };
        let rows: Option<Vec<Row>> = texts.iter().zip(ours).zip(&theirs.texts).map(row).collect();
        let rows = rows.filter(|rows| rows.len() == texts.len()).ok_or_else(|| {
            Failure::work("transformers has other numbers of steps or tokens than stepfn", "report this as a bug")
        })?;
        Ok(Self { versions: theirs.versions, tokenizer: theirs.tokenizer, rows })
    }

    /// What is more different than rounding makes it.
    fn different(&self) -> Option<&'static str> {
        // Not a number is different, too.
        let within = |value: f64, most: f64| value <= most;
        let all = |holds: &dyn Fn(&Row) -> bool| self.rows.iter().all(holds);
        if !all(&|row| row.ids_differ_from.is_none()) {
            return Some("token ids");
        }
        if !all(&|row| within(row.log_probs, MOST_IN_LOG_PROBS)) {
            return Some("log-probabilities");
        }
        (!all(&|row| within(row.gradient, MOST_IN_GRADIENTS))).then_some("gradients")
    }
}

/// The first place where two lists differ.
fn first_difference(ours: &[u32], theirs: &[u32]) -> Option<usize> {
    let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    (same < ours.len().max(theirs.len())).then_some(same)
}

/// The largest difference; `None` if they have different lengths.
fn largest(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let difference = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs();
    let greater = |one: f64, other: f64| if one.is_nan() || one > other { one } else { other };
    (ours.len() == theirs.len()).then(|| ours.iter().zip(theirs).map(difference).fold(0.0, greater))
}

impl Compared {
    fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| {
            let ids = match (&self.tokenizer, row.ids_differ_from) {
                (Some(_), _) => "not compared".to_owned(),
                (None, None) => "equal".to_owned(),
                (None, Some(at)) => format!("differ from {at} on"),
            };
            let number = |value: f64| format!("{value:.1e}");
            vec![row.text.clone(), row.tokens.to_string(), ids, number(row.log_probs), number(row.gradient)]
        })
    }
}

const COLUMNS: [&str; 5] = ["text", "tokens", "ids", "log-probabilities", "gradient"];

impl Record for Compared {
    fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            transformers: &'a str,
            torch: &'a str,
            tokenizer_failed: &'a Option<String>,
            differs_in: Option<&'static str>,
            texts: &'a [Row],
        }
        let Versions { transformers, torch } = &self.versions;
        let Self { tokenizer: tokenizer_failed, rows: texts, .. } = self;
        serde_json::to_string(&Line { transformers, torch, tokenizer_failed, differs_in: self.different(), texts })
    }

    fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self.cells().collect();
        let [transformers, torch] = [&self.versions.transformers, &self.versions.torch].map(|text| printable(text));
        let tokenizer = self.tokenizer.as_ref().map_or_else(String::new, |reason| {
            format!("transformers {transformers} can't read the tokenizer: {}\n", printable(reason))
        });
        format!(
            "largest differences to transformers {transformers} (torch {torch})\n{}{tokenizer}",
            aligned(&COLUMNS.map(str::to_owned), &rows)
        )
    }

    fn csv(&self, _fields: &[String], with_header: bool) -> String {
        csv_lines(with_header.then(|| COLUMNS.map(str::to_owned).to_vec()).into_iter().chain(self.cells()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_not_a_number_is_one() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2]), Some(2));
        assert_eq!(first_difference(&[1, 2, 3], &[4, 2, 3]), Some(0));
        assert_eq!(largest(&[1.0, 2.0], &[1.5, 2.25]), Some(0.5));
        assert!(largest(&[1.0, f64::NAN, 0.0], &[1.0, 1.0, 9.0]).is_some_and(f64::is_nan));
        assert_eq!(largest(&[1.0], &[]), None);
        let row = |ids_differ_from, log_probs, gradient| Compared {
            versions: Versions { transformers: String::new(), torch: String::new() },
            tokenizer: None,
            rows: vec![Row { text: "a".to_owned(), tokens: 1, ids_differ_from, log_probs, gradient }],
        };
        assert_eq!(row(None, 1e-6, 1e-6).different(), None);
        assert_eq!(row(Some(0), 1e-6, 1e-6).different(), Some("token ids"));
        assert_eq!(row(None, f64::NAN, 1e-6).different(), Some("log-probabilities"));
        assert_eq!(row(None, 1e-6, 0.1).different(), Some("gradients"));
    }
}
