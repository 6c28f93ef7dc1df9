//! Values as arrow's arrays.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, ListArray, StructArray, new_null_array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, TimeUnit};
use serde_json::Value;

use crate::table::cell;
use crate::{Cell, Column, Type};

type Made = Result<ArrayRef, ArrowError>;

/// A type of arrow for a type.
pub(super) fn data_type(kind: &Type) -> DataType {
    match kind {
        Type::Boolean => DataType::Boolean,
        Type::Int32 => DataType::Int32,
        Type::Int64 => DataType::Int64,
        Type::UInt64 => DataType::UInt64,
        Type::Float32 => DataType::Float32,
        Type::Float64 => DataType::Float64,
        Type::Text => DataType::Utf8,
        Type::List(kind) => DataType::List(element(kind)),
        Type::Struct(parts) => DataType::Struct(fields(parts)),
        Type::Other(kind) => kind.clone(),
    }
}

/// Columns as fields, which may all be missing.
pub(super) fn fields(columns: &[Column]) -> Fields {
    columns.iter().map(|column| Field::new(&column.name, data_type(&column.kind), true)).collect()
}

/// The name that Parquet gives the elements of a list.
fn element(kind: &Type) -> Arc<Field> {
    Arc::new(Field::new("element", data_type(kind), true))
}

/// Whether a value that isn't `null` is of one of the types that only Parquet has.
pub(crate) fn has(kind: &DataType, value: &Value) -> bool {
    fn fits<N: TryFrom<i64>>(value: &Value) -> bool {
        value.as_i64().is_some_and(|number| N::try_from(number).is_ok())
    }
    match kind {
        DataType::Int8 => fits::<i8>(value),
        DataType::Int16 => fits::<i16>(value),
        DataType::UInt8 => fits::<u8>(value),
        DataType::UInt16 => fits::<u16>(value),
        DataType::UInt32 => fits::<u32>(value),
        DataType::Date32 | DataType::Time32(_) => fits::<i32>(value),
        DataType::Time64(_) | DataType::Timestamp(..) => value.is_i64(),
        DataType::Float16 => value.is_number(),
        DataType::Decimal128(precision, scale) => {
            value.as_str().is_some_and(|text| decimal(text, *precision, *scale).is_some())
        }
        _ => false,
    }
}

/// A decimal such as `-12.30` in units of its last digit.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > scale || !is_digits(part) {
        return None;
    }
    let number: i128 = format!("{whole}{part}{}", "0".repeat(scale - part.len())).parse().ok()?;
    (number.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(number)
}

/// The cells of a column, of its type.
pub(super) fn column(kind: &Type, cells: Vec<Cell>) -> Made {
    // Lists of numbers are most of a file, and need no detour.
    if let Type::List(inner) = kind
        && !cells.iter().any(|cell| matches!(cell, Cell::Value(value) if !value.is_null()))
    {
        let length = |cell: &Cell| match cell {
            Cell::Value(_) => None,
            Cell::Floats(list) => Some(list.len()),
            Cell::Ints(list) => Some(list.len()),
            Cell::Texts(list) => Some(list.len()),
            Cell::Spans(list) => Some(list.len()),
        };
        let lengths: Vec<Option<usize>> = cells.iter().map(length).collect();
        let elements: Option<ArrayRef> = match &**inner {
            Type::Float32 => {
                let mut builder = PrimitiveBuilder::<Float32Type>::new();
                cells.iter().for_each(|cell| {
                    let Cell::Floats(list) = cell else { return };
                    list.iter().for_each(|number| builder.append_option((!number.is_nan()).then_some(*number)));
                });
                Some(Arc::new(builder.finish()))
            }
            Type::Text => {
                let mut builder = StringBuilder::new();
                cells.iter().for_each(|cell| {
                    let Cell::Texts(list) = cell else { return };
                    list.iter().for_each(|text| builder.append_value(text));
                });
                Some(Arc::new(builder.finish()))
            }
            _ => None,
        };
        if let Some(elements) = elements.filter(|elements| elements.len() == lengths.iter().flatten().sum::<usize>()) {
            return list(inner, &lengths, elements);
        }
    }
    let values: Vec<Value> = cells.into_iter().map(Cell::into_value).collect();
    array(kind, &values.iter().map(Some).collect::<Vec<_>>())
}

