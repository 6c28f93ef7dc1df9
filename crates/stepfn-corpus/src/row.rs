//! Rows out: into JSON lines, CSV, TSV or Parquet.

use core::fmt;
use core::ops::Range;
use std::io;

use serde_json::{Map, Number, Value};

use crate::table::{cell, table_lines};
use crate::{Column, CorpusError, Format, Result};

/// A value of a row. Lists of numbers are long, and have a form of their own.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Any value.
    Value(Value),
    /// Numbers in single precision. NaN is a number that isn't there.
    Floats(Vec<f32>),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<String>),
    /// Parts of a text, in bytes.
    Spans(Vec<Range<usize>>),
}

impl Cell {
    /// As JSON.
    pub fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Floats(numbers) => numbers.into_iter().map(float).collect(),
            Self::Ints(numbers) => numbers.into(),
            Self::Texts(texts) => texts.into(),
            Self::Spans(spans) => {
                spans.into_iter().map(|span| serde_json::json!({"start": span.start, "end": span.end})).collect()
            }
        }
    }

    /// About how many bytes it takes.
    #[cfg(feature = "parquet")]
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Value(Value::String(text)) => text.len(),
            Self::Value(_) => 16,
            Self::Floats(numbers) => 4 * numbers.len(),
            Self::Ints(numbers) => 8 * numbers.len(),
            Self::Texts(texts) => texts.iter().map(|text| 16 + text.len()).sum(),
            Self::Spans(spans) => 16 * spans.len(),
        }
    }
}

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// A number in single precision as JSON, with as few digits as tell it from others; `null` if JSON has no such number.
pub(crate) fn float(number: f32) -> Value {
    let shortest = number.is_finite().then(|| number.to_string().parse().ok()).flatten();
    shortest.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOptions {
    /// The format of the file.
    pub format: Format,
    /// Of Parquet: how many rows are in a group, which is what readers read at once, and what is held in memory until it is written.
    pub group_rows: usize,
    /// Of Parquet: what the file says about itself, by name.
    pub about: Vec<(String, String)>,
}

impl RowOptions {
    /// Rows in a group if nothing else is said.
    pub const GROUP_ROWS: usize = 10_000;

    /// The usual way to write a format.
    pub fn new(format: Format) -> Self {
        Self { format, group_rows: Self::GROUP_ROWS, about: Vec::new() }
    }
}

/// Writes rows into the bytes of a file. What a row adds is asked for with [`take`](Self::take).
pub struct RowFile {
    columns: Vec<Column>,
    format: Format,
    bytes: Vec<u8>,
    #[cfg(feature = "parquet")]
    parquet: Option<crate::parquet::ParquetFile>,
}

impl RowFile {
    /// An empty file with these columns.
    ///
    /// # Errors
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) if the program was built without the format.
    pub fn new(columns: Vec<Column>, options: &RowOptions) -> Result<Self> {
        options.format.check()?;
        let format = options.format;
        let bytes = match format {
            Format::Csv | Format::Tsv => {
                let header = columns.iter().map(|column| column.name.clone()).collect();
                table_lines(format, [header]).map_err(unwritten)?
            }
            Format::JsonLines | Format::Parquet => Vec::new(),
        };
        #[cfg(feature = "parquet")]
        let parquet = match format {
            Format::Parquet => Some(crate::parquet::ParquetFile::new(&columns, options)?),
            _ => None,
        };
        Ok(Self {
            columns,
            format,
            bytes,
            #[cfg(feature = "parquet")]
            parquet,
        })
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns to whose types the cells of a row don't belong.
    pub fn misfits(&self, row: &[Cell]) -> Vec<Column> {
        let misfits = row.iter().zip(&self.columns).filter(|(cell, column)| is_misfit(cell, column));
        misfits.map(|(_, column)| column.clone()).collect()
    }

    /// Adds a row: a cell for each column. A value that isn't of its column's type is left out.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written.
    pub fn push(&mut self, mut row: Vec<Cell>) -> Result<()> {
        row.resize(self.columns.len(), Cell::Value(Value::Null));
        for (cell, column) in row.iter_mut().zip(&self.columns) {
            if is_misfit(cell, column) {
                *cell = Cell::Value(Value::Null);
            }
        }
        match self.format {
            Format::JsonLines => {
                let cells = self.columns.iter().zip(row);
                let object: Map<String, Value> =
                    cells.map(|(column, cell)| (column.name.clone(), cell.into_value())).collect();
                serde_json::to_writer(&mut self.bytes, &object).map_err(|error| unwritten(error.into()))?;
                self.bytes.push(b'\n');
            }
            Format::Csv | Format::Tsv => {
                let cells = row.into_iter().map(|value| cell(&value.into_value())).collect();
                self.bytes.extend(table_lines(self.format, [cells]).map_err(unwritten)?);
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                if let Some(parquet) = &mut self.parquet {
                    parquet.push(row)?;
                }
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {}
        }
        Ok(())
    }

    /// What the file has grown by since this was last called.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written.
    pub fn take(&mut self) -> Result<Vec<u8>> {
        #[cfg(feature = "parquet")]
        if let Some(parquet) = &mut self.parquet {
            return parquet.take();
        }
        Ok(core::mem::take(&mut self.bytes))
    }

    /// The end of the file.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        #[cfg(feature = "parquet")]
        if let Some(parquet) = self.parquet.take() {
            return parquet.finish();
        }
        self.take()
    }
}

impl fmt::Debug for RowFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFile").field("columns", &self.columns).field("format", &self.format).finish_non_exhaustive()
    }
}

