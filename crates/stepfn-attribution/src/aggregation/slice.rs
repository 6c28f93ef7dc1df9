//! Positions as people write them: `3`, `-1`, `0:4`, `2:`, `:-1`.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AttributionError, ParameterError};

/// A position or a run of positions, from 0; negative ones count from the end. Written `3`, `-1`, `0:4` (4 not among them), `2:`, `:-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Slice {
    /// One position.
    At(i64),
    /// From `start` (the first where `None`) to before `end` (to the last where `None`).
    Run {
        /// The first position.
        start: Option<i64>,
        /// The position after the last.
        end: Option<i64>,
    },
}

impl Slice {
    /// The positions among `len`.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] of `of`, `parameter`, if there are no such positions.
    pub fn resolve(self, len: usize, of: &str, parameter: &str) -> Result<Range<usize>, AttributionError> {
        let absolute = |position: i64| {
            let shifted = if position < 0 { i64::try_from(len).ok()?.checked_add(position)? } else { position };
            usize::try_from(shifted).ok().filter(|&position| position <= len)
        };
        let range = match self {
            Self::At(position) => absolute(position).filter(|&at| at < len).map(|at| at..at + 1),
            Self::Run { start, end } => match (start.map_or(Some(0), absolute), end.map_or(Some(len), absolute)) {
                (Some(start), Some(end)) if start < end => Some(start..end),
                _ => None,
            },
        };
        range.ok_or_else(|| {
            AttributionError::from(ParameterError::new(
                of.to_owned(),
                parameter.to_owned(),
                format!("positions among {len}, such as 0 or -1 or 0:{len}"),
                self.to_string(),
            ))
        })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => write!(f, "{position}"),
            Self::Run { start, end } => {
                if let Some(start) = start {
                    write!(f, "{start}")?;
                }
                f.write_str(":")?;
                end.map_or(Ok(()), |end| write!(f, "{end}"))
            }
        }
    }
}

impl FromStr for Slice {
    type Err = AttributionError;

    fn from_str(text: &str) -> Result<Self, AttributionError> {
        let number = |text: &str| {
            text.trim().parse::<i64>().map_err(|_| {
                AttributionError::from(ParameterError::new(
                    "aggregation",
                    "positions",
                    "a number, or two with a colon between them, such as 0:4",
                    format!("`{text}`"),
                ))
            })
        };
        let bound = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
        match text.split_once(':') {
            None => Ok(Self::At(number(text)?)),
            Some((start, end)) => Ok(Self::Run { start: bound(start)?, end: bound(end)? }),
        }
    }
}

impl TryFrom<String> for Slice {
    type Error = AttributionError;

    fn try_from(text: String) -> Result<Self, AttributionError> {
        text.parse()
    }
}

impl From<Slice> for String {
    fn from(slice: Slice) -> Self {
        slice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_six(text: &str) -> Result<Range<usize>, AttributionError> {
        text.parse::<Slice>()?.resolve(6, "layers", "keep")
    }

    #[test]
    fn positions_count_from_both_ends() {
        for (text, expected) in [("3", 3..4), ("-1", 5..6), ("0:4", 0..4), ("2:", 2..6), (":-1", 0..5), ("-2:", 4..6)] {
            assert_eq!(of_six(text), Ok(expected), "{text}");
            assert_eq!(text.parse::<Slice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn positions_outside_are_errors() {
        for text in ["6", "-7", "2:7", "4:2", "3:3", "x", "1:y", ""] {
            assert!(of_six(text).is_err(), "{text}");
        }
        let message = of_six("6").unwrap_err().to_string();
        assert_eq!(message, "layers: `keep` must be positions among 6, such as 0 or -1 or 0:6, not 6");
    }
}
