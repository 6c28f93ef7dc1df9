//! The types of columns that nobody has written down: those of JSON lines.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Column, Type};

/// What the values of a column have been so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Guess {
    /// Nothing but `null`.
    #[default]
    Nothing,
    /// Values of a simple type.
    Simple(Type),
    /// Lists of such values.
    List(Box<Guess>),
    /// Objects with such parts.
    Object(BTreeMap<String, Guess>),
}

impl Guess {
    /// The type of one value.
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Simple(Type::Boolean),
            Value::Number(number) if number.is_i64() => Self::Simple(Type::Int64),
            Value::Number(number) if number.is_u64() => Self::Simple(Type::UInt64),
            Value::Number(_) => Self::Simple(Type::Float64),
            Value::String(_) => Self::Simple(Type::Text),
            Value::Array(list) => {
                let mut all = Self::Nothing;
                list.iter().for_each(|value| all.see(value));
                Self::List(Box::new(all))
            }
            Value::Object(object) => {
                Self::Object(object.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
        }
    }

    /// Sees another value of the column.
    pub fn see(&mut self, value: &Value) {
        *self = core::mem::take(self).with(Self::of(value));
    }

    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.with(*other))),
            (Self::Object(mut one), Self::Object(other)) => {
                for (name, guess) in other {
                    let seen = one.remove(&name).unwrap_or_default();
                    one.insert(name, seen.with(guess));
                }
                Self::Object(one)
            }
            (Self::Simple(one), Self::Simple(other)) if one == other => Self::Simple(one),
            (Self::Simple(one), Self::Simple(other)) if is_number(&one) && is_number(&other) => {
                Self::Simple(Type::Float64)
            }
            // Different things: texts, those that are none as JSON.
            _ => Self::Simple(Type::Text),
        }
    }

    /// The type of the column: text, if nothing was seen.
    pub fn kind(self) -> Type {
        match self {
            Self::Nothing => Type::Text,
            Self::Simple(kind) => kind,
            Self::List(guess) => guess.kind().list(),
            // Parquet has no struct without parts.
            Self::Object(parts) if parts.is_empty() => Type::Text,
            Self::Object(parts) => {
                Type::Struct(parts.into_iter().map(|(name, guess)| Column::new(name, guess.kind())).collect())
            }
        }
    }
}

fn is_number(kind: &Type) -> bool {
    matches!(kind, Type::Int64 | Type::UInt64 | Type::Float64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::row::values;

    #[test]
    fn the_type_is_that_of_all_values() {
        for (values, kind) in [
            (vec![], "text"),
            (vec![json!(null), json!(3)], "int64"),
            (vec![json!(3), json!(2.5)], "float64"),
            (vec![json!(3), json!("a")], "text"),
            (vec![json!([]), json!([1]), json!([null, 0.5])], "list<float64>"),
            (vec![json!({"b": 1}), json!({"a": true})], "struct<a: boolean, b: int64>"),
            (vec![json!({}), json!(null)], "text"),
            (vec![json!({}), json!([1])], "text"),
            (vec![json!(u64::MAX)], "uint64"),
        ] {
            let mut guess = Guess::default();
            values.iter().for_each(|value| guess.see(value));
            assert_eq!(guess.kind().to_string(), kind, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_is_of_the_type_that_was_guessed_with_it(values in prop::collection::vec(values(), 0..8)) {
            let mut guess = Guess::default();
            values.iter().for_each(|value| guess.see(value));
            let kind = guess.kind();
            for value in &values {
                prop_assert!(kind.has(value), "{kind} of {value}");
            }
        }
    }
}
