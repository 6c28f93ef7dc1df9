//! The input texts, from the command line or line by line from a file.

mod bounded;

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use stepfn::{Alignment, Error, ErrorKind, Input};

use crate::args::{ContrastArgs, TextArgs};
use crate::failure::Failure;
use crate::progress::{Ends, Extent};
use bounded::{BoundedLines, LONGEST, Line as ReadLine};

/// An iterator over the texts; a file is read lazily.
pub(crate) enum Inputs {
    /// From the command line.
    Given(std::vec::IntoIter<Input>),
    /// From a file.
    Lines(Lines),
}

/// The lines of a file.
pub(crate) struct Lines {
    reader: BoundedLines,
    name: String,
    /// Bytes of the file, if it has an end that is known.
    size: Option<u64>,
    /// Where each text ends in the file.
    ends: Ends,
    line: usize,
    alignment: Alignment,
}

impl Inputs {
    /// The inputs that the command line describes.
    pub(crate) fn new(texts: &TextArgs, contrast: &ContrastArgs) -> Result<Self, Failure> {
        let alignment = match contrast.align.as_slice() {
            [] => Alignment::OneToOne,
            pairs => Alignment::Pairs(pairs.to_vec()),
        };
        let common = Input {
            source: texts.source.clone(),
            target: texts.target.clone(),
            contrast_source: contrast.contrast_source.clone(),
            contrast_target: contrast.contrast_target.clone(),
            alignment,
            ..Input::default()
        };
        if let Some(path) = &texts.input {
            return Lines::open(path, common.alignment).map(Self::Lines);
        }
        let of_text = |text: &String| Input { text: Some(text.clone()), ..common.clone() };
        match (texts.text.as_slice(), &common.source, &common.target) {
            ([], None, None) => Err(nothing_asked()),
            ([], ..) => Ok(Self::given(vec![common])),
            (texts, ..) => Ok(Self::given(texts.iter().map(of_text).collect())),
        }
    }

    /// Sources or prompts only.
    pub(crate) fn sources(text: &[String], source: Option<&String>, input: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = input {
            return Lines::open(path, Alignment::OneToOne).map(Self::Lines);
        }
        let sources: Vec<Input> = text.iter().chain(source).map(Input::source).collect();
        if sources.is_empty() { Err(nothing_asked()) } else { Ok(Self::given(sources)) }
    }

    /// If there are several texts, errors say which one.
    fn given(mut inputs: Vec<Input>) -> Self {
        if inputs.len() > 1 {
            for (number, input) in inputs.iter_mut().enumerate() {
                input.place = Some(format!("text {number}"));
            }
        }
        Self::Given(inputs.into_iter())
    }

    /// How much there is to do, as far as that is known.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Given(inputs) => Extent::Texts(inputs.len()),
            Self::Lines(Lines { size: Some(size), ends, .. }) => Extent::Bytes(*size, ends.clone()),
            Self::Lines(_) => Extent::Unknown,
        }
    }

    /// The number of texts, if known.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Given(inputs) => Some(inputs.len()),
            Self::Lines(_) => None,
        }
    }
}

impl Iterator for Inputs {
    type Item = stepfn::Result<Input>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Given(inputs) => inputs.next().map(Ok),
            Self::Lines(lines) => lines.next(),
        }
    }
}

impl Lines {
    fn open(path: &Path, alignment: Alignment) -> Result<Self, Failure> {
        let hint = "give a file of JSON lines, or - for standard input";
        let (name, reader, size): (String, Box<dyn BufRead>, Option<u64>) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), Box::new(BufReader::new(io::stdin())), None)
        } else {
            let name = path.display().to_string();
            let failed = |message: String| Failure::work(format!("{name}: {message}"), hint);
            if path.is_dir() {
                return Err(failed("this is a folder".to_owned()));
            }
            let file = File::open(path).map_err(|error| failed(error.to_string()))?;
            // Pipes and devices have no size.
            let size = file.metadata().ok().filter(Metadata::is_file).map(|file| file.len());
            (name, Box::new(BufReader::new(file)), size)
        };
        Ok(Self::new(reader, name, size, alignment))
    }

    fn new(reader: Box<dyn BufRead>, name: String, size: Option<u64>, alignment: Alignment) -> Self {
        Self { reader: BoundedLines::new(reader), name, size, ends: Ends::default(), line: 0, alignment }
    }

    /// The error of a line that is too long.
    fn too_long(&self, hint: &str) -> Error {
        let most = LONGEST >> 20;
        let what = format!("{}, line {}: the line is longer than {most} MiB", self.name, self.line);
        Error::new(ErrorKind::Text, what, hint)
    }
}

