//! Results as CSV or TSV with a column `error`, in which a text without a result has a row, too.

use stepfn::writers::{Record, plain};
use stepfn::{Map, Outcome, Value};
use stepfn_corpus::{Format, cells, table_lines};

use super::encoder::Encoder;
use crate::failure::Failure;

/// Writes results as a table.
pub(crate) struct Table {
    format: Format,
    /// Fields of the user's, which are the last columns but one.
    fields: Vec<String>,
    /// The columns without `error`, as the first result has them.
    header: Option<Vec<String>>,
    /// Texts that failed before it: id, fields, error.
    waiting: Vec<(Value, Map<String, Value>, String)>,
}

impl Table {
    pub(crate) fn new(format: Format, fields: Vec<String>) -> Self {
        Self { format, fields, header: None, waiting: Vec::new() }
    }

    /// The rows of texts that failed, under this header.
    fn failed(&mut self, header: &[String]) -> Vec<Vec<String>> {
        let Self { fields, waiting, .. } = self;
        let row = |(id, own, error): (Value, Map<String, Value>, String)| {
            let own_from = header.len() - fields.len();
            let cell = |(column, name): (usize, &String)| match column.checked_sub(own_from) {
                Some(field) => own.get(&fields[field]).map_or_else(String::new, plain),
                None if name == "id" => plain(&id),
                None => String::new(),
            };
            header.iter().enumerate().map(cell).chain([error]).collect()
        };
        waiting.drain(..).map(row).collect()
    }

    fn lines(&self, rows: Vec<Vec<String>>) -> Result<Vec<u8>, Failure> {
        table_lines(self.format, rows).map_err(|error| Failure::output("a row", &error))
    }
}

fn with_error(mut row: Vec<String>, error: &str) -> Vec<String> {
    row.push(error.to_owned());
    row
}

impl<T: Record> Encoder<T> for Table {
    fn encode(&mut self, outcome: &Outcome<T>) -> Result<Vec<u8>, Failure> {
        let rows = match &outcome.result {
            Err(error) => {
                self.waiting.push((outcome.id.clone(), outcome.fields.clone(), error.what().to_owned()));
                match self.header.clone() {
                    Some(header) => self.failed(&header),
                    None => Vec::new(),
                }
            }
            Ok(result) => {
                let mut found = cells(Format::Csv, result.csv(&self.fields, true).as_bytes())
                    .map_err(|error| Failure::output("a row", &error))?
                    .into_iter();
                let header = found.next().unwrap_or_default();
                let mut rows = Vec::new();
                if self.header.is_none() {
                    rows.push(with_error(header.clone(), "error"));
                    rows.extend(self.failed(&header));
                    self.header = Some(header);
                }
                rows.extend(found.map(|row| with_error(row, "")));
                rows
            }
        };
        self.lines(rows)
    }

    fn end(&mut self) -> Result<Vec<u8>, Failure> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let header: Vec<String> = ["id".to_owned()].into_iter().chain(self.fields.clone()).collect();
        let failed = self.failed(&header);
        self.lines([with_error(header, "error")].into_iter().chain(failed).collect())
    }
}

#[cfg(test)]
mod tests {
    use stepfn::{Error, ErrorKind};

    use super::*;

    struct Word(&'static str);

    impl Record for Word {
        fn json(&self) -> serde_json::Result<String> {
            serde_json::to_string(self.0)
        }

        fn table(&self) -> String {
            self.0.to_owned()
        }

        fn csv(&self, fields: &[String], with_header: bool) -> String {
            let header = format!("n,id,word,{}\n", fields.join(","));
            format!("{}1,x,{},7\n", if with_header { header } else { String::new() }, self.0)
        }
    }

    #[test]
    fn texts_without_a_result_have_a_row_under_the_same_header() {
        let failure = || Error::new(ErrorKind::Text, "it is empty", "");
        let own: Map<String, Value> = [("year".to_owned(), 7.into())].into_iter().collect();
        let of = |id: &str, result| Outcome { id: id.into(), number: 0, fields: own.clone(), result };
        let written = |outcomes: &[Outcome<Word>]| {
            let mut table = Table::new(Format::Tsv, vec!["year".to_owned()]);
            let mut bytes: Vec<u8> = outcomes.iter().flat_map(|outcome| table.encode(outcome).unwrap()).collect();
            bytes.extend(Encoder::<Word>::end(&mut table).unwrap());
            String::from_utf8(bytes).unwrap()
        };
        let all = [of("a", Err(failure())), of("x", Ok(Word("\"p\tq\""))), of("b", Err(failure()))];
        assert_eq!(
            written(&all),
            "n\tid\tword\tyear\terror\n\ta\t\t7\tit is empty\n1\tx\t\"p\tq\"\t7\t\n\tb\t\t7\tit is empty\n"
        );
        assert_eq!(written(&all[..1]), "id\tyear\terror\na\t7\tit is empty\n");
        assert_eq!(written(&[]), "");
    }
}
