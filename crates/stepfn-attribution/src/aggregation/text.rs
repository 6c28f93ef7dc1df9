//! The short form of a pipeline, for a shell: `layers=0:4,mean,subwords,normalize`.
//!
//! Stages are separated by commas; a stage is a name, `name=argument` or `name(arguments)`; an argument is `value` or `key=value`. Values
//! with commas, brackets or quotes in them are quoted: `split("a, b")`, a quote inside doubled.

use core::fmt;
use core::str::FromStr;

use super::names::unknown_stage;
use super::{Function, Pipeline, Separator, Side, Slice, SplitMode, Stage};
use crate::{AttributionError, Axis, ParameterError};

fn wrong(stage: &str, expected: impl Into<String>, found: impl Into<String>) -> AttributionError {
    AttributionError::from(ParameterError::new("aggregation", stage.to_owned(), expected.into(), found.into()))
}

impl FromStr for Pipeline {
    type Err = AttributionError;

    /// The short form, or JSON if it begins with `[`.
    fn from_str(text: &str) -> Result<Self, AttributionError> {
        let text = text.trim();
        if text.starts_with('[') {
            return super::json::read(text);
        }
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        Ok(Self(pieces(text)?.into_iter().map(|piece| piece.trim().parse()).collect::<Result<_, _>>()?))
    }
}

impl FromStr for Stage {
    type Err = AttributionError;

    fn from_str(text: &str) -> Result<Self, AttributionError> {
        let (name, arguments) = match text.find(['(', '=']) {
            None => (text, Vec::new()),
            Some(at) if text[at..].starts_with('=') => (&text[..at], vec![Argument::of(&text[at + 1..], false)]),
            Some(at) => {
                let inside = text[at + 1..].strip_suffix(')');
                let inside = inside.ok_or_else(|| wrong(&text[..at], "a closing bracket at the end", text))?;
                let pieces = if inside.trim().is_empty() { Vec::new() } else { pieces(inside)? };
                (&text[..at], pieces.into_iter().map(|piece| Argument::of(piece, true)).collect())
            }
        };
        stage(name.trim(), arguments)
    }
}

struct Argument {
    key: Option<String>,
    value: String,
}

impl Argument {
    fn of(text: &str, may_have_key: bool) -> Self {
        let text = text.trim();
        let name = |key: &str| key.chars().all(|character| character.is_ascii_lowercase() || character == '_');
        match text.split_once('=') {
            Some((key, value)) if may_have_key && !key.is_empty() && name(key.trim_end()) => {
                Self { key: Some(key.trim_end().to_owned()), value: unquoted(value.trim()) }
            }
            _ => Self { key: None, value: unquoted(text) },
        }
    }
}

fn stage(name: &str, arguments: Vec<Argument>) -> Result<Stage, AttributionError> {
    let unknown = |argument: &Argument, expected: &str| {
        let key = argument.key.as_ref().map(|key| format!("{key}=")).unwrap_or_default();
        wrong(name, expected, format!("`{key}{}`", argument.value))
    };
    if let Ok(function) = name.parse::<Function>() {
        let mut axis = None;
        for argument in arguments {
            let named = INNER.into_iter().find(|axis| argument.key.is_none() && axis.name() == argument.value);
            axis = Some(named.ok_or_else(|| unknown(&argument, "hidden, layer or head"))?);
        }
        return Ok(Stage::Reduce { function, axis });
    }
    let selected = match name {
        "layers" => Some(Axis::Layer),
        "heads" => Some(Axis::Head),
        "hidden" => Some(Axis::Hidden),
        _ => None,
    };
    if let Some(axis) = selected {
        let keep: Vec<Slice> = arguments.iter().map(|argument| argument.value.parse()).collect::<Result<_, _>>()?;
        if keep.is_empty() {
            return Err(wrong(name, format!("positions, such as {name}=0:4 or {name}(0,-1)"), "none"));
        }
        return Ok(Stage::Select { axis, keep });
    }
    match name {
        "normalize" | "pair" => match arguments.first() {
            Some(argument) => Err(unknown(argument, "nothing in brackets")),
            None if name == "pair" => Ok(Stage::Pair),
            None => Ok(Stage::Normalize),
        },
        "spans" | "slices" => {
            let (mut source, mut target, mut function) = (Vec::new(), Vec::new(), Function::AbsMax);
            for argument in &arguments {
                match argument.key.as_deref() {
                    Some("source") => source.push(argument.value.parse()?),
                    Some("target") => target.push(argument.value.parse()?),
                    None if name == "spans" => function = argument.value.parse()?,
                    _ => return Err(unknown(argument, "source=0:2 or target=1:3, as often as needed")),
                }
            }
            match name {
                "spans" => Ok(Stage::Spans { source, target, function }),
                _ => Ok(Stage::Slices { source, target }),
            }
        }
        "characters" | "messages" | "sentences" | "lines" => {
            let function = arguments.iter().try_fold(Function::AbsMax, |_, argument| match &argument.key {
                None => argument.value.parse(),
                Some(_) => Err(unknown(argument, "a function")),
            })?;
            Ok(match name {
                "characters" => Stage::Characters { function },
                "messages" => Stage::Messages { function },
                "sentences" => Stage::Sentences { function },
                _ => Stage::Lines { function },
            })
        }
        "subwords" => {
            let (mut side, mut function) = (None, Function::AbsMax);
            for argument in &arguments {
                match (&argument.key, Side::named(&argument.value)) {
                    (None, Some(named)) => side = Some(named),
                    (None, None) => function = argument.value.parse()?,
                    _ => return Err(unknown(argument, "source or target, and a function")),
                }
            }
            Ok(Stage::Subwords { side, function })
        }
        "split" => split(&arguments),
        _ => Err(unknown_stage(name)),
    }
}

