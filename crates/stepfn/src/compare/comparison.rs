//! What came of a comparison.

use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::Provenance;

use super::Variant;
use crate::units::joined;
use crate::writers::{Record, aligned, csv_lines, number, plain, printable, values};
use crate::{Error, ErrorKind, Result, ScoredText};

/// Texts that were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What you call them, or their number.
    pub id: Value,
    /// Fields of your own that came with them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The group that they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Value>,
    /// The prompt that all of them follow, or what an encoder read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The texts, the expected one first.
    pub texts: Vec<Compared>,
    /// Whether the first text is preferred to all others; not where it has the same score as another.
    pub prefers: bool,
    /// The score of the first text minus the greatest of the others; `None` for a formula.
    pub difference: Option<f64>,
    /// How they were compared.
    pub about: Provenance,
}

/// A text of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is called.
    pub name: String,
    /// The text.
    pub text: String,
    /// Its score by the criterion, in nats; `None` for a formula.
    pub score: Option<f64>,
    /// The log-probability of its scored tokens, in nats.
    pub logprob: f64,
    /// The value of each step function that was asked for; `null` where a token has none.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "by_name")]
    pub scores: Vec<(String, f64)>,
    /// Number of scored tokens.
    pub tokens: usize,
    /// Number of words.
    pub words: usize,
    /// The surprisal of each of its regions, in bits, with its name; `null` where the model does not predict it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<(Option<String>, f64)>,
}

impl Comparison {
    /// The names of the step functions that were asked for.
    fn functions(&self) -> Vec<&str> {
        self.texts
            .first()
            .map_or(&[][..], |text| text.scores.as_slice())
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl Compared {
    /// With the values of these functions.
    pub(super) fn new(variant: &Variant, scored: &ScoredText, functions: &[&str]) -> Self {
        let of_tokens = &scored.scores;
        let value = |name: &&str| {
            let (_, values) = of_tokens.scores.iter().find(|(own, _)| own == name)?;
            Some(((*name).to_owned(), joined(of_tokens.joins.get(*name), Some(values.as_slice()))))
        };
        let bits = |unit: &crate::ScoredUnit| unit.scores.first().map_or(f64::NAN, |(_, bits)| *bits);
        Self {
            name: variant.name.clone(),
            text: variant.text.clone(),
            score: None,
            scores: functions.iter().filter_map(value).collect(),
            logprob: scored.scores.sequence.logprob,
            tokens: scored.tokens().len(),
            words: variant.text.split_whitespace().count(),
            regions: scored.units.iter().map(|unit| (unit.name.clone(), bits(unit))).collect(),
        }
    }

    /// The surprisal of a region, by its name or its number from 1, in bits.
    pub(super) fn region(&self, name: &str) -> Result<f64> {
        let by_name = self.regions.iter().find(|(own, _)| own.as_deref() == Some(name));
        let number = || name.parse::<usize>().ok()?.checked_sub(1);
        let found = by_name.or_else(|| self.regions.get(number()?));
        let wrong =
            |what: String| Error::new(ErrorKind::Text, what, "see the names and the order of the regions in the input");
        match found {
            None => Err(wrong(format!("`{}` has no region `{name}`", self.name))),
            Some((_, bits)) if bits.is_nan() => {
                let what = format!(
                    "the region `{name}` of `{}` has no score, because nothing predicts its first token",
                    self.name
                );
                Err(Error::new(ErrorKind::Text, what, "let texts begin with a start token, or leave out the criterion"))
            }
            Some((_, bits)) => Ok(*bits),
        }
    }
}

fn by_name<S: serde::Serializer>(scores: &[(String, f64)], serializer: S) -> core::result::Result<S::Ok, S::Error> {
    serializer.collect_map(scores.iter().map(|(name, score)| (name, score)))
}

impl Record for Comparison {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn table(&self) -> String {
        let functions = self.functions();
        let own = ["", "text", "score", "logprob", "tokens"].map(str::to_owned).into_iter();
        let header: Vec<String> = own.chain(functions.iter().map(|name| (*name).to_owned())).collect();
        let row = |text: &Compared| {
            let score = text.score.map_or_else(String::new, number);
            let own =
                [printable(&text.name), printable(&text.text), score, number(text.logprob), text.tokens.to_string()];
            own.into_iter().chain(text.scores.iter().map(|(_, value)| number(*value))).collect()
        };
        let rows: Vec<Vec<String>> = self.texts.iter().map(row).collect();
        let prefers = if self.prefers { "as expected" } else { "not as expected" };
        let difference =
            self.difference.map_or_else(String::new, |difference| format!(", difference {}", number(difference)));
        aligned(&header, &rows) + prefers + &difference + "\n"
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        let score = |name: &String, score: &str| format!("{score}_{name}");
        let names = || self.texts.iter().map(|text| &text.name);
        let header = ["id", "group"].map(str::to_owned).into_iter().chain(names().map(|name| score(name, "score")));
        let header = header.chain(names().map(|name| score(name, "logprob")));
        let functions = self.functions();
        let header = header.chain(functions.iter().flat_map(|function| names().map(|name| score(name, function))));
        let header = header.chain(["prefers", "difference"].map(str::to_owned)).chain(fields.iter().cloned()).collect();
        let shown = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let own = [plain(&self.id), self.group.as_ref().map_or_else(String::new, plain)];
        let row = own.into_iter().chain(self.texts.iter().map(|text| shown(text.score)));
        let row = row.chain(self.texts.iter().map(|text| text.logprob.to_string()));
        let value =
            |place: usize| self.texts.iter().map(move |text| shown(text.scores.get(place).map(|(_, value)| *value)));
        let row = row.chain((0..functions.len()).flat_map(value));
        let row = row.chain([self.prefers.to_string(), shown(self.difference)]).chain(values(&self.fields, fields));
        csv_lines(with_header.then_some(header).into_iter().chain([row.collect()]))
    }
}
