//! Where results go: standard output and files, each written by a writer that was found by name.

mod encoder;
mod rows;
mod sharded;
mod table;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use stepfn::destination::{self, Destination, Places, Way};
use stepfn::writers::{Record, Writer, plain};
use stepfn::{ErrorKind, IntoInput, LanguageModel, Map, Outcome, Outcomes, Value};

use crate::args::{DestinationArgs, ModelArgs};
use crate::failure::Failure;
use crate::input::Watch;
use crate::progress::Teller;
use crate::system;
pub(crate) use encoder::Encoder;
pub(crate) use rows::ScoreRows;
pub(crate) use sharded::Sharded;
pub(crate) use table::Table;

/// The files that a command reads: its texts, and the model's. None of them is written.
pub(crate) fn places(input: &[PathBuf], model: &ModelArgs) -> Places {
    let mut places = Places::default();
    for path in input {
        places.read("--input", path);
    }
    for path in model.model.iter().chain(&model.base).flat_map(|name| stepfn::model_files(name)) {
        places.read("--model", &path);
    }
    places
}

/// Opens the file that results go to, or standard output.
pub(crate) fn open(args: &DestinationArgs, way: Way, places: &mut Places) -> Result<Destination, Failure> {
    let (option, path) = match &args.output {
        Some(path) => ("-o", path.as_path()),
        None => ("", Path::new("-")),
    };
    places.write(option, path)?;
    open_at(path, way)
}

/// Opens a file, or standard output.
pub(crate) fn open_at(path: &Path, way: Way) -> Result<Destination, Failure> {
    if path.as_os_str() == "-" {
        system::check_output()?;
    }
    Ok(Destination::open(path, way)?)
}

/// An additional file.
pub(crate) struct Extra<T> {
    option: &'static str,
    path: PathBuf,
    writer: Box<dyn Writer<T>>,
    destination: Destination,
    /// Texts so far, those that failed included.
    texts: usize,
    /// Of a form with a file for each text, what was written for the first text, until it is known whether there are several.
    first: Option<(String, String)>,
    /// Names of the files of several texts.
    names: HashSet<String>,
}

impl<T> Extra<T> {
    /// Opens the file.
    pub(crate) fn open(
        option: &'static str,
        path: &Path,
        writer: Box<dyn Writer<T>>,
        places: &mut Places,
    ) -> Result<Self, Failure> {
        places.write(option, path)?;
        let destination = open_at(path, writer.way())?;
        Ok(Self { option, path: path.to_owned(), writer, destination, texts: 0, first: None, names: HashSet::new() })
    }

    fn write(&mut self, outcome: &Outcome<T>, places: &mut Places) -> Result<(), Failure> {
        self.texts += 1;
        let text = self.writer.write(outcome)?;
        if !self.writer.is_one_file_each() {
            return Ok(self.destination.write(&text)?);
        }
        if text.is_empty() {
            return Ok(());
        }
        let name = self.name(outcome);
        if self.texts == 1 {
            self.first = Some((name, text));
            return Ok(());
        }
        if let Some((first, drawn)) = self.first.take() {
            self.write_part(&first, &drawn, places)?;
        }
        self.write_part(&name, &text, places)
    }

    /// What the file of one of several texts is called: as its user calls the text, if that can be part of a name and is not taken.
    fn name(&mut self, outcome: &Outcome<T>) -> String {
        /// File systems take names of at most 255 bytes.
        const LONGEST: usize = 64;
        let id = plain(&outcome.id);
        let is_plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
        let can_be_name = !id.is_empty() && id.len() <= LONGEST && id.chars().all(is_plain);
        let name = if can_be_name && !self.names.contains(&id) { id } else { format!("text-{}", outcome.number) };
        self.names.insert(name.clone());
        name
    }

