//! Parsers of argument values.

use core::str::FromStr;
use serde::Serialize;

use clap::CommandFactory;
use stepfn::{Json, LongTexts};

use super::{Cli, Threshold};

/// A name in a list: spaces around it don't count.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A text, which may begin with `-`. An option's name is not taken for one, because then the text was forgotten.
pub(super) fn text(text: &str) -> Result<String, String> {
    let is_option = Cli::command().get_subcommands().flat_map(|command| command.get_arguments()).any(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        let written = text.split_once('=').map_or(text, |(option, _)| option);
        long.as_deref() == Some(written) || short.as_deref() == Some(text)
    });
    match is_option {
        true => Err("expected a text, and this is an option; give a text that looks like one with --input".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A variable of a chat template. Its value is JSON if it parses as JSON, and a string otherwise.
pub(super) fn variable(text: &str) -> Result<(String, Json), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| "expected NAME=VALUE, such as enable_thinking=false".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Json::from(value));
    Ok((self::name(name)?, value))
}

/// What happens to texts that are too long.
pub(super) fn long(text: &str) -> Result<LongTexts, String> {
    text.trim().parse().map_err(|error: stepfn::Error| error.hint().to_owned())
}

/// Passes with dropout that are compared.
pub(super) fn passes(text: &str) -> Result<usize, String> {
    match whole(text)? {
        passes @ 2..=10_000 => Ok(passes),
        _ => Err("expected a whole number from 2 to 10000".to_owned()),
    }
}

/// A whole number.
pub(super) fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.trim().parse().map_err(|_| "expected a whole number, 0 or greater".to_owned())
}

/// A pair of an alignment, or the word that leaves all pairs to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Pair {
    /// Scored token and contrast token.
    Of(usize, usize),
    /// All of them, found automatically.
    Auto,
}

pub(super) fn pair(text: &str) -> Result<Pair, String> {
    if text.trim() == "auto" {
        return Ok(Pair::Auto);
    }
    let number = |part: &str| part.trim().parse().ok();
    let pair = text.split_once(':').and_then(|(left, right)| Some(Pair::Of(number(left)?, number(right)?)));
    pair.ok_or_else(|| "expected two numbers, as in 0:2, or auto".to_owned())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..1.0).contains(rate));
    rate.ok_or_else(|| "expected a number from 0 to below 1".to_owned())
}

pub(super) fn number(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number from 0 on".to_owned())
}

/// What is raised to a power.
pub(super) fn base(text: &str) -> Result<f64, String> {
    let base = text.trim().parse().ok().filter(|base: &f64| base.is_finite() && *base > 1.0);
    base.ok_or_else(|| "expected a number greater than 1".to_owned())
}

/// A number of standard deviations, or `none`.
pub(super) fn signed(text: &str) -> Result<Threshold, String> {
    match text.trim() {
        "none" => Ok(Threshold(None)),
        text => {
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            number.map(|number| Threshold(Some(number))).ok_or_else(|| "expected a number, or none".to_owned())
        }
    }
}

/// Limit of `stepfn bench`: more texts would not fit into memory.
const MOST_TEXTS: usize = 1 << 16;
/// Limit of `stepfn bench` for one text.
const MOST_TOKENS: usize = 1 << 17;
/// Limit of a batch.
const MOST_IN_A_BATCH: usize = 1 << 24;

pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = text.trim().parse().ok().filter(|count| (1..=MOST_TEXTS).contains(count));
    count.ok_or_else(|| format!("expected a whole number from 1 to {MOST_TEXTS}"))
}

pub(super) fn tokens(text: &str) -> Result<usize, String> {
    let tokens = text.trim().parse().ok().filter(|tokens| (1..=MOST_IN_A_BATCH).contains(tokens));
    tokens.ok_or_else(|| format!("expected a whole number from 1 to {MOST_IN_A_BATCH}"))
}

