//! Numbers in JSON, which has neither NaN nor infinity: no number is `null`, and an infinite one is the string `"inf"` or `"-inf"`.

use core::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that may be missing (NaN) or infinite.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<T>(pub(crate) T);

impl<T: Copy + Into<f64> + Serialize> Serialize for Number<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: f64 = self.0.into();
        match value {
            value if value.is_nan() => serializer.serialize_none(),
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            // As it is: an `f32` has fewer digits than the `f64` of the same value.
            _ => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Number<f32> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

/// A number, `null`, or the name of an infinite one.
struct Form;

impl Visitor<'_> for Form {
    type Value = Number<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null, \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let number = value as f32;
        match number.is_finite() {
            true => Ok(Number(number)),
            false => Err(E::invalid_value(Unexpected::Float(value), &"a number below 3.5e38")),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Number(value as f32))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Number(value as f32))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Number(f32::NAN))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "inf" => Ok(Number(f32::INFINITY)),
            "-inf" => Ok(Number(f32::NEG_INFINITY)),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

/// As JSON has them.
pub(crate) fn numbers(values: &[f32]) -> Vec<Number<f32>> {
    values.iter().copied().map(Number).collect()
}

/// From JSON.
pub(crate) fn from_numbers(values: Vec<Number<f32>>) -> Vec<f32> {
    values.into_iter().map(|Number(value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_and_infinite_ones_are_told_apart() {
        let numbers = [0.1f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(Number);
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(text, r#"[0.1,null,"inf","-inf"]"#);
        let back: Vec<Number<f32>> = serde_json::from_str(&text).unwrap();
        assert!(back.iter().zip(numbers).all(|(back, number)| back.0.to_bits() == number.0.to_bits()));
        for large in ["1e300", "-1e39"] {
            let error = serde_json::from_str::<Number<f32>>(large).unwrap_err().to_string();
            assert!(error.contains("expected a number below"), "{error}");
        }
        for wrong in ["\"much\"", "[]", "{}", "true"] {
            let error = serde_json::from_str::<Number<f32>>(wrong).unwrap_err().to_string();
            assert!(error.contains("expected a number, null"), "{error}");
        }
    }
}
