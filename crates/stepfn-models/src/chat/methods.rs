//! Python's methods of strings, lists and dicts, as far as templates may call them: those that change nothing.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::strings::{self, Ends};
use super::values::invalid;

/// Calls a method that the engine doesn't have.
///
/// # Errors
/// For a method that isn't known, or wrong arguments.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => of_string(state, value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => of_dict(state, value, method, args),
        ValueKind::Seq => of_list(state, value, method, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// A method of a dict.
///
/// # Errors
/// As [`call`].
pub(super) fn of_dict(state: &State<'_, '_>, dict: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        let keys: Vec<Value> = dict.try_iter()?.collect();
        state.consume_fuel(1 + keys.len() as u64)?;
        keys.into_iter().map(|key| Ok((key.clone(), dict.get_item(&key)?))).collect()
    };
    match method {
        "items" => {
            let () = from_args(args)?;
            Ok(pairs()?.into_iter().map(|(key, value)| Value::from(Tuple::from([key, value]))).collect())
        }
        "keys" => {
            let () = from_args(args)?;
            Ok(pairs()?.into_iter().map(|(key, _)| key).collect())
        }
        "values" => {
            let () = from_args(args)?;
            Ok(pairs()?.into_iter().map(|(_, value)| value).collect())
        }
        "copy" => {
            let () = from_args(args)?;
            Ok(dict.clone())
        }
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = dict.get_item(key).unwrap_or_default();
            Ok(if found.is_undefined() { default.unwrap_or_else(|| Value::from(())) } else { found })
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn of_list(state: &State<'_, '_>, list: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "copy" => {
            let () = from_args(args)?;
            Ok(list.clone())
        }
        "count" | "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            state.consume_fuel(1 + list.len().unwrap_or_default() as u64)?;
            let mut items = list.try_iter()?;
            match (method, items.position(|item| item == *wanted)) {
                ("index", None) => Err(invalid("index: the list doesn't have this item")),
                ("index", Some(at)) => Ok(at.into()),
                (_, None) => Ok(0.into()),
                (_, Some(_)) => Ok((1 + items.filter(|item| item == wanted).count()).into()),
            }
        }
        "append" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" | "clear" => {
            Err(invalid(format!("{method}: a template must not change lists that it was given")))
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

#[allow(clippy::too_many_lines, reason = "one line for each method")]
fn of_string(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    // Most methods look at the whole text.
    state.consume_fuel(1 + text.len() as u64 / 64)?;
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (signs,): (Option<Value>,) = from_args(args)?;
            let ends = match method {
                "strip" => Ends::BOTH,
                "lstrip" => Ends::START,
                _ => Ends::END,
            };
            let signs = optional_text(signs.as_ref())?;
            let work = text.len().saturating_mul(signs.map_or(0, str::len));
            state.consume_fuel(work as u64 / 4096)?;
            Ok(strings::strip(text, signs, ends).into())
        }
        "split" | "rsplit" => {
            let (given, named): (Rest<Value>, Kwargs) = from_args(args)?;
            let separator =
                given.first().cloned().map_or_else(|| named.get::<Option<Value>>("sep"), |sep| Ok(Some(sep)))?;
            let most =
                given.get(1).cloned().map_or_else(|| named.get::<Option<Value>>("maxsplit"), |most| Ok(Some(most)))?;
            named.assert_all_used()?;
            let most = match most {
                None => None,
                Some(most) => {
                    let most = most.as_i64().ok_or_else(|| invalid("split: `maxsplit` must be a number"))?;
                    usize::try_from(most).ok()
                }
            };
            let separator = optional_text(separator.as_ref())?;
            if separator == Some("") {
                return Err(invalid("split: the separator is empty"));
            }
            let parts = strings::split(text, separator, most, method == "rsplit");
            state.consume_fuel(parts.len() as u64)?;
            Ok(parts.into_iter().map(Value::from).collect())
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            Ok(strings::lines(text, keep.unwrap_or(false)).into_iter().map(Value::from).collect())
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(invalid("partition: the separator is empty"));
            }
            let from_end = method == "rpartition";
            let found = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if from_end => ["", "", text],
                None => [text, "", ""],
            };
            Ok(Value::from(Tuple::new(parts.map(Value::from).into())))
        }
        "startswith" | "endswith" => {
            let (ends,): (&Value,) = from_args(args)?;
            let matches = |end: &str| if method == "startswith" { text.starts_with(end) } else { text.ends_with(end) };
            match ends.as_str() {
                Some(end) => Ok(matches(end).into()),
                None if ends.is_tuple() => {
                    let mut found = false;
                    for end in ends.try_iter()? {
                        let end = end.as_str().ok_or_else(|| invalid(format!("{method}: expected strings")))?;
                        found |= matches(end);
                    }
                    Ok(found.into())
                }
                None => Err(invalid(format!("{method}: expected a string or a tuple of strings"))),
            }
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "replace" => {
            let (old, new, most): (&str, &str, Option<i64>) = from_args(args)?;
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() }.min(most);
            state.consume_fuel((found.saturating_mul(new.len()) / 64) as u64)?;
            Ok(text.replacen(old, new, found).into())
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let mut joined = String::new();
            for (i, item) in items.try_iter()?.enumerate() {
                let item =
                    item.as_str().map(str::to_owned).ok_or_else(|| invalid("join: expected a list of strings"))?;
                state.consume_fuel(1 + (text.len() + item.len()) as u64 / 64)?;
                if i > 0 {
                    joined.push_str(text);
                }
                joined.push_str(&item);
            }
            Ok(joined.into())
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let found = if method.starts_with('r') { text.rfind(wanted) } else { text.find(wanted) };
            match found {
                Some(at) => Ok(text.get(..at).unwrap_or_default().chars().count().into()),
                None if method.ends_with("find") => Ok((-1).into()),
                None => Err(invalid(format!("{method}: the string doesn't have this part"))),
            }
        }
        "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            Ok(text.matches(wanted).count().into())
        }
        "format" => {
            state.consume_fuel(widths(text))?;
            minijinja::formatting::format(minijinja::formatting::FormatStyle::StrFormat, text, args).map(Value::from)
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            let missing = width.saturating_sub(text.chars().count());
            state.consume_fuel(missing as u64)?;
            Ok(strings::padded(text, method, missing, fill.unwrap_or(' ')).into())
        }
        _ => {
            let () = from_args(args)?;
            simple(text, method).ok_or_else(|| ErrorKind::UnknownMethod.into())
        }
    }
}

/// The methods without arguments.
fn simple(text: &str, method: &str) -> Option<Value> {
    let all = |is: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(is));
    let cased =
        |is: fn(char) -> bool, not: fn(char) -> bool| Value::from(text.chars().any(is) && !text.chars().any(not));
    Some(match method {
        "upper" => text.to_uppercase().into(),
        "lower" | "casefold" => text.to_lowercase().into(),
        "title" => strings::title(text).into(),
        "capitalize" => strings::capitalize(text).into(),
        "swapcase" => strings::swap_case(text).into(),
        "isspace" => all(strings::is_space),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => text.is_ascii().into(),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        _ => return None,
    })
}

fn optional_text(value: Option<&Value>) -> Result<Option<&str>, Error> {
    match value {
        None => Ok(None),
        Some(none) if none.is_none() => Ok(None),
        Some(text) => text.as_str().map(Some).ok_or_else(|| invalid("expected a string")),
    }
}

/// The numbers in a format string, added up: at least as many characters as its widths and precisions ask for.
fn widths(format: &str) -> u64 {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.fold(0, |sum: u64, digits| sum.saturating_add(digits.parse().unwrap_or(u64::MAX)))
}
