//! The texts that were asked for: from the command line, or line by line from a file.

use core::ops::Range;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepfn_attribution::Request;
use stepfn_core::Alignment;

use crate::args::{ContrastArgs, TextArgs};
use crate::failure::Failure;

/// Lines of the first window. Each is twice as long as the one before, so that the first results come soon and the rest come fast.
const FIRST_WINDOW: usize = 8;
/// Lines of the longest window: enough texts of like length for full batches.
const LAST_WINDOW: usize = 512;

/// A request or why it is none, with the place that it comes from, if it is worth telling.
pub(crate) struct Asked {
    pub(crate) request: Result<Request, Failure>,
    pub(crate) spans: Spans,
    pub(crate) place: Option<String>,
}

/// Parts of a text that are hidden and shown as one, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Spans {
    pub(crate) source: Vec<Range<usize>>,
    pub(crate) target: Vec<Range<usize>>,
}

impl Spans {
    /// An error if there are any, for a command that hides nothing.
    pub(crate) fn none(&self) -> Result<(), Failure> {
        match self.source.is_empty() && self.target.is_empty() {
            true => Ok(()),
            false => Err(Failure::work(
                "the fields source_spans and target_spans say what is hidden as one, and this command hides nothing",
                "leave them out, or use `stepfn attribute`",
            )),
        }
    }

    /// The parameters of an attribution, with the spans that there are.
    pub(crate) fn told_in(&self, mut parameters: Map<String, Value>) -> Map<String, Value> {
        for (name, spans) in [("source_spans", &self.source), ("target_spans", &self.target)] {
            if !spans.is_empty() {
                let pairs: Vec<[usize; 2]> = spans.iter().map(|span| [span.start, span.end]).collect();
                parameters.insert(name.to_owned(), json!(pairs));
            }
        }
        parameters
    }
}

/// What the command line says, before there is a model.
pub(crate) enum Typed {
    /// What a text on its own is depends on the model.
    Texts { texts: Vec<String>, common: Request },
    /// What does not.
    Ready(Inputs),
}

/// Requests in windows.
pub(crate) enum Inputs {
    /// All at once.
    Given(Vec<Request>),
    /// As they are read.
    Lines { reader: Box<dyn BufRead>, name: String, line: usize, window: usize, alignment: Alignment },
}

impl Typed {
    /// What the command line says.
    pub(crate) fn new(texts: &TextArgs, contrast: &ContrastArgs) -> Result<Self, Failure> {
        let alignment = match contrast.align.as_slice() {
            [] => Alignment::OneToOne,
            pairs => Alignment::Pairs(pairs.to_vec()),
        };
        if let Some(path) = &texts.input {
            return Inputs::lines(path, alignment).map(Self::Ready);
        }
        let common = Request {
            source: texts.source.clone(),
            target: texts.target.clone(),
            contrast_source: contrast.contrast_source.clone(),
            contrast_target: contrast.contrast_target.clone(),
            alignment,
        };
        match (texts.text.as_slice(), &common.source, &common.target) {
            ([], None, None) => Err(nothing_asked()),
            ([], ..) => Ok(Self::Ready(Inputs::Given(vec![common]))),
            (texts, ..) => Ok(Self::Texts { texts: texts.to_vec(), common }),
        }
    }

    /// The same for a model: a text on its own is a source for an encoder, and what a causal model is to have said.
    pub(crate) fn read_by(self, is_encoder_decoder: bool) -> Result<Inputs, Failure> {
        let (texts, common) = match self {
            Self::Texts { texts, common } => (texts, common),
            Self::Ready(inputs) => return Ok(inputs),
        };
        let (taken, name) = match is_encoder_decoder {
            true => (common.source.is_some(), "source"),
            false => (common.target.is_some(), "target"),
        };
        if taken {
            let what = format!("both TEXT and --{name} were given, and for this model a TEXT is a {name}");
            return Err(Failure::usage(what, format!("leave out one of them: TEXT… or --{name}")));
        }
        let request = |text| match is_encoder_decoder {
            true => Request { source: Some(text), ..common.clone() },
            false => Request { target: Some(text), ..common.clone() },
        };
        Ok(Inputs::Given(texts.into_iter().map(request).collect()))
    }
}

impl Inputs {
    /// Sources alone.
    pub(crate) fn sources(text: &[String], source: Option<&String>, input: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = input {
            return Self::lines(path, Alignment::OneToOne);
        }
        let request = |source: &String| Request { source: Some(source.clone()), ..Request::default() };
        let requests: Vec<Request> = text.iter().chain(source).map(request).collect();
        if requests.is_empty() { Err(nothing_asked()) } else { Ok(Self::Given(requests)) }
    }

