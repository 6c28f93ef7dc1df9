//! `stepfn verify`: compares a model with what the user's own transformers says of it.

mod python;

use std::path::Path;

use burn::tensor::backend::Backend;
use serde::Serialize;
use stepfn::backend::{Devices, OnBackend};
use stepfn::functions::Probability;
use stepfn::writers::{Record, WriterOptions, aligned, csv_lines, printable, records};
use stepfn::{LanguageModel, Saliency, ScoredText};

use self::python::{TheirText, Theirs, Versions, ask};
use super::loading::{dispatch, load};
use crate::args::{GenerationArgs, VerifyArgs};
use crate::failure::Failure;
use crate::output::{places, write_one};

/// Differences of log-probabilities above this are no rounding.
const MOST_IN_LOG_PROBS: f64 = 1e-3;
/// The same for the shares that tokens have of a gradient.
const MOST_IN_GRADIENTS: f64 = 1e-3;

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
        let config = folder.join("config.json");
        if !stepfn::is_there(&config)? {
            let what = format!("{name}: transformers reads folders with a config.json, and this is none");
            // A file of another kind is no model for this command; a folder is one that fails.
            return Err(if folder.is_file() { Failure::usage(what, advice) } else { Failure::work(what, advice) });
        }
        // No file of the model is written, either.
        if let Some(path) = &args.output.to.output {
            let mut places = places(&[], &args.model);
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
        if model.is_masked() {
            let what = "this model predicts masked tokens, and only models that predict what comes next are compared";
            return Err(Failure::usage(what, "compare scores with those of another program by hand"));
        }
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