    fn write_part(&self, name: &str, text: &str, places: &mut Places) -> Result<(), Failure> {
        check_several(self.option, &self.path)?;
        let path = match self.path.extension() {
            Some(ending) => self.path.with_extension(format!("{name}.{}", ending.to_string_lossy())),
            None => self.path.with_extension(name),
        };
        places.write(self.option, &path)?;
        Ok(destination::write(&path, text)?)
    }

    /// What to know of a file of this name, if the texts have files of their own.
    fn warning(&self) -> Option<String> {
        let is_older = self.writer.is_one_file_each() && self.texts > 1 && self.path.is_file();
        is_older.then(|| {
            let path = self.path.display();
            format!("{path} is older than these results: each of several texts has a file of its own, named after it")
        })
    }

    fn finish(mut self, places: &mut Places) -> Result<(), Failure> {
        let end = self.writer.finish()?;
        if self.texts == 0 {
            self.destination.empty()?;
        }
        if !self.writer.is_one_file_each() {
            self.destination.write(&end)?;
            return Ok(self.destination.finish()?);
        }
        match self.first.take() {
            None => Ok(self.destination.finish()?),
            Some((name, text)) if self.texts > 1 => self.write_part(&name, &text, places),
            Some((_, text)) => {
                self.destination.write(&text)?;
                Ok(self.destination.finish()?)
            }
        }
    }
}

/// Checks that a path can be the beginning of several: not standard output, and no device.
pub(crate) fn check_several(option: &str, path: &Path) -> Result<(), Failure> {
    let is_stream = path.as_os_str() == "-" || path.metadata().is_ok_and(|metadata| !metadata.is_file());
    match is_stream {
        true => Err(Failure::usage(
            format!("{option} {}: there are several texts, and each needs a file of its own", path.display()),
            format!("give a path that names of texts can be added to, such as {option} map.svg"),
        )),
        false => Ok(()),
    }
}

/// Writes all results. A text that fails is reported at once and counted; the others continue.
pub(crate) struct Results<T> {
    pub(crate) destination: Destination,
    pub(crate) writer: Box<dyn Encoder<T>>,
    pub(crate) extras: Vec<Extra<T>>,
    pub(crate) places: Places,
    pub(crate) teller: Teller,
    /// Whether there is only one text, so that its failure is the program's failure.
    pub(crate) single: bool,
    /// What was seen of the texts.
    pub(crate) watch: Watch,
}

/// Opens the outputs of results that come in the forms that `forms` knows by name: in one of them where results go, and as a page if there is a path for it.
pub(crate) fn results<T: 'static>(
    args: &DestinationArgs,
    (format, page): (&str, Option<&Path>),
    forms: impl Fn(&str) -> stepfn::Result<Box<dyn Writer<T>>>,
    mut places: Places,
    teller: &Teller,
    single: bool,
) -> Result<Results<T>, Failure> {
    let writer = forms(format)?;
    let destination = open(args, writer.way(), &mut places)?;
    let page = page.map(|path| Extra::open("--html", path, forms("html")?, &mut places)).transpose()?;
    let (extras, watch) = (page.into_iter().collect(), Watch::default());
    Ok(Results { destination, writer: Box::new(writer), extras, places, teller: teller.clone(), single, watch })
}

/// A warning that says which text it is of, if there are several.
fn of_text(single: bool, id: &Value, warning: &str) -> String {
    let which = if single { String::new() } else { format!("text {}: ", plain(id)) };
    format!("{which}{warning}")
}

/// Tells what to know of texts before they run.
pub(crate) fn early(teller: &Teller, single: bool) -> impl Fn(&Value, &str) + use<> {
    let teller = teller.clone();
    move |id, warning| teller.warn_early(of_text(single, id, warning))
}

/// Texts whose failure is reported; of the others, there is the number.
pub(crate) const MOST_REPORTED: usize = 20;

/// How many texts there were so far, and what came of them.
#[derive(Default)]
struct Counts {
    all: usize,
    failed: usize,
    without_scores: usize,
}

