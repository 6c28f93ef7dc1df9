//! The input texts, from the command line or record by record from files.

mod files;
mod watch;
mod whole;

use std::path::PathBuf;

use stepfn::{Alignment, Error, ErrorKind, Input, IntoInput, Map, Message, RecordFields, RecordText, Value};
use stepfn_corpus::{Content, Record};

use crate::args::{ChatArgs, ColumnArgs, ContrastArgs, LinesArgs, Pair, TextArgs};
use crate::failure::Failure;
use crate::progress::{Ends, Extent};
pub(crate) use files::Files;
pub(crate) use watch::Watch;
pub(crate) use whole::read_whole;

/// An iterator over the texts; a file is read lazily.
pub(crate) enum Inputs {
    /// From the command line.
    Given(std::vec::IntoIter<Input>),
    /// From files.
    Lines(Box<Lines>),
}

/// The records of files.
pub(crate) struct Lines {
    records: Box<dyn Iterator<Item = Record> + Send>,
    /// The files.
    paths: Vec<PathBuf>,
    /// Whether they are of several files, so that a line's number says too little.
    several: bool,
    /// Bytes of the files, if they have an end that is known.
    size: Option<u64>,
    /// Whether they are in files, and not on standard input, in a pipe or a device.
    are_there: bool,
    /// Where each text ends in the files.
    ends: Ends,
    /// What is the same for all of them.
    common: Input,
    /// Which fields are what, and which travel with the text.
    fields: RecordFields,
    /// Of records with texts to compare, the fields that these are in, without any those of known data, and the fields that travel along.
    compared: Option<[Vec<String>; 2]>,
    watch: Watch,
}

/// A text, or why it can't be read, with what its user calls it: the field `id` of its line, or else the line's number; in several
/// files and on the command line, its place among the texts, from 1.
pub(crate) struct Named {
    id: Value,
    /// The fields that travel with a text that can't be read.
    fields: Map<String, Value>,
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

    fn fields(&self) -> Map<String, Value> {
        self.fields.clone()
    }
}

impl Inputs {
    /// The inputs that the command line describes.
    pub(crate) fn new(texts: &TextArgs, contrast: &ContrastArgs) -> Result<Self, Failure> {
        let common = Self::common(texts, contrast)?;
        if !texts.lines.input.is_empty() {
            return Files::new(&texts.lines, Some(&texts.columns))?.all(common).map(Self::lines);
        }
        let of_text = |text: &String| Input { text: Some(text.clone()), ..common.clone() };
        match (texts.text.as_slice(), &common.source, &common.target) {
            ([], None, None) if common.messages.is_empty() => Err(nothing_asked()),
            ([], ..) => Ok(Self::given(vec![common])),
            (texts, ..) => Ok(Self::given(texts.iter().map(of_text).collect())),
        }
    }

    /// Records of files.
    pub(crate) fn lines(lines: Lines) -> Self {
        Self::Lines(Box::new(lines))
    }

    /// What all texts have in common.
    pub(crate) fn common(texts: &TextArgs, contrast: &ContrastArgs) -> Result<Input, Failure> {
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
        Ok(Input {
            source: texts.source.clone(),
            target: texts.target.clone(),
            contrast_source: contrast.contrast_source.clone(),
            contrast_target: contrast.contrast_target.clone(),
            alignment,
            ..chat(&texts.chat, &texts.lines)?
        })
    }

    /// Sources or prompts only.
    pub(crate) fn sources(
        text: &[String],
        source: Option<&String>,
        chat: &ChatArgs,
        lines: &LinesArgs,
        columns: &ColumnArgs,
    ) -> Result<Self, Failure> {
        let common = self::chat(chat, lines)?;
        if !lines.input.is_empty() {
            return Files::new(lines, Some(columns))?.all(common).map(Self::lines);
        }
        let mut sources: Vec<Input> = text.iter().chain(source).map(Input::source).collect();
        if !common.messages.is_empty() {
            sources.push(common);
        }
        if sources.is_empty() { Err(nothing_asked()) } else { Ok(Self::given(sources)) }
    }

    /// Questions about sources: those of a file, or one.
    pub(crate) fn contexts(lines: &LinesArgs, one: Input) -> Result<Self, Failure> {
        match lines.input.as_slice() {
            [_, ..] => Files::new(lines, None)?.all(one).map(Self::lines),
            [] if one.sources.is_empty() => Err(Failure::usage(
                "there are no sources",
                "give files, --source, or --input FILE (`-` for standard input)",
            )),
            [] => Ok(Self::given(vec![one])),
        }
    }

    /// Texts with contexts: those of a file, or one.
    pub(crate) fn reliances(lines: &LinesArgs, one: Input) -> Result<Self, Failure> {
        match lines.input.as_slice() {
            [_, ..] => Files::new(lines, None)?.all(one).map(Self::lines),
            [] if one.source.is_none() => Err(Failure::usage(
                "there is no current input",
                "give --input-current-text, or --input FILE (`-` for standard input)",
            )),
            [] => Ok(Self::given(vec![one])),
        }
    }

