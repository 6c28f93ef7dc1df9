//! Apache Parquet: rows in, batch by batch, and rows out, group by group.

mod arrays;
mod read;
mod values;
mod write;

pub(crate) use arrays::has;
pub(crate) use read::{ParquetRows, columns, count};
pub(crate) use write::ParquetFile;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use arrow_schema::{DataType, TimeUnit};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{Cell, Column, Content, Format, Reader, RowFile, RowOptions, Source, Type, columns, count};

    /// A column of each type that only Parquet has, with two of its values.
    fn others() -> Vec<(Column, [Value; 2])> {
        let number = [json!(-3), json!(17)];
        let count = [json!(0), json!(200)];
        let types = [
            (DataType::Int8, number.clone()),
            (DataType::Int16, number.clone()),
            (DataType::UInt8, count.clone()),
            (DataType::UInt16, count.clone()),
            (DataType::UInt32, count.clone()),
            (DataType::Float16, [json!(0.5), json!(-2.25)]),
            (DataType::Date32, number.clone()),
            (DataType::Time32(TimeUnit::Millisecond), count.clone()),
            (DataType::Time64(TimeUnit::Microsecond), count.clone()),
            (DataType::Time64(TimeUnit::Nanosecond), count),
            (DataType::Timestamp(TimeUnit::Millisecond, None), number.clone()),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), number.clone()),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), number),
            (DataType::Decimal128(9, 2), [json!("-12.30"), json!("0.05")]),
            (DataType::Decimal128(30, 0), [json!("123456789012345678901234567890"), json!("-1")]),
        ];
        let column = |(kind, values): (DataType, _)| (Column::new(kind.to_string(), Type::Other(kind)), values);
        let list = (Column::new("l", Type::Other(DataType::Date32).list()), [json!([1, null]), json!([])]);
        types.into_iter().map(column).chain([list]).collect()
    }

    fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> Source {
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, bytes).unwrap();
        Source::new(&path, None)
    }

    fn written() -> Vec<u8> {
        let others = others();
        let columns = others.iter().map(|(column, _)| column.clone()).collect();
        let mut file =
            RowFile::new(columns, &RowOptions { group_rows: 2, ..RowOptions::new(Format::Parquet) }).unwrap();
        for row in [Some(0), Some(1), None, Some(0), Some(1)] {
            let value = |(_, values): &(Column, [Value; 2])| row.map_or(Value::Null, |row: usize| values[row].clone());
            file.push(others.iter().map(|other| Cell::Value(value(other))).collect()).unwrap();
        }
        file.finish().unwrap()
    }

    #[test]
    fn types_that_only_parquet_has_travel_along() {
        let (folder, others) = (tempfile::tempdir().unwrap(), others());
        let source = file(&folder, &written());
        let types: Vec<Column> = columns(&source).unwrap().unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(types, others.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>());
        for skip in 0..5 {
            let rows: Vec<_> = Reader::starting(vec![source.clone()], None, &[], skip).unwrap().collect();
            assert_eq!((rows.len(), rows[0].row), (5 - skip, skip + 1));
            for record in rows {
                let Ok(Content::Fields(fields)) = record.content else { panic!("{:?}", record.content) };
                for (column, values) in &others {
                    let expected =
                        if record.number == 2 { &Value::Null } else { &values[[0, 1, 0, 0, 1][record.number]] };
                    assert_eq!(&fields[&column.name], expected, "{}", column.name);
                }
            }
        }
        let misfits = [json!(40_000), json!("no"), json!("1.234"), json!({"a": 1})];
        let has = |name: &str, value: &Value| {
            others.iter().find(|(column, _)| column.name == name).unwrap().0.kind.has(value)
        };
        assert!(misfits.iter().all(|value| !has("Int16", value) && !has("Decimal128(9, 2)", value)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_damaged_file_is_an_error_and_no_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), end in any::<prop::sample::Index>(), is_cut in any::<bool>()) {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = written();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(end.index(bytes.len()));
            }
            let source = file(&folder, &bytes);
            if let (Ok(counted), Ok(reader)) = (count(&source), Reader::new(vec![source.clone()], None)) {
                prop_assert_eq!(reader.take(100).count(), counted.records.min(100));
            }
            drop(columns(&source));
        }
    }
}
