//! The input texts, from the command line or line by line from a file.

mod bounded;
mod watch;
mod whole;

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use stepfn::{Alignment, Error, ErrorKind, Input, IntoInput, Message, Value};

use crate::args::{ChatArgs, ContrastArgs, LinesArgs, Pair, TextArgs};
use crate::failure::Failure;
use crate::progress::{Ends, Extent};
use bounded::{BoundedLines, LONGEST, Line as ReadLine};
pub(crate) use watch::Watch;
pub(crate) use whole::read_whole;

/// An iterator over the texts; a file is read lazily.
pub(crate) enum Inputs {
    /// From the command line.
    Given(std::vec::IntoIter<Input>),
    /// From a file.
    Lines(Box<Lines>),
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
    /// What is the same for all of them.
    common: Input,
    /// Fields that travel with the text.
    keep: Vec<String>,
    watch: Watch,
}

/// A text, or why it can't be read, with what its user calls it: the field `id` of its line, or else the line's number; on the command line,
/// its place among the texts, from 1.
pub(crate) struct Named {
    id: Value,
    input: stepfn::Result<Input>,
}

impl Named {
    /// The same with a changed text.
    pub(crate) fn map(self, change: impl FnOnce(Input) -> Input) -> Self {
        Self { input: self.input.map(change), ..self }
    }
}

impl IntoInput for Named {
    fn into_input(self) -> stepfn::Result<Input> {
        self.input
    }

    fn id(&self) -> Value {
        self.id.clone()
    }
}

impl Inputs {
    /// The inputs that the command line describes.
    pub(crate) fn new(texts: &TextArgs, contrast: &ContrastArgs) -> Result<Self, Failure> {
        let pair = |pair: &Pair| match pair {
            Pair::Of(scored, contrast) => Some((*scored, *contrast)),
            Pair::Auto => None,
        };
        let alignment = match contrast.align.as_slice() {
            [] => Alignment::OneToOne,
            [Pair::Auto] => Alignment::Auto,
            pairs => Alignment::Pairs(
                pairs
                    .iter()
                    .map(pair)
                    .collect::<Option<_>>()
                    .ok_or_else(|| Failure::usage("--align has pairs and `auto`", "give pairs, or `auto` alone"))?,
            ),
        };
        let common = Input {
            source: texts.source.clone(),
            target: texts.target.clone(),
            contrast_source: contrast.contrast_source.clone(),
            contrast_target: contrast.contrast_target.clone(),
            alignment,
            ..chat(&texts.chat, &texts.lines)?
        };
        if let Some(path) = &texts.lines.input {
            return Lines::open(path, common, &texts.lines.keep).map(|lines| Self::Lines(Box::new(lines)));
        }
        let of_text = |text: &String| Input { text: Some(text.clone()), ..common.clone() };
        match (texts.text.as_slice(), &common.source, &common.target) {
            ([], None, None) if common.messages.is_empty() => Err(nothing_asked()),
            ([], ..) => Ok(Self::given(vec![common])),
            (texts, ..) => Ok(Self::given(texts.iter().map(of_text).collect())),
        }
    }

    /// Sources or prompts only.
    pub(crate) fn sources(
        text: &[String],
        source: Option<&String>,
        chat: &ChatArgs,
        lines: &LinesArgs,
    ) -> Result<Self, Failure> {
        let common = self::chat(chat, lines)?;
        if let Some(path) = &lines.input {
            return Lines::open(path, common, &lines.keep).map(|lines| Self::Lines(Box::new(lines)));
        }
        let mut sources: Vec<Input> = text.iter().chain(source).map(Input::source).collect();
        if !common.messages.is_empty() {
            sources.push(common);
        }
        if sources.is_empty() { Err(nothing_asked()) } else { Ok(Self::given(sources)) }
    }

    /// Questions about sources: those of a file, or one.
    pub(crate) fn contexts(lines: &LinesArgs, one: Input) -> Result<Self, Failure> {
        match &lines.input {
            Some(path) => Lines::open(path, one, &lines.keep).map(|lines| Self::Lines(Box::new(lines))),
            None if one.sources.is_empty() => Err(Failure::usage(
                "there are no sources",
                "give files, --source, or --input FILE (`-` for standard input)",
            )),
            None => Ok(Self::given(vec![one])),
        }
    }

