//! Columns and their types.

use core::fmt;

use serde_json::Value;

use crate::{CorpusError, Result};

/// The type of a column's values. Any of them may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// True or false.
    Boolean,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A whole number of 64 bits, without a sign.
    UInt64,
    /// A number in single precision.
    Float32,
    /// A number in double precision.
    Float64,
    /// A text. Takes any value: what is no text is written as JSON.
    Text,
    /// A list.
    List(Box<Type>),
    /// Named parts.
    Struct(Vec<Column>),
    /// Another type of a Parquet file, such as a date.
    #[cfg(feature = "parquet")]
    Other(arrow_schema::DataType),
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub kind: Type,
}

impl Column {
    /// A column of this name and type.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }
}

impl Type {
    /// A list of such values.
    #[must_use]
    pub fn list(self) -> Self {
        Self::List(Box::new(self))
    }

    /// A part of a text: `{start, end}`, in bytes.
    pub fn span() -> Self {
        Self::Struct(["start", "end"].map(|name| Column::new(name, Self::Int64)).to_vec())
    }

    /// Whether a value is of this type. `null` is of every type.
    pub fn has(&self, value: &Value) -> bool {
        if value.is_null() {
            return true;
        }
        match self {
            Self::Text => true,
            Self::Boolean => value.is_boolean(),
            Self::Int32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Self::Int64 => value.is_i64(),
            Self::UInt64 => value.is_u64(),
            Self::Float32 | Self::Float64 => value.is_number(),
            Self::List(kind) => value.as_array().is_some_and(|list| list.iter().all(|value| kind.has(value))),
            Self::Struct(parts) => value.as_object().is_some_and(|object| {
                object.keys().all(|name| parts.iter().any(|part| part.name == *name))
                    && parts.iter().all(|part| object.get(&part.name).is_none_or(|value| part.kind.has(value)))
            }),
            #[cfg(feature = "parquet")]
            Self::Other(kind) => crate::parquet::has(kind, value),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::UInt64 => f.write_str("uint64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Text => f.write_str("text"),
            Self::List(kind) => write!(f, "list<{kind}>"),
            Self::Struct(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| format!("{}: {}", part.name, part.kind)).collect();
                write!(f, "struct<{}>", parts.join(", "))
            }
            #[cfg(feature = "parquet")]
            Self::Other(kind) => write!(f, "{kind}"),
        }
    }
}

/// The columns of results: those that travel along, between the first and the others.
///
/// # Errors
/// [`ErrorKind::Option`](crate::ErrorKind::Option) if a column that travels along has the name of another.
pub fn joined(first: Vec<Column>, kept: Vec<Column>, others: Vec<Column>) -> Result<Vec<Column>> {
    let taken = |name: &String| first.iter().chain(&others).any(|column| column.name == *name);
    if let Some(column) = kept.iter().find(|column| taken(&column.name)) {
        let what = format!("the results have a column `{}` of their own, so this one can't travel along", column.name);
        return Err(CorpusError::option(what, "leave it out of --keep, or rename it in the input"));
    }
    Ok(first.into_iter().chain(kept).chain(others).collect())
}
