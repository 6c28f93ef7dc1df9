//! Values of arrow's arrays as JSON.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_schema::{DataType, TimeUnit};
use serde_json::Value;

use crate::row::float;
use crate::{Column, Type};

/// The type of a column of a Parquet file, or its name if it can't be read. With `skip_arrow_metadata`, there are only types that Parquet has.
pub(super) fn kind(of: &DataType) -> Result<Type, String> {
    Ok(match of {
        DataType::Boolean => Type::Boolean,
        DataType::Int32 => Type::Int32,
        DataType::Int64 => Type::Int64,
        DataType::UInt64 => Type::UInt64,
        DataType::Float32 => Type::Float32,
        DataType::Float64 => Type::Float64,
        DataType::Utf8 => Type::Text,
        DataType::List(element) => kind(element.data_type())?.list(),
        DataType::Struct(parts) => {
            let part = |part: &arrow_schema::FieldRef| Ok(Column::new(part.name(), kind(part.data_type())?));
            Type::Struct(parts.iter().map(part).collect::<Result<_, String>>()?)
        }
        DataType::Int8
        | DataType::Int16
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::Float16
        | DataType::Date32
        | DataType::Time32(TimeUnit::Millisecond)
        | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        | DataType::Decimal128(..) => Type::Other(of.clone()),
        other => return Err(other.to_string()),
    })
}

/// A value of an array whose type has a [`kind`]; `null` for others. Dates and times are whole numbers, decimals texts.
pub(super) fn value(array: &dyn Array, row: usize) -> Value {
    macro_rules! number {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row).into()
        };
    }
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f32()),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => number!(Float64Type),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Date32 => number!(Date32Type),
        DataType::Time32(_) => number!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => number!(Time64MicrosecondType),
        DataType::Time64(_) => number!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => number!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => number!(TimestampMicrosecondType),
        DataType::Timestamp(_, _) => number!(TimestampNanosecondType),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|row| value(&list, row)).collect()
        }
        DataType::Struct(parts) => {
            let columns = array.as_struct().columns();
            let part = |(part, column): (&arrow_schema::FieldRef, &arrow_array::ArrayRef)| {
                (part.name().clone(), value(column, row))
            };
            Value::Object(parts.iter().zip(columns).map(part).collect())
        }
        _ => Value::Null,
    }
}