    fn lines(path: &Path, alignment: Alignment) -> Result<Self, Failure> {
        let hint = "give a file of JSON lines, or - for standard input";
        let (name, reader): (String, Box<dyn BufRead>) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), Box::new(BufReader::new(io::stdin())))
        } else {
            let name = path.display().to_string();
            let failed = |message: String| Failure::work(format!("{name}: {message}"), hint);
            if path.is_dir() {
                return Err(failed("expected a file, found a folder".to_owned()));
            }
            let file = File::open(path).map_err(|error| failed(error.to_string()))?;
            (name, Box::new(BufReader::new(file)))
        };
        Ok(Self::Lines { reader, name, line: 0, window: FIRST_WINDOW, alignment })
    }

    /// Whether there is one text only, given by itself, of which a failure is the program's.
    pub(crate) fn is_single(&self) -> bool {
        self.len() == Some(1)
    }

    /// How many texts there are, if that is known.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Given(requests) => Some(requests.len()),
            Self::Lines { .. } => None,
        }
    }

    /// The next requests; none at the end.
    pub(crate) fn next_window(&mut self) -> Result<Vec<Asked>, Failure> {
        match self {
            Self::Given(requests) => {
                let asked = |request| Asked { request: Ok(request), spans: Spans::default(), place: None };
                Ok(core::mem::take(requests).into_iter().map(asked).collect())
            }
            Self::Lines { reader, name, line, window, alignment } => {
                let mut asked = Vec::new();
                let mut bytes = Vec::new();
                while asked.len() < *window {
                    bytes.clear();
                    let read = reader.read_until(b'\n', &mut bytes);
                    let read = read.map_err(|error| Failure::work(format!("{name}: {error}"), "check the file"))?;
                    if read == 0 {
                        break;
                    }
                    *line += 1;
                    if !bytes.trim_ascii().is_empty() {
                        let place = format!("{name}, line {line}");
                        let (request, spans) = match parse(&bytes, alignment) {
                            Ok((request, spans)) => (Ok(request), spans),
                            Err(failure) => (Err(failure.at(&place)), Spans::default()),
                        };
                        asked.push(Asked { request, spans, place: Some(place) });
                    }
                }
                *window = (*window * 2).min(LAST_WINDOW);
                Ok(asked)
            }
        }
    }
}

fn nothing_asked() -> Failure {
    Failure::usage("no text was given", "give texts, --source, --target, or --input FILE (`-` for standard input)")
}

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    contrast_source: Option<String>,
    #[serde(default)]
    contrast_target: Option<String>,
    #[serde(default)]
    source_spans: Option<Vec<(usize, usize)>>,
    #[serde(default)]
    target_spans: Option<Vec<(usize, usize)>>,
}

fn parse(bytes: &[u8], alignment: &Alignment) -> Result<(Request, Spans), Failure> {
    let hint = "write one object per line: {\"source\": …, \"target\": …}; see --help for all fields";
    let text = core::str::from_utf8(bytes).map_err(|error| {
        Failure::work(format!("not UTF-8, from byte {} on", error.valid_up_to()), "save the file as UTF-8")
    })?;
    let line: Line = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // A line is all that was read, and its number is told already.
        let message = message.rsplit_once(" at line").map_or(message.as_str(), |(message, _)| message);
        Failure::work(format!("{message}, at column {}", error.column()), hint)
    })?;
    let Line { source, target, contrast_source, contrast_target, source_spans, target_spans } = line;
    if source.is_none() && target.is_none() {
        return Err(Failure::work("neither `source` nor `target`", hint));
    }
    let ranges = |pairs: Option<Vec<(usize, usize)>>| {
        pairs.unwrap_or_default().into_iter().map(|(start, end)| start..end).collect()
    };
    let spans = Spans { source: ranges(source_spans), target: ranges(target_spans) };
    Ok((Request { source, target, contrast_source, contrast_target, alignment: alignment.clone() }, spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &'static str) -> Vec<Vec<Asked>> {
        let reader = Box::new(text.as_bytes());
        let name = "x".to_owned();
        let mut inputs = Inputs::Lines { reader, name, line: 0, window: FIRST_WINDOW, alignment: Alignment::OneToOne };
        let next = || inputs.next_window().map(|window| (!window.is_empty()).then_some(window)).unwrap();
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_are_requests_or_failures_that_say_where() {
        let windows = windows(concat!(
            "{\"source\": \"a\"}\n\n",
            "{\"target\": \"b\", \"contrast_target\": \"c\", \"target_spans\": [[0, 1]], \"source_spans\": null}\n",
            "{\"sauce\": \"a\"}\n{}\n[1\n{\"source\": 3}\n{\"source\": \"a\", \"source_spans\": [[-1, 2]]}"
        ));
        let asked: Vec<&Asked> = windows.iter().flatten().collect();
        assert_eq!(asked[0].request.as_ref().unwrap().source.as_deref(), Some("a"));
        assert_eq!(asked[1].request.as_ref().unwrap().contrast_target.as_deref(), Some("c"));
        let spans = Spans { target: core::iter::once(0..1).collect(), ..Spans::default() };
        assert_eq!((&asked[0].spans, &asked[1].spans), (&Spans::default(), &spans));
        for (asked, says) in asked[2..].iter().zip([
            "x, line 4: unknown field `sauce`",
            "x, line 5: neither `source` nor `target`",
            "x, line 6: ",
            "x, line 7: invalid type: integer `3`, expected a string, at column 12",
            "x, line 8: invalid value: integer `-1`, expected usize, at column ",
        ]) {
            let failure = asked.request.as_ref().unwrap_err();
            assert!(failure.what.starts_with(says), "{}", failure.what);
            assert_eq!(failure.code, 1);
        }
        assert!(parse(b"\"\xFF\"", &Alignment::OneToOne).unwrap_err().what.contains("from byte 1 on"));
    }

    #[test]
    fn windows_grow() {
        let text: &'static str = "{\"source\": \"a\"}\n".repeat(30).leak();
        let sizes: Vec<usize> = windows(text).iter().map(Vec::len).collect();
        assert_eq!(sizes, [8, 16, 6]);
    }
}
