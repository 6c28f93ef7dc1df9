//! Files of texts: which they are, which of their columns are what, and of what types.

use std::collections::BTreeSet;
use std::path::PathBuf;

use stepfn::{Input, RECORD_FIELDS, RecordFields};
use stepfn_corpus::{Column, Content, Extent, Format, Guess, Reader, Record, Source, Type, columns, sources};

use super::Lines;
use crate::args::{ColumnArgs, LinesArgs};
use crate::failure::Failure;

/// Files of texts.
pub(crate) struct Files {
    /// The files.
    pub(crate) sources: Vec<Source>,
    fields: RecordFields,
    /// The columns of the first, if it says them before its records.
    columns: Option<Vec<Column>>,
}

impl Files {
    /// The files of `--input`, with the columns of the command line.
    pub(crate) fn new(lines: &LinesArgs, named: Option<&ColumnArgs>) -> Result<Self, Failure> {
        let parts = named.map(ColumnArgs::parts).unwrap_or_default();
        Self::open(lines, RecordFields { parts, keep: lines.keep.clone(), ..RecordFields::default() }, true)
    }

    /// The files of `--input`, whose texts are in any fields.
    pub(crate) fn of_any_fields(lines: &LinesArgs) -> Result<Self, Failure> {
        Self::open(lines, RecordFields { keep: vec!["*".to_owned()], ..RecordFields::default() }, false)
    }

    fn open(lines: &LinesArgs, fields: RecordFields, needs_text: bool) -> Result<Self, Failure> {
        let format = lines.input_format.as_deref();
        let format = Format::ALL.into_iter().find(|known| Some(known.name()) == format);
        let sources = sources(&lines.input, format)?;
        let is_table = sources.iter().any(|source| source.format != Format::JsonLines);
        let mut fields = RecordFields { lenient: is_table, ..fields };
        if let Some(name) = fields.keep.iter().find(|name| {
            let is_named = fields.parts.iter().any(|(_, field)| field == *name);
            fields.part_of(name).is_some() && !is_named
        }) {
            return Err(Failure::usage(
                format!(
                    "--keep {name}: this field means something to stepfn, and is not among those that are only kept"
                ),
                "leave it out",
            ));
        }
        let all = sources.first().map(columns).transpose()?.flatten();
        let columns = all.as_ref().map(|all| all.iter().flatten().cloned().collect::<Vec<Column>>());
        if let (Some(all), Some(source)) = (&all, sources.first()) {
            check_columns(&source.name, all, &fields)?;
            if needs_text {
                check_text(&source.name, all, &fields)?;
            }
        }
        if let Some(columns) = columns.as_ref().filter(|_| fields.keep.iter().any(|name| name == "*")) {
            let others = columns.iter().map(|column| column.name.clone());
            fields.keep = others.filter(|name| fields.part_of(name).is_none()).collect();
        }
        Ok(Self { sources, fields, columns })
    }

    /// All of their texts.
    pub(crate) fn all(self, common: Input) -> Result<Lines, Failure> {
        let sizes: Option<Vec<u64>> = self.sources.iter().map(Source::size).collect();
        let reader = self.reader(&[], 0)?;
        let size = sizes.map(|sizes| sizes.iter().sum());
        let path = |source: &Source| source.path.clone().unwrap_or_else(|| PathBuf::from("-"));
        let paths = self.sources.iter().map(path).collect();
        Ok(Lines { size, paths, ..self.lines(reader, common) })
    }

    /// The fields that travel along; of a table all of them, if `*` was asked for.
    pub(crate) fn kept_names(&self) -> &[String] {
        &self.fields.keep
    }

    /// The records from this number on.
    pub(crate) fn reader(&self, extents: &[Extent], number: usize) -> Result<Reader, Failure> {
        let parts = RECORD_FIELDS.into_iter().filter(|field| self.fields.part_of(field).is_some()).map(str::to_owned);
        let named = self.fields.parts.iter().map(|(_, field)| field.clone());
        let wanted: BTreeSet<String> = parts.chain(named).chain(self.fields.keep.iter().cloned()).collect();
        Ok(Reader::starting(self.sources.clone(), Some(wanted), extents, number)?)
    }