fn list(inner: &Type, lengths: &[Option<usize>], elements: ArrayRef) -> Made {
    let nulls = NullBuffer::from_iter(lengths.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
    Ok(Arc::new(ListArray::try_new(element(inner), offsets, elements, Some(nulls))?))
}

/// Values of a type, or nothing where they are not.
fn array(kind: &Type, values: &[Option<&Value>]) -> Made {
    let values: Vec<Option<&Value>> =
        values.iter().map(|value| value.filter(|value| !value.is_null() && kind.has(value))).collect();
    Ok(match kind {
        Type::Boolean => {
            let mut builder = BooleanBuilder::new();
            values.iter().for_each(|value| builder.append_option(value.and_then(Value::as_bool)));
            Arc::new(builder.finish())
        }
        Type::Int32 => whole::<Int32Type>(&DataType::Int32, &values),
        Type::Int64 => whole::<Int64Type>(&DataType::Int64, &values),
        Type::UInt64 => numbers::<UInt64Type>(&DataType::UInt64, &values, Value::as_u64),
        Type::Float32 => numbers::<Float32Type>(&DataType::Float32, &values, |value| Some(value.as_f64()? as f32)),
        Type::Float64 => numbers::<Float64Type>(&DataType::Float64, &values, Value::as_f64),
        Type::Text => {
            let mut builder = StringBuilder::new();
            values.iter().for_each(|value| builder.append_option(value.map(cell)));
            Arc::new(builder.finish())
        }
        Type::List(inner) => {
            let lists: Vec<Option<&Vec<Value>>> = values.iter().map(|value| value.and_then(Value::as_array)).collect();
            let elements: Vec<Option<&Value>> = lists.iter().flatten().flat_map(|list| list.iter().map(Some)).collect();
            let lengths: Vec<Option<usize>> = lists.iter().map(|list| list.map(Vec::len)).collect();
            list(inner, &lengths, array(inner, &elements)?)?
        }
        Type::Struct(parts) => {
            let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
            let of_part = |part: &Column| {
                let values: Vec<Option<&Value>> =
                    values.iter().map(|value| value.and_then(|value| value.get(&part.name))).collect();
                array(&part.kind, &values)
            };
            let arrays = parts.iter().map(of_part).collect::<Result<Vec<ArrayRef>, _>>()?;
            Arc::new(StructArray::try_new(fields(parts), arrays, Some(nulls))?)
        }
        Type::Other(kind) => other(kind, &values),
    })
}

/// Numbers of one of arrow's types.
fn numbers<T: ArrowPrimitiveType>(
    kind: &DataType,
    values: &[Option<&Value>],
    number: impl Fn(&Value) -> Option<T::Native>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::new().with_data_type(kind.clone());
    values.iter().for_each(|value| builder.append_option(value.and_then(&number)));
    Arc::new(builder.finish())
}

fn whole<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(kind: &DataType, values: &[Option<&Value>]) -> ArrayRef {
    numbers::<T>(kind, values, |value| value.as_i64()?.try_into().ok())
}

fn other(kind: &DataType, values: &[Option<&Value>]) -> ArrayRef {
    match kind {
        DataType::Int8 => whole::<Int8Type>(kind, values),
        DataType::Int16 => whole::<Int16Type>(kind, values),
        DataType::UInt8 => whole::<UInt8Type>(kind, values),
        DataType::UInt16 => whole::<UInt16Type>(kind, values),
        DataType::UInt32 => whole::<UInt32Type>(kind, values),
        DataType::Date32 => whole::<Date32Type>(kind, values),
        DataType::Time32(_) => whole::<Time32MillisecondType>(kind, values),
        DataType::Time64(TimeUnit::Microsecond) => whole::<Time64MicrosecondType>(kind, values),
        DataType::Time64(_) => whole::<Time64NanosecondType>(kind, values),
        DataType::Timestamp(TimeUnit::Millisecond, _) => whole::<TimestampMillisecondType>(kind, values),
        DataType::Timestamp(TimeUnit::Microsecond, _) => whole::<TimestampMicrosecondType>(kind, values),
        DataType::Timestamp(_, _) => whole::<TimestampNanosecondType>(kind, values),
        DataType::Float16 => numbers::<Float16Type>(kind, values, |value| {
            Some(<Float16Type as ArrowPrimitiveType>::Native::from_f64(value.as_f64()?))
        }),
        DataType::Decimal128(precision, scale) => {
            numbers::<Decimal128Type>(kind, values, |value| decimal(value.as_str()?, *precision, *scale))
        }
        _ => new_null_array(kind, values.len()),
    }
}