    /// Texts with contexts: those of a file, or one.
    pub(crate) fn reliances(lines: &LinesArgs, one: Input) -> Result<Self, Failure> {
        match &lines.input {
            Some(path) => Lines::open(path, one, &lines.keep).map(|lines| Self::Lines(Box::new(lines))),
            None if one.source.is_none() => Err(Failure::usage(
                "there is no current input",
                "give --input-current-text, or --input FILE (`-` for standard input)",
            )),
            None => Ok(Self::given(vec![one])),
        }
    }

    /// If there are several texts, errors say which one.
    fn given(mut inputs: Vec<Input>) -> Self {
        let several = inputs.len() > 1;
        for (number, input) in (1..).zip(&mut inputs) {
            input.id = number.into();
            input.place = several.then(|| format!("text {number}"));
        }
        Self::Given(inputs.into_iter())
    }

    /// The same without these fields, which nothing reads for this reason. Whoever has them in lines is told.
    pub(crate) fn without(self, fields: &[&'static str], why: &'static str) -> Self {
        if let Self::Lines(lines) = &self {
            lines.watch.expect_unread(fields, why);
        }
        self
    }

    /// How much there is to do, as far as that is known.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Given(inputs) => Extent::Texts(inputs.len()),
            Self::Lines(lines) => lines.size.map_or(Extent::Unknown, |size| Extent::Bytes(size, lines.ends.clone())),
        }
    }

    /// What is seen of the texts as they are read.
    pub(crate) fn watch(&self) -> Watch {
        match self {
            Self::Given(_) => Watch::default(),
            Self::Lines(lines) => lines.watch.clone(),
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
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        match self {
            Self::Given(inputs) => inputs.next().map(|input| Named { id: input.id.clone(), input: Ok(input) }),
            Self::Lines(lines) => lines.next(),
        }
    }
}

impl Lines {
    fn open(path: &Path, common: Input, keep: &[String]) -> Result<Self, Failure> {
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
        Ok(Self::new(reader, name, size, common, keep))
    }

    fn new(reader: Box<dyn BufRead>, name: String, size: Option<u64>, common: Input, keep: &[String]) -> Self {
        let reader = BoundedLines::new(reader);
        let watch = Watch::new(keep, &common);
        Self { reader, name, size, ends: Ends::default(), line: 0, common, keep: keep.to_vec(), watch }
    }

    /// The line that was read last, which has no text.
    fn wrong(&self, what: &str, hint: &str) -> Named {
        let what = format!("{}, line {}: {what}", self.name, self.line);
        Named { id: self.line.into(), input: Err(Error::new(ErrorKind::Text, what, hint)) }
    }
}

impl Iterator for Lines {
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        loop {
            let read = self.reader.next();
            self.line += 1;
            let bytes = match read {
                Ok(None) => return None,
                Ok(Some(ReadLine::Whole(bytes))) => bytes,
                Ok(Some(ReadLine::TooLong)) => return Some(self.wrong(&too_long(), "split the text")),
                Ok(Some(ReadLine::Endless)) => {
                    return Some(self.wrong(&too_long(), "give a file of lines; nothing after this one was read"));
                }
                Err(error) => return Some(self.wrong(&error.to_string(), "check the file")),
            };
            if !bytes.trim_ascii().is_empty() {
                self.ends.push(self.reader.bytes_read());
                let place = format!("{}, line {}", self.name, self.line);
                let (id, mut input) = stepfn::record(&bytes, &self.keep);
                if let Ok(input) = &mut input {
                    self.watch.drop_unread(input);
                }
                let id = if id.is_null() { self.line.into() } else { id };
                self.watch.see(&id, self.line, &input);
                let input = match input {
                    Ok(input) => Ok(Input {
                        place: Some(place),
                        alignment: self.common.alignment.clone(),
                        chat_template: self.common.chat_template.clone(),
                        chat_variables: self.common.chat_variables.clone(),
                        ..input
                    }),
                    Err(error) => Err(error.at(place)),
                };
                return Some(Named { id, input });
            }
        }
    }
}