impl Iterator for Lines {
    type Item = stepfn::Result<Input>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let read = self.reader.next();
            self.line += 1;
            let bytes = match read {
                Ok(None) => return None,
                Ok(Some(ReadLine::Whole(bytes))) => bytes,
                Ok(Some(ReadLine::TooLong)) => return Some(Err(self.too_long("split the text"))),
                Ok(Some(ReadLine::Endless)) => {
                    return Some(Err(self.too_long("give a file of lines; nothing after this one was read")));
                }
                Err(error) => {
                    let what = format!("{}: {error}", self.name);
                    return Some(Err(Error::new(ErrorKind::File, what, "check the file")));
                }
            };
            if !bytes.trim_ascii().is_empty() {
                self.ends.push(self.reader.bytes_read());
                let place = format!("{}, line {}", self.name, self.line);
                return Some(match parse(&bytes, &self.alignment) {
                    Ok(input) => Ok(Input { place: Some(place), ..input }),
                    Err(error) => Err(error.at(place)),
                });
            }
        }
    }
}

fn nothing_asked() -> Failure {
    Failure::usage("there is no text", "give texts, --source, --target, or --input FILE (`-` for standard input)")
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

fn parse(bytes: &[u8], alignment: &Alignment) -> stepfn::Result<Input> {
    let wrong = |what: String| {
        let hint = "write one object per line: {\"source\": …, \"target\": …}; see --help for all fields";
        Error::new(ErrorKind::Text, what, hint)
    };
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let what = format!("not UTF-8, from byte {} on", error.valid_up_to());
        Error::new(ErrorKind::Text, what, "save the file as UTF-8")
    })?;
    let line: Line = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // serde counts lines within this line; the number in the file is added elsewhere.
        let message = message.rsplit_once(" at line").map_or(message.as_str(), |(message, _)| message);
        wrong(format!("{message}, at column {}", error.column()))
    })?;
    let Line { source, target, contrast_source, contrast_target, source_spans, target_spans } = line;
    if source.is_none() && target.is_none() {
        return Err(wrong("neither `source` nor `target`".to_owned()));
    }
    let ranges = |pairs: Option<Vec<(usize, usize)>>| {
        pairs.unwrap_or_default().into_iter().map(|(start, end)| start..end).collect()
    };
    Ok(Input {
        source,
        target,
        contrast_source,
        contrast_target,
        alignment: alignment.clone(),
        source_spans: ranges(source_spans),
        target_spans: ranges(target_spans),
        ..Input::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_inputs_or_errors_that_say_where() {
        let text = concat!(
            "{\"source\": \"a\"}\n\n",
            "{\"target\": \"b\", \"contrast_target\": \"c\", \"target_spans\": [[0, 1]], \"source_spans\": null}\n",
            "{\"sauce\": \"a\"}\n{}\n[1\n{\"source\": 3}\n{\"source\": \"a\", \"source_spans\": [[-1, 2]]}"
        );
        let lines = Lines::new(Box::new(text.as_bytes()), "x".to_owned(), None, Alignment::OneToOne);
        let mut inputs: Vec<stepfn::Result<Input>> = lines.collect();
        let wrong = inputs.split_off(2);
        let inputs: Vec<Input> = inputs.into_iter().map(Result::unwrap).collect();
        assert_eq!((inputs[0].source.as_deref(), inputs[0].place.as_deref()), (Some("a"), Some("x, line 1")));
        assert_eq!((inputs[1].contrast_target.as_deref(), inputs[1].place.as_deref()), (Some("c"), Some("x, line 3")));
        let span = core::iter::once(0..1).collect::<Vec<_>>();
        assert_eq!((&inputs[0].target_spans, &inputs[1].target_spans), (&Vec::new(), &span));
        for (wrong, says) in wrong.into_iter().zip([
            "x, line 4: unknown field `sauce`",
            "x, line 5: neither `source` nor `target`",
            "x, line 6: ",
            "x, line 7: invalid type: integer `3`, expected a string, at column 12",
            "x, line 8: invalid value: integer `-1`, expected usize, at column ",
        ]) {
            let failure = Failure::from(wrong.unwrap_err());
            assert!(failure.what.starts_with(says), "{}", failure.what);
            assert_eq!(failure.code, 1);
        }
        assert!(parse(b"\"\xFF\"", &Alignment::OneToOne).unwrap_err().what().contains("from byte 1 on"));
    }

    #[test]
    fn of_several_texts_errors_say_which() {
        let given = |texts: usize| Inputs::given(vec![Input::text("a"); texts]).map(|input| input.unwrap().place);
        assert_eq!(given(1).collect::<Vec<_>>(), [None]);
        assert_eq!(given(2).last().unwrap().as_deref(), Some("text 1"));
    }
}