impl<T: Record> Results<T> {
    /// Writes each result when it is finished, then the end of the file.
    pub(crate) fn write_all(mut self, mut outcomes: impl Iterator<Item = Outcome<T>>) -> Result<(), Failure> {
        let mut counts = Counts::default();
        outcomes.try_for_each(|outcome| self.write(outcome, &mut counts))?;
        self.finish(&counts)
    }

    /// The same while the model runs.
    pub(crate) fn write_overlapped<B, I>(mut self, outcomes: Outcomes<'_, B, I, T>) -> Result<(), Failure>
    where
        B: Backend,
        I: Iterator<Item: IntoInput> + Send,
        T: Send,
        LanguageModel<B>: Sync,
    {
        let mut counts = Counts::default();
        outcomes.try_for_each_overlapped(|outcome| self.write(outcome, &mut counts))?;
        self.finish(&counts)
    }

    fn write(&mut self, outcome: Outcome<T>, counts: &mut Counts) -> Result<(), Failure> {
        counts.all += 1;
        if let Err(error) = &outcome.result {
            let failure = Failure::from(error.clone());
            match error.kind() {
                // It failed when the file was written, and is shown as what it is.
                ErrorKind::Saved => {
                    counts.without_scores += 1;
                    if counts.without_scores <= MOST_REPORTED {
                        self.teller.warn(&format!("text {} has no scores: {}", plain(&outcome.id), failure.what));
                    }
                }
                _ if self.single => return Err(failure),
                _ => {
                    counts.failed += 1;
                    if counts.failed <= MOST_REPORTED {
                        self.teller.suspended(|| failure.report(&mut io::stderr()));
                    }
                }
            }
        }
        for warning in outcome.result.iter().flat_map(Record::warnings) {
            self.teller.warn(&of_text(self.single, &outcome.id, warning));
        }
        let bytes = self.writer.encode(&outcome)?;
        if self.writer.is_one_file_each() && counts.all > 1 && !bytes.is_empty() {
            return Err(Failure::usage("this format needs a file for each text", "give one text, or use --svg FILE"));
        }
        let destination = &mut self.destination;
        self.teller.suspended(|| destination.write_bytes(&bytes))?;
        self.extras.iter_mut().try_for_each(|extra| extra.write(&outcome, &mut self.places))?;
        self.teller.done(outcome.number + 1);
        Ok(())
    }

    fn finish(mut self, counts: &Counts) -> Result<(), Failure> {
        let Counts { all, failed, without_scores } = *counts;
        self.destination.write_bytes(&self.writer.end()?)?;
        if all == 0 {
            self.teller.warn("there is no text, so the results are empty");
            self.destination.empty()?;
        }
        self.destination.finish()?;
        self.watch.warnings().iter().for_each(|warning| self.teller.warn(warning));
        self.extras.iter().filter_map(Extra::warning).for_each(|warning| self.teller.warn(&warning));
        self.extras.into_iter().try_for_each(|extra| extra.finish(&mut self.places))?;
        match failed {
            0 if without_scores > 0 && without_scores == all => {
                Err(Failure::work("no text of this file has scores", "run the command that wrote it again"))
            }
            0 => Ok(()),
            failed => {
                let which = if failed > MOST_REPORTED { format!("the first {MOST_REPORTED} ") } else { String::new() };
                let what = format!("{failed} of {all} texts failed, {which}as reported above");
                Err(Failure::work(what, "correct these texts; the others have their results"))
            }
        }
    }
}

/// Writes one result.
pub(crate) fn write_one<T: Record>(
    args: &DestinationArgs,
    mut writer: Box<dyn Writer<T>>,
    record: T,
) -> Result<(), Failure> {
    let outcome = Outcome { id: 0.into(), number: 0, fields: Map::new(), result: Ok(record) };
    let text = writer.write(&outcome)? + &writer.finish()?;
    let mut destination = open(args, Way::Whole, &mut Places::default())?;
    destination.write(&text)?;
    Ok(destination.finish()?)
}