/// The kept fields that get columns in this format.
pub(crate) fn columns(format: &str, lines: &LinesArgs) -> Result<Vec<String>, Failure> {
    let keep = &lines.keep;
    if !keep.is_empty() && lines.input.is_none() {
        return Err(Failure::usage("--keep: texts on the command line have no fields", "give lines with --input FILE"));
    }
    if format == "csv" && keep.iter().any(|name| name == "*") {
        let hint = "name the fields: --keep item,condition; or use --format jsonl";
        return Err(Failure::usage("--keep '*': a table has its columns before the first line is read", hint));
    }
    Ok(keep.clone())
}

/// The chat of the command line, and how chats are written.
fn chat(args: &ChatArgs, lines: &LinesArgs) -> Result<Input, Failure> {
    let given = [("--chat-template", args.chat_template.is_some()), ("--chat-set", !args.chat_set.is_empty())];
    let unused = given.into_iter().find(|&(_, given)| given && args.chat.is_none() && lines.input.is_none());
    if let Some((option, _)) = unused {
        return Err(Failure::usage(format!("{option}: there is no chat"), "give --chat, or lines with `messages`"));
    }
    let system = args.system.iter().map(Message::system);
    Ok(Input {
        messages: system.chain(args.chat.iter().map(Message::user)).collect(),
        chat_template: args.chat_template.clone(),
        chat_variables: args.chat_set.iter().cloned().collect(),
        ..Input::default()
    })
}

fn too_long() -> String {
    format!("the line is longer than {} MiB", LONGEST >> 20)
}

fn nothing_asked() -> Failure {
    Failure::usage(
        "there is no text",
        "give texts, --source, --target, --chat, or --input FILE (`-` for standard input)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8], keep: &[&str]) -> Vec<Named> {
        let keep: Vec<String> = keep.iter().map(|name| (*name).to_owned()).collect();
        Lines::new(Box::new(text), "x".to_owned(), None, Input::default(), &keep).collect()
    }

    #[test]
    fn texts_are_known_by_their_id_or_their_line() {
        let text =
            b"\n{\"source\": \"a\"}\n\n{\"id\": {\"doc\": 1}, \"target\": \"b\"}\n{\"id\": \"c\", \"sauce\": 1}\nno\n";
        let lines = lines(text, &[]);
        let ids: Vec<String> = lines.iter().map(|line| line.id.to_string()).collect();
        assert_eq!(ids, ["2", "{\"doc\":1}", "\"c\"", "6"]);
        let wrong: Vec<bool> = lines.iter().map(|line| line.input.is_err()).collect();
        assert_eq!(wrong, [false, false, true, true]);
        let places: Vec<Option<&str>> =
            lines[..2].iter().map(|line| line.input.as_ref().unwrap().place.as_deref()).collect();
        assert_eq!(places, [Some("x, line 2"), Some("x, line 4")]);
        assert!(lines[2].input.as_ref().unwrap_err().what().starts_with("x, line 5: "));
    }

    #[test]
    fn fields_are_kept_if_they_are_named() {
        let text = b"{\"source\": \"a\", \"item\": 3, \"list\": [1]}";
        assert!(lines(text, &["item"])[0].input.is_err());
        for keep in [&["item", "list"][..], &["*"]] {
            let kept = lines(text, keep).remove(0).input.unwrap().fields;
            assert_eq!(Value::from(kept), stepfn::json!({ "item": 3, "list": [1] }));
        }
    }

    #[test]
    fn of_several_texts_errors_say_which() {
        let given = |texts: usize| Inputs::given(vec![Input::text("a"); texts]).map(|named| named.input.unwrap().place);
        assert_eq!(given(1).collect::<Vec<_>>(), [None]);
        assert_eq!(given(2).last().unwrap().as_deref(), Some("text 2"));
    }
}