pub(super) fn top(text: &str) -> Result<usize, String> {
    let most = stepfn::MOST_ALTERNATIVES;
    let top = text.trim().parse().ok().filter(|top| (1..=most).contains(top));
    top.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

pub(super) fn length(text: &str) -> Result<usize, String> {
    let length = text.trim().parse().ok().filter(|length| (2..=MOST_TOKENS).contains(length));
    length.ok_or_else(|| {
        format!("expected a whole number from 2 (a token that is given, and one that is predicted) to {MOST_TOKENS}")
    })
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.trim().parse().ok().filter(|seconds| (0.0..=1e6).contains(seconds) && *seconds > 0.0);
    seconds.ok_or_else(|| "expected a number of seconds, greater than 0".to_owned())
}

/// No pass of any model takes less.
const LEAST_MEMORY: f64 = (1 << 20) as f64;
/// No machine has more.
const MOST_MEMORY: f64 = (1_u64 << 50) as f64;

pub(super) fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
    ];
    let upper = text.trim().to_uppercase();
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((upper.strip_suffix(name)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((upper.strip_suffix('B').unwrap_or(&upper), 1));
    let number: Option<f64> = number.trim().parse().ok().filter(|number: &f64| number.is_finite());
    match number.map(|number| number * bytes as f64) {
        Some(size) if (LEAST_MEMORY..=MOST_MEMORY).contains(&size) => Ok(size as usize),
        Some(size) if size > MOST_MEMORY => Err("expected a size that a machine may have, as in 8GiB".to_owned()),
        Some(size) if size >= 0.0 => Err("expected 1MiB or more: nothing runs in less".to_owned()),
        _ => Err("expected a size, as in 800MB or 8GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes = [
            ("8GiB", 8 << 30),
            ("1.5 gb", 1_500_000_000),
            ("7000000", 7_000_000),
            ("6400000B", 6_400_000),
            ("2m", 2 << 20),
            ("3MIB", 3 << 20),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "0", "many", "inf", "nan", "1e30"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_lengths_and_seconds_are_checked() {
        assert_eq!((count("3"), length(" 2"), seconds("0.5")), (Ok(3), Ok(2), Ok(0.5)));
        assert_eq!((whole("3"), whole::<u64>("18446744073709551615")), (Ok(3_usize), Ok(u64::MAX)));
        for text in ["-1", "1.5", "many", "", "18446744073709551616"] {
            assert_eq!(whole::<u64>(text).unwrap_err(), "expected a whole number, 0 or greater", "{text}");
        }
        assert!(count("0").is_err() && count("-1").is_err() && length("1").is_err());
        assert!(count("65537").is_err() && length("131073").is_err() && length("131072").is_ok());
        assert!(seconds("0").is_err() && seconds("nan").is_err() && seconds("inf").is_err());
    }

    #[test]
    fn a_text_may_begin_with_a_dash_but_is_no_option() {
        for words in ["- two eggs", "-1", "--", "-- she said", "--wild", ""] {
            assert_eq!(text(words).as_deref(), Ok(words));
        }
        for option in ["--step-fn", "--target=x", "-o", "--html"] {
            assert!(text(option).is_err(), "{option}");
        }
    }

    #[test]
    fn names_are_read_without_the_spaces_around_them() {
        assert_eq!(name(" entropy ").as_deref(), Ok("entropy"));
        assert!(name(" ").is_err() && name("").is_err());
    }

    #[test]
    fn variables_have_a_name_and_a_value() {
        assert_eq!(variable("enable_thinking=false"), Ok(("enable_thinking".to_owned(), Json::Bool(false))));
        assert_eq!(variable("date=1 May"), Ok(("date".to_owned(), Json::from("1 May"))));
        assert!(variable("enable_thinking").is_err() && variable("=1").is_err());
    }

    #[test]
    fn pairs_and_rates_are_checked() {
        assert_eq!((pair("3:14"), pair("auto")), (Ok(Pair::Of(3, 14)), Ok(Pair::Auto)));
        assert!(pair("3").is_err() && pair("3:x").is_err() && pair("-1:2").is_err());
        assert_eq!(rate("0.1"), Ok(0.1));
        assert!(rate("1").is_err() && rate("nan").is_err() && rate("-0.1").is_err());
    }
}
