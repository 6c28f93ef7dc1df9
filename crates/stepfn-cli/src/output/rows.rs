//! Scores as rows: one for each text, with a list for each step function.

use stepfn::writers::Record;
use stepfn::{Map, Outcome, ScoredText, ScoredUnit, Value};
use stepfn_corpus::{Cell, Column, Format, RowFile, RowOptions, Type, joined};

use super::encoder::Encoder;
use crate::failure::Failure;

/// Writes scores as Parquet.
pub(crate) struct ScoreRows {
    file: Option<RowFile>,
    kept: Vec<String>,
    functions: usize,
    has_expected: bool,
    has_units: bool,
}

impl ScoreRows {
    /// With the columns of the id and of what travels along, and one for each function; where scores are of units, these are the names of theirs.
    pub(crate) fn new(
        [id, kept]: [Vec<Column>; 2],
        functions: Vec<String>,
        units: Option<Vec<String>>,
        alternatives: usize,
        group_rows: usize,
        about: Vec<(String, String)>,
    ) -> Result<Self, Failure> {
        let has_expected = alternatives > 0;
        let names = kept.iter().map(|column| column.name.clone()).collect();
        let count = functions.len();
        let text = [
            Column::new("source_text", Type::Text),
            Column::new("target_text", Type::Text),
            Column::new("first", Type::Int64),
            Column::new("tokens", Type::Text.list()),
            Column::new("token_ids", Type::Int32.list()),
            Column::new("spans", Type::span().list()),
        ];
        let scores = functions.into_iter().map(|name| Column::new(name, Type::Float32.list()));
        let likely = ["token", "id", "probability"].into_iter().zip([Type::Text, Type::Int32, Type::Float32]);
        let likely = Type::Struct(likely.map(|(name, kind)| Column::new(name, kind)).collect());
        let expected = has_expected.then(|| Column::new("expected", likely.list().list()));
        let own = [
            ("text", Type::Text),
            ("name", Type::Text),
            ("start", Type::Int64),
            ("end", Type::Int64),
            ("tokens", Type::Int32),
        ];
        let has_units = units.is_some();
        let units = units.map(|names| {
            let scores = names.into_iter().map(|name| Column::new(name, Type::Float64));
            let own = own.into_iter().map(|(name, kind)| Column::new(name, kind));
            Column::new("units", Type::Struct(own.chain(scores).collect()).list())
        });
        let all = ["logprob", "perplexity", "mean_entropy"].map(|name| Column::new(name, Type::Float64));
        let end = [Column::new("warnings", Type::Text.list()), Column::new("error", Type::Text)];
        let others = text.into_iter().chain(scores).chain(expected).chain(units).chain(all).chain(end).collect();
        let columns = joined(id, kept, others)?;
        let options = RowOptions { group_rows, about, ..RowOptions::new(Format::Parquet) };
        Ok(Self {
            file: Some(RowFile::new(columns, &options)?),
            kept: names,
            functions: count,
            has_expected,
            has_units,
        })
    }

    /// The cells of a text, from `source_text` to `warnings`.
    fn scored(&self, text: &ScoredText) -> Vec<Cell> {
        let tokens = text.tokens();
        let mut row: Vec<Cell> = vec![
            text.source_text.clone().into(),
            text.target_text.clone().into(),
            text.scores.first.into(),
            Cell::Texts(tokens.iter().map(|token| token.surface.clone()).collect()),
            Cell::Ints(tokens.iter().map(|token| i64::from(token.id)).collect()),
            Cell::Spans(tokens.iter().map(|token| token.span.clone()).collect()),
        ];
        row.extend(text.scores.scores.iter().map(|(_, values)| Cell::Floats(values.clone())));
        if self.has_expected {
            let likely = |step: &Vec<stepfn::Alternative>| -> stepfn::Value {
                let one = |other: &stepfn::Alternative| stepfn::json!({"token": other.surface, "id": other.id, "probability": other.probability});
                step.iter().map(one).collect()
            };
            row.push(text.alternatives.iter().map(likely).collect::<stepfn::Value>().into());
        }
        if self.has_units {
            row.push(text.units.iter().map(unit).collect::<stepfn::Value>().into());
        }
        let sequence = text.scores.sequence;
        row.extend([sequence.logprob, sequence.perplexity, sequence.mean_entropy].map(Cell::from));
        row.push(Cell::Texts(text.warnings().to_vec()));
        row
    }
}

/// A word, a sentence, a region or a text with its scores.
fn unit(unit: &ScoredUnit) -> Value {
    let mut fields = Map::new();
    fields.insert("text".to_owned(), unit.text.as_str().into());
    fields.insert("name".to_owned(), unit.name.clone().into());
    fields.insert("start".to_owned(), unit.span.start.into());
    fields.insert("end".to_owned(), unit.span.end.into());
    fields.insert("tokens".to_owned(), unit.tokens.len().into());
    fields.extend(unit.scores.iter().map(|(name, score)| (name.clone(), (*score).into())));
    fields.into()
}

impl Encoder<ScoredText> for ScoreRows {
    fn encode(&mut self, outcome: &Outcome<ScoredText>) -> Result<Vec<u8>, Failure> {
        let kept = self.kept.iter().map(|name| Cell::Value(outcome.fields.get(name).cloned().unwrap_or_default()));
        let mut row: Vec<Cell> = core::iter::once(Cell::Value(outcome.id.clone())).chain(kept).collect();
        let errors = match &outcome.result {
            Ok(text) => {
                row.extend(self.scored(text));
                Vec::new()
            }
            Err(error) => {
                let missing = 6 + self.functions + usize::from(self.has_expected) + usize::from(self.has_units) + 4;
                row.extend((0..missing).map(|_| Cell::Value(stepfn::Value::Null)));
                vec![error.what().to_owned()]
            }
        };
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        let misfits = file.misfits(&row);
        let misfit = |column: &Column| format!("`{}` is no {}, so it was left out", column.name, column.kind);
        let errors: Vec<String> = errors.into_iter().chain(misfits.iter().map(misfit)).collect();
        let error = if errors.is_empty() { stepfn::Value::Null } else { errors.join("; ").into() };
        row.push(Cell::Value(error));
        file.push(row)?;
        Ok(file.take()?)
    }

    fn end(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.file.take().map(RowFile::finish).transpose()?.unwrap_or_default())
    }
}