    /// These records as texts.
    pub(crate) fn lines(&self, records: impl Iterator<Item = Record> + Send + 'static, common: Input) -> Lines {
        let are_there = self.sources.iter().all(|source| source.path.as_ref().is_some_and(|path| path.is_file()));
        Lines { are_there, ..Lines::new(records, self.sources.len() > 1, self.fields.clone(), common) }
    }

    /// The columns of the id and of the fields that travel along, with their types: those that the first file says, or else those of its first
    /// records. What is on standard input can't be looked at before, and is taken for texts.
    pub(crate) fn kept(&self) -> Result<[Vec<Column>; 2], Failure> {
        /// Records that are looked at.
        const MOST: usize = 1000;
        let is_id = |name: &str| self.fields.part_of(name) == Some("id");
        let id = self.fields.parts.iter().find(|(part, _)| part == "id").map_or("id", |(_, field)| field);
        let mut guesses = vec![Guess::default(); 1 + self.fields.keep.len()];
        if self.columns.is_none() && self.sources.iter().all(|source| source.path.is_some()) {
            for record in self.reader(&[], 0)?.take(MOST) {
                let Ok(Content::Json(line)) = record.content else { continue };
                let Ok(object) = serde_json::from_slice::<stepfn::Map<_, _>>(&line) else { continue };
                let names = core::iter::once(id).chain(self.fields.keep.iter().map(String::as_str));
                for (guess, name) in guesses.iter_mut().zip(names) {
                    object.get(name).into_iter().for_each(|value| guess.see(value));
                }
            }
        }
        let mut guesses = guesses.into_iter();
        let said = |name: &str| self.columns.iter().flatten().find(|column| column.name == name);
        let kind_of_id = match (said(id).filter(|column| is_id(&column.name)), guesses.next()) {
            (Some(column), _) => column.kind.clone(),
            // Texts without ids have numbers.
            (None, None | Some(Guess::Nothing)) if self.sources.iter().all(|source| source.path.is_some()) => {
                Type::Int64
            }
            (None, Some(Guess::Simple(kind))) => kind,
            _ => Type::Text,
        };
        let kept = self.fields.keep.iter().zip(guesses);
        let kept = kept.map(|(name, guess)| match said(name) {
            Some(column) => column.clone(),
            None => Column::new(name, guess.kind()),
        });
        Ok([vec![Column::new("id", kind_of_id)], kept.collect()])
    }
}

/// Checks that a table has the columns that are asked for.
fn check_columns(file: &str, all: &[Result<Column, String>], fields: &RecordFields) -> Result<(), Failure> {
    let names: Vec<&str> = all.iter().flatten().map(|column| column.name.as_str()).collect();
    let there = names.join(", ");
    let asked = fields.parts.iter().map(|(_, field)| field).chain(fields.keep.iter().filter(|name| *name != "*"));
    if let Some(missing) = asked.into_iter().find(|name| !names.contains(&name.as_str())) {
        if let Some(other) = all
            .iter()
            .filter_map(|column| column.as_ref().err())
            .find(|other| other.starts_with(&format!("`{missing}` ")))
        {
            return Err(Failure::usage(
                format!("{file}: {other}, which can't be read here"),
                "leave it out, or write it as texts or numbers",
            ));
        }
        return Err(Failure::usage(
            format!("{file}: there is no column `{missing}`"),
            format!("its columns are {there}"),
        ));
    }
    Ok(())
}

/// Checks that a table has some text.
fn check_text(file: &str, all: &[Result<Column, String>], fields: &RecordFields) -> Result<(), Failure> {
    const TEXTS: [&str; 5] = ["text", "source", "target", "messages", "sources"];
    let names: Vec<&str> = all.iter().flatten().map(|column| column.name.as_str()).collect();
    let there = names.join(", ");
    match names.iter().any(|name| fields.part_of(name).is_some_and(|part| TEXTS.contains(&part))) {
        true => Ok(()),
        false => Err(Failure::usage(
            format!("{file}: there is no column {}", TEXTS.map(|text| format!("`{text}`")).join(", ")),
            format!("say which is the text, such as --text-column NAME; its columns are {there}"),
        )),
    }
}