fn split(arguments: &[Argument]) -> Result<Stage, AttributionError> {
    let (mut separator, mut mode, mut function) = (None, SplitMode::default(), Function::AbsMax);
    for argument in arguments {
        let value = &argument.value;
        match argument.key.as_deref() {
            Some("pattern") => separator = Some(Separator::Pattern(value.clone())),
            Some("text") => separator = Some(Separator::Text(value.clone())),
            Some(_) => return Err(wrong("split", "text=… or pattern=…", format!("`{value}`"))),
            None if separator.is_none() => separator = Some(Separator::Text(value.clone())),
            None => match SplitMode::ALL.into_iter().find(|mode| mode.name() == value) {
                Some(named) => mode = named,
                None => function = value.parse()?,
            },
        }
    }
    let separator = separator.ok_or_else(|| wrong("split", "a text to split at, such as split(\". \")", "none"))?;
    Ok(Stage::Split { separator, mode, function })
}

const INNER: [Axis; 3] = [Axis::Hidden, Axis::Layer, Axis::Head];

/// Splits at commas outside parentheses and quotes.
fn pieces(text: &str) -> Result<Vec<&str>, AttributionError> {
    let (mut depth, mut quote, mut start, mut pieces) = (0u32, None, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.checked_sub(1).ok_or_else(|| wrong("brackets", "an opening one for each", text))?;
            }
            (None, ',') if depth == 0 => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    if depth != 0 || quote.is_some() {
        return Err(wrong("brackets and quotes", "a closing one for each", text));
    }
    pieces.push(&text[start..]);
    Ok(pieces)
}

fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    text.to_owned()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<String> = self.0.iter().map(Stage::to_string).collect();
        f.write_str(&stages.join(","))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = |function: &Function| (*function != Function::AbsMax).then(|| function.to_string());
        let positions = |source: &[Slice], target: &[Slice]| -> Vec<String> {
            let of = |side: &str, slices: &[Slice]| -> Vec<String> {
                slices.iter().map(|slice| format!("{side}={slice}")).collect()
            };
            [of("source", source), of("target", target)].concat()
        };
        let (name, arguments) = match self {
            Self::Reduce { function, axis } => {
                (function.name(), axis.iter().map(|axis| axis.name().to_owned()).collect())
            }
            Self::Select { axis, keep } => {
                let name = match axis {
                    Axis::Layer => "layers",
                    Axis::Head => "heads",
                    _ => "hidden",
                };
                (name, keep.iter().map(Slice::to_string).collect())
            }
            Self::Normalize => ("normalize", Vec::new()),
            Self::Pair => ("pair", Vec::new()),
            Self::Spans { source, target, function: by } => {
                ("spans", positions(source, target).into_iter().chain(function(by)).collect())
            }
            Self::Slices { source, target } => ("slices", positions(source, target)),
            Self::Characters { function: by } => ("characters", function(by).into_iter().collect()),
            Self::Messages { function: by } => ("messages", function(by).into_iter().collect()),
            Self::Sentences { function: by } => ("sentences", function(by).into_iter().collect()),
            Self::Lines { function: by } => ("lines", function(by).into_iter().collect()),
            Self::Subwords { side, function: by } => {
                ("subwords", side.iter().map(|side| side.name().to_owned()).chain(function(by)).collect())
            }
            Self::Split { separator, mode, function: by } => {
                let separator = match separator {
                    Separator::Text(text) => quoted(text),
                    Separator::Pattern(pattern) => format!("pattern={}", quoted(pattern)),
                };
                let mode = (*mode != SplitMode::Single).then(|| mode.name().to_owned());
                ("split", [separator].into_iter().chain(mode).chain(function(by)).collect::<Vec<_>>())
            }
        };
        f.write_str(name)?;
        if arguments.is_empty() { Ok(()) } else { write!(f, "({})", arguments.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_forms() {
        let pipeline: Pipeline = "layers=0:4, mean(layer),subwords,normalize".parse().unwrap();
        assert_eq!(
            pipeline.0,
            [
                Stage::Select { axis: Axis::Layer, keep: vec![Slice::Run { start: Some(0), end: Some(4) }] },
                Stage::Reduce { function: Function::Mean, axis: Some(Axis::Layer) },
                Stage::Subwords { side: None, function: Function::AbsMax },
                Stage::Normalize,
            ]
        );
        assert_eq!(pipeline.to_string(), "layers(0:4),mean(layer),subwords,normalize");
        let split: Pipeline = r#"split("a, ""b"" )",end),split(pattern='\.',sum)"#.parse().unwrap();
        let Stage::Split { separator, mode, .. } = &split.0[0] else { panic!("{split}") };
        assert_eq!((separator, mode), (&Separator::Text("a, \"b\" )".to_owned()), &SplitMode::End));
        assert_eq!("".parse::<Pipeline>().unwrap(), Pipeline(Vec::new()));
    }

    #[test]
    fn json_is_taken_too() {
        let pipeline: Pipeline =
            r#"[{"stage":"spans","target":["0:2"]},{"stage":"reduce","function":"vnorm"},{"stage":"normalize"}]"#
                .parse()
                .unwrap();
        assert_eq!(pipeline.to_string(), "spans(target=0:2),vnorm,normalize");
        assert!(r#"[{"stage":"spans","targets":["0:2"]}]"#.parse::<Pipeline>().is_err());
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, part) in [
            ("sub_words", "one of mean, max, min"),
            ("vnorm(token)", "hidden, layer or head"),
            ("layers", "layers=0:4"),
            ("spans(source=a)", "such as 0:4"),
            ("spans(left=0:2)", "source=0:2"),
            ("normalize(2)", "nothing in brackets"),
            ("split(", "closing"),
            ("split()", "a text to split at"),
            ("mean)", "opening"),
            ("subwords(median)", "one of mean"),
        ] {
            let message = text.parse::<Pipeline>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    fn function() -> impl Strategy<Value = Function> {
        prop::sample::select(Function::ALL.to_vec())
    }

    fn slices() -> impl Strategy<Value = Vec<Slice>> {
        let run =
            (prop::option::of(-9i64..9), prop::option::of(-9i64..9)).prop_map(|(start, end)| Slice::Run { start, end });
        prop::collection::vec(prop_oneof![(-9i64..9).prop_map(Slice::At), run], 1..3)
    }

    fn any_stage() -> impl Strategy<Value = Stage> {
        let axis = prop::sample::select(INNER.to_vec());
        let mode = prop::sample::select(SplitMode::ALL.to_vec());
        let side = prop::option::of(prop::sample::select(vec![Side::Source, Side::Target]));
        let separator = prop_oneof![".{1,4}".prop_map(Separator::Text), ".{1,4}".prop_map(Separator::Pattern)];
        prop_oneof![
            (function(), prop::option::of(axis.clone())).prop_map(|(function, axis)| Stage::Reduce { function, axis }),
            (axis, slices()).prop_map(|(axis, keep)| Stage::Select { axis, keep }),
            Just(Stage::Normalize),
            Just(Stage::Pair),
            (slices(), slices(), function()).prop_map(|(source, target, function)| Stage::Spans {
                source,
                target,
                function
            }),
            (slices(), slices()).prop_map(|(source, target)| Stage::Slices { source, target }),
            function().prop_map(|function| Stage::Characters { function }),
            function().prop_map(|function| Stage::Messages { function }),
            function().prop_map(|function| Stage::Sentences { function }),
            function().prop_map(|function| Stage::Lines { function }),
            (side, function()).prop_map(|(side, function)| Stage::Subwords { side, function }),
            (separator, mode, function()).prop_map(|(separator, mode, function)| Stage::Split {
                separator,
                mode,
                function
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(stages in prop::collection::vec(any_stage(), 0..4)) {
            let pipeline = Pipeline(stages);
            prop_assert_eq!(pipeline.to_string().parse::<Pipeline>().unwrap(), pipeline.clone());
            let json = serde_json::to_string(&pipeline).unwrap();
            prop_assert_eq!(json.parse::<Pipeline>().unwrap(), pipeline);
        }

        #[test]
        fn no_text_panics(text in "[a-z=(),:\"' 0-9-]{0,24}") {
            drop(text.parse::<Pipeline>());
        }
    }
}