fn is_misfit(cell: &Cell, column: &Column) -> bool {
    matches!(cell, Cell::Value(value) if !column.kind.has(value))
}

fn unwritten(error: io::Error) -> CorpusError {
    CorpusError::file(format!("a row can't be written: {error}"), "use another format")
}

/// Any values, for tests.
#[cfg(test)]
pub(crate) fn values() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        "[a-c\",\n\té]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Content, Guess, Reader, Source, Type, joined};

    fn written(columns: &[Column], format: Format, rows: Vec<Vec<Cell>>) -> Vec<u8> {
        let mut file =
            RowFile::new(columns.to_vec(), &RowOptions { group_rows: 3, ..RowOptions::new(format) }).unwrap();
        let mut bytes = Vec::new();
        for row in rows {
            assert_eq!(file.misfits(&row), []);
            file.push(row).unwrap();
            bytes.extend(file.take().unwrap());
        }
        bytes.extend(file.finish().unwrap());
        bytes
    }

    fn read(format: Format, bytes: &[u8]) -> Vec<Map<String, Value>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let records = Reader::new(vec![Source::new(&path, Some(format))], None).unwrap();
        let fields = records.map(|record| match record.content.unwrap() {
            Content::Fields(fields) => fields,
            Content::Json(line) => serde_json::from_slice(&line).unwrap(),
        });
        fields.collect()
    }

    /// What Parquet makes of a value: every number of a column has its type, every part of a struct is there.
    fn typed(kind: &Type, value: &Value) -> Value {
        match (kind, value) {
            (_, Value::Null) => Value::Null,
            (Type::Text, value) => cell(value).into(),
            (Type::Float64, value) => value.as_f64().map_or(Value::Null, Value::from),
            (Type::List(kind), Value::Array(list)) => list.iter().map(|value| typed(kind, value)).collect(),
            (Type::Struct(parts), Value::Object(object)) => {
                let part = |part: &Column| {
                    (part.name.clone(), typed(&part.kind, object.get(&part.name).unwrap_or(&Value::Null)))
                };
                parts.iter().map(part).collect::<Map<_, _>>().into()
            }
            (_, value) => value.clone(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn values_come_back_from_every_format(rows in prop::collection::vec((values(), values()), 1..9)) {
            let rows: Vec<[Value; 2]> = rows.into_iter().map(|(one, other)| [one, other]).collect();
            let column = |index: usize, name: &str| {
                let mut guess = Guess::default();
                rows.iter().for_each(|row| guess.see(&row[index]));
                Column::new(name, guess.kind())
            };
            let columns = [column(0, "one"), column(1, "other")];
            let cells: Vec<Vec<Cell>> = rows.iter().map(|row| row.clone().map(Cell::from).into()).collect();
            for format in Format::ALL {
                if format.check().is_err() {
                    continue;
                }
                let bytes = written(&columns, format, cells.clone());
                prop_assert_eq!(&bytes, &written(&columns, format, cells.clone()), "the same bytes each time");
                let expected: Vec<Map<String, Value>> = rows.iter().map(|row| {
                    let value = |(column, value): (&Column, &Value)| (column.name.clone(), match format {
                        Format::JsonLines => value.clone(),
                        Format::Csv | Format::Tsv => cell(value).into(),
                        Format::Parquet => typed(&column.kind, value),
                    });
                    columns.iter().zip(row).map(value).collect()
                }).collect();
                prop_assert_eq!(read(format, &bytes), expected, "{:?} {:?}", format, columns);
            }
        }
    }

    #[test]
    fn lists_have_types_and_what_does_not_fit_is_left_out() {
        let columns = joined(
            vec![Column::new("id", Type::Int64)],
            vec![Column::new("n", Type::Boolean)],
            vec![
                Column::new("tokens", Type::Text.list()),
                Column::new("ids", Type::Int32.list()),
                Column::new("spans", Type::span().list()),
                Column::new("surprisal", Type::Float32.list()),
            ],
        )
        .unwrap();
        let lists = [
            Cell::Texts(vec!["a".to_owned(), "b".to_owned()]),
            Cell::Ints(vec![1, 2]),
            Cell::Spans(vec![0..1, 1..2]),
            Cell::Floats(vec![0.1, f32::NAN]),
        ];
        for format in Format::ALL.into_iter().filter(|format| format.check().is_ok()) {
            let mut file = RowFile::new(columns.clone(), &RowOptions::new(format)).unwrap();
            let full = [Cell::from(1), Cell::from(true)].into_iter().chain(lists.clone()).collect();
            file.push(full).unwrap();
            let misfit = vec![Cell::from(2), Cell::from("no")];
            assert_eq!(file.misfits(&misfit), columns[1..2]);
            file.push(misfit).unwrap();
            let mut bytes = file.take().unwrap();
            bytes.extend(file.finish().unwrap());
            let read = read(format, &bytes);
            let spans = json!([{"start": 0, "end": 1}, {"start": 1, "end": 2}]);
            let expected = json!({"id": 1, "n": true, "tokens": ["a", "b"], "ids": [1, 2], "spans": spans, "surprisal": [0.1, null]});
            if matches!(format, Format::JsonLines | Format::Parquet) {
                assert_eq!(Value::from(read[0].clone()), expected, "{format:?}");
                assert!(read[1]["n"].is_null() && read[1]["tokens"].is_null());
            } else {
                assert_eq!(read[0]["surprisal"], "[0.1,null]");
            }
        }
        let twice = joined(vec![Column::new("id", Type::Text)], vec![Column::new("id", Type::Text)], vec![]);
        assert!(twice.unwrap_err().what.contains("a column `id` of their own"));
    }
}
