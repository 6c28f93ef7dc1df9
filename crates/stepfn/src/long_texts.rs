//! Texts that are longer than a model's positions.

use core::str::FromStr;

use stepfn_attribution::Windows;
use stepfn_models::config::TransformerConfig;

use crate::{Error, ErrorKind, Result};

/// What happens to a text that is longer than the model's positions, or than those that it was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LongTexts {
    /// It is an error.
    #[default]
    Error,
    /// Tokens that the model has no position for have no score.
    Truncate,
    /// It is read in windows, see [`Windows`].
    Windows {
        /// How many tokens each window but the first predicts; half the model's positions by default.
        stride: Option<usize>,
    },
}

impl FromStr for LongTexts {
    type Err = Error;

    /// From `error`, `truncate`, `windows` or `windows:N`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |hint: &str| Error::new(ErrorKind::Option, format!("`{text}` is not what can happen to long texts"), hint);
        match text.split_once(':') {
            None if text == "error" => Ok(Self::Error),
            None if text == "truncate" => Ok(Self::Truncate),
            None if text == "windows" => Ok(Self::Windows { stride: None }),
            Some(("windows", stride)) => match stride.parse() {
                Ok(stride) if stride > 0 => Ok(Self::Windows { stride: Some(stride) }),
                _ => Err(wrong("windows go on by 1 token or more: windows:256")),
            },
            _ => Err(wrong("choose error, truncate, windows or windows:N")),
        }
    }
}

/// The windows over texts that are too long.
pub(crate) fn windows(long: LongTexts, config: &TransformerConfig) -> Option<Windows> {
    let LongTexts::Windows { stride } = long else { return None };
    let half = config.decoder.positions.made_for().map_or(1, |most| most.div_ceil(2));
    Some(Windows { stride: stride.unwrap_or(half) })
}