    /// Texts to compare: those of a file, in these fields, or one tuple.
    pub(crate) fn comparisons(
        lines: &LinesArgs,
        one: Input,
        columns: &[String],
        group_by: Option<&String>,
    ) -> Result<Self, Failure> {
        match lines.input.as_slice() {
            [_, ..] => {
                let keep = lines.keep.iter().chain(group_by).cloned().collect();
                let read = Files::of_any_fields(lines)?.all(Input::default())?;
                let watch = Watch::new(&lines.keep, &Input::default());
                Ok(Self::lines(Lines { compared: Some([columns.to_vec(), keep]), watch, ..read }))
            }
            [] if one.variants.len() < 2 => Err(Failure::usage(
                "there are fewer than two texts to compare",
                "give two texts, the expected one first, or --input FILE (`-` for standard input)",
            )),
            [] => Ok(Self::given(vec![one])),
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

    /// The files that are read.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Given(_) => &[],
            Self::Lines(lines) => &lines.paths,
        }
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

    /// Whether all of them are in files, so that no text is waited for.
    pub(crate) fn are_there(&self) -> bool {
        match self {
            Self::Given(_) => true,
            Self::Lines(lines) => lines.are_there,
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
            Self::Given(inputs) => {
                inputs.next().map(|input| Named { id: input.id.clone(), fields: Map::new(), input: Ok(input) })
            }
            Self::Lines(lines) => lines.next(),
        }
    }
}

impl Lines {
    /// These records, of the fields of which some are parts of texts.
    fn new(
        records: impl Iterator<Item = Record> + Send + 'static,
        several: bool,
        fields: RecordFields,
        common: Input,
    ) -> Self {
        let watch = Watch::new(&fields.keep, &common);
        Self {
            records: Box::new(records),
            paths: Vec::new(),
            several,
            size: None,
            are_there: false,
            ends: Ends::default(),
            common,
            fields,
            compared: None,
            watch,
        }
    }

    /// What is seen of the texts as they are read.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// A record, of which one or more texts are read.
    fn text(&self, content: Content) -> RecordText {
        match (content, &self.compared) {
            (Content::Json(line), None) => self.fields.line(&line),
            (Content::Fields(fields), None) => self.fields.row(fields),
            (Content::Json(line), Some([columns, keep])) => compared(&line, columns, keep),
            (Content::Fields(fields), Some([columns, keep])) => {
                compared(Value::Object(fields).to_string().as_bytes(), columns, keep)
            }
            _ => unread(Error::new(ErrorKind::Text, "this is no record", "check the file")),
        }
    }
}

/// A record with texts to compare.
fn compared(line: &[u8], columns: &[String], keep: &[String]) -> RecordText {
    let (id, input) = stepfn::comparison(line, columns, keep);
    RecordText { id, fields: Map::new(), input }
}

fn unread(error: Error) -> RecordText {
    RecordText { id: Value::Null, fields: Map::new(), input: Err(error) }
}

impl Iterator for Lines {
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        let Record { number, row, place, end, content } = self.records.next()?;
        self.ends.push(end);
        let row = if self.several { number + 1 } else { row };
        let RecordText { id, fields, mut input } = match content {
            Ok(content) => self.text(content),
            Err(error) => unread(Error::new(ErrorKind::Text, error.what, error.hint)),
        };
        if let Ok(input) = &mut input {
            self.watch.drop_unread(input);
        }
        let id = if id.is_null() { row.into() } else { id };
        self.watch.see(&id, row, &input);
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
        Some(Named { id, fields: if input.is_ok() { Map::new() } else { fields }, input })
    }
}

/// The kept fields that get columns in this format.
pub(crate) fn columns(format: &str, lines: &LinesArgs, named: Option<&ColumnArgs>) -> Result<Vec<String>, Failure> {
    let keep = &lines.keep;
    if !keep.is_empty() && lines.input.is_empty() {
        return Err(Failure::usage("--keep: texts on the command line have no fields", "give lines with --input FILE"));
    }
    if !["csv", "tsv", "parquet"].contains(&format) || keep.iter().all(|name| name != "*") {
        return Ok(keep.clone());
    }
    let keep = Files::new(lines, named)?.kept_names().to_vec();
    if keep.iter().any(|name| name == "*") {
        let hint = "name the fields: --keep item,condition; or use --format jsonl";
        return Err(Failure::usage("--keep '*': a table has its columns before the first line is read", hint));
    }
    Ok(keep)
}

/// The chat of the command line, and how chats are written.
fn chat(args: &ChatArgs, lines: &LinesArgs) -> Result<Input, Failure> {
    let given = [("--chat-template", args.chat_template.is_some()), ("--chat-set", !args.chat_set.is_empty())];
    let unused = given.into_iter().find(|&(_, given)| given && args.chat.is_none() && lines.input.is_empty());
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

fn nothing_asked() -> Failure {
    Failure::usage(
        "there is no text",
        "give texts, --source, --target, --chat, or --input FILE (`-` for standard input)",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The records of a file of JSON lines.
    pub(super) fn lines_of(text: &[u8], keep: &[&str], common: Input) -> Lines {
        let records = (1..).zip(text.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.is_empty());
        let record = |(number, (row, line)): (usize, (usize, &[u8]))| {
            let content = Ok(Content::Json(line.to_vec()));
            Record { number, row, place: format!("x, line {row}"), end: 0, content }
        };
        let records: Vec<Record> = records.enumerate().map(record).collect();
        let keep = keep.iter().map(|name| (*name).to_owned()).collect();
        Lines::new(records.into_iter(), false, RecordFields { keep, ..RecordFields::default() }, common)
    }

    fn lines(text: &[u8], keep: &[&str]) -> Vec<Named> {
        lines_of(text, keep, Input::default()).collect()
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
