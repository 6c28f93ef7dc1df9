//! What came of a measure of similarity.

use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::Provenance;

use crate::writers::{Record, aligned, csv_lines, number, plain, printable, values};

/// How alike two texts are to a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Similarity {
    /// What you call them, or their number.
    pub id: Value,
    /// Fields of your own that came with them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The two texts, A and B.
    pub texts: Vec<SimilarText>,
    /// The mean of the directions.
    pub similarity: f64,
    /// How likely A is, and with both directions how likely B is.
    pub directions: Vec<SimilarityDirection>,
    /// How it was measured.
    pub about: Provenance,
}

/// One of two texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarText {
    /// What it is called: `a`.
    pub name: String,
    /// The text.
    pub text: String,
    /// What the model translates it into, where the measure needs that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translation: Option<String>,
}

/// One direction of a measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarityDirection {
    /// The name of the text that is the one to be likely: A of the table of [`SimilarityTask`](crate::SimilarityTask).
    pub of: String,
    /// The measure.
    pub score: f64,
    /// The mean cross-entropy of the tokens, in nats.
    pub crossentropy: f64,
    /// The same of the text with itself, which normalizes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_crossentropy: Option<f64>,
}

impl Record for Similarity {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn table(&self) -> String {
        let header = ["", "text", "translation", "score", "crossentropy", "itself"].map(str::to_owned);
        let row = |text: &SimilarText| {
            let direction = self.directions.iter().find(|direction| direction.of == text.name);
            let shown = |value: Option<f64>| value.map_or_else(String::new, number);
            [
                printable(&text.name),
                printable(&text.text),
                text.translation.as_deref().map_or_else(String::new, printable),
                shown(direction.map(|one| one.score)),
                shown(direction.map(|one| one.crossentropy)),
                shown(direction.and_then(|one| one.self_crossentropy)),
            ]
            .to_vec()
        };
        let mut rows: Vec<Vec<String>> = core::iter::once(header.to_vec()).chain(self.texts.iter().map(row)).collect();
        // Without columns in which nothing is.
        let is_empty = |column: &usize| rows.iter().skip(1).all(|row| row[*column].is_empty());
        let empty: Vec<usize> = (1..header.len()).filter(is_empty).collect();
        for row in &mut rows {
            empty.iter().rev().for_each(|&column| drop(row.remove(column)));
        }
        let header = rows.remove(0);
        aligned(&header, &rows) + &format!("similarity {}\n", number(self.similarity))
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        let sides = || self.texts.iter().map(|text| text.name.clone());
        let of = |what: &'static str| sides().map(move |name| format!("{what}_{name}"));
        let header = core::iter::once("id".to_owned()).chain(sides()).chain(of("translation"));
        let header = header.chain(of("score")).chain(["similarity".to_owned()]).chain(fields.iter().cloned()).collect();
        let score = |text: &SimilarText| {
            let direction = self.directions.iter().find(|direction| direction.of == text.name);
            direction.map_or_else(String::new, |direction| direction.score.to_string())
        };
        let row = core::iter::once(plain(&self.id)).chain(self.texts.iter().map(|text| text.text.clone()));
        let row = row.chain(self.texts.iter().map(|text| text.translation.clone().unwrap_or_default()));
        let row = row.chain(self.texts.iter().map(score)).chain([self.similarity.to_string()]);
        let row = row.chain(values(&self.fields, fields)).collect();
        csv_lines(with_header.then_some(header).into_iter().chain([row]))
    }
}
