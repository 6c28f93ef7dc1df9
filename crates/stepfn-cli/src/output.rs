//! Where results go: standard output and files, each written by a writer that was found by name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use stepfn::Outcome;
use stepfn::writers::{Record, Writer};

use crate::args::DestinationArgs;
use crate::failure::Failure;
use crate::progress::Teller;

/// Where text is written: standard output or a file.
pub(crate) struct Sink {
    out: BufWriter<Box<dyn Write>>,
    name: String,
}

impl Sink {
    /// Opens the file, or standard output.
    pub(crate) fn open(args: &DestinationArgs) -> Result<Self, Failure> {
        let (name, out): (String, Box<dyn Write>) = match &args.output {
            None => ("standard output".to_owned(), Box::new(io::stdout())),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path)
                    .map_err(|error| Failure::work(format!("{name}: {error}"), "give -o a file that can be written"))?;
                (name, Box::new(file))
            }
        };
        Ok(Self { out: BufWriter::new(out), name })
    }

    /// Writes and flushes a whole text, so that a reader never sees half of a result, even if the program is stopped.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        let done = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        done.map_err(|error| Failure::output(&self.name, &error))
    }
}

/// An additional file, written when all results are finished.
pub(crate) struct Extra<T> {
    path: PathBuf,
    writer: Box<dyn Writer<T>>,
    /// Texts so far, those that failed included.
    texts: usize,
    /// The number of the text, and its part of the file.
    parts: Vec<(usize, String)>,
}

impl<T> Extra<T> {
    pub(crate) fn new(path: &Path, writer: Box<dyn Writer<T>>) -> Self {
        Self { path: path.to_owned(), writer, texts: 0, parts: Vec::new() }
    }

    fn write(&mut self, outcome: &Outcome<T>) -> Result<(), Failure> {
        self.texts += 1;
        let text = self.writer.write(outcome)?;
        if !text.is_empty() {
            self.parts.push((outcome.number, text));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let end = self.writer.finish()?;
        let written = |path: &Path, text: &str| {
            fs::write(path, text).map_err(|error| {
                Failure::work(format!("{}: {error}", path.display()), "give a file that can be written")
            })
        };
        if self.writer.is_one_file_each() && self.texts > 1 {
            let ending = self.path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let of_text = |(number, text): &(usize, String)| {
                written(&self.path.with_extension(format!("{number}.{ending}")), text)
            };
            return self.parts.iter().try_for_each(of_text);
        }
        let text: String = self.parts.iter().map(|(_, text)| text.as_str()).chain([end.as_str()]).collect();
        if text.is_empty() { Ok(()) } else { written(&self.path, &text) }
    }
}

/// Writes all results. A text that fails is reported at once and counted; the others continue.
pub(crate) struct Results<T> {
    sink: Sink,
    writer: Box<dyn Writer<T>>,
    extras: Vec<Extra<T>>,
    pub(crate) teller: Teller,
    /// Whether there is only one text, so that its failure is the program's failure.
    single: bool,
    failed: usize,
    all: usize,
}

impl<T> Results<T> {
    pub(crate) fn new(
        sink: Sink,
        writer: Box<dyn Writer<T>>,
        extras: Vec<Extra<T>>,
        teller: Teller,
        single: bool,
    ) -> Self {
        Self { sink, writer, extras, teller, single, failed: 0, all: 0 }
    }

    /// Writes each result when it is finished, then the end of the file.
    pub(crate) fn write_all(mut self, outcomes: impl Iterator<Item = Outcome<T>>) -> Result<(), Failure> {
        for outcome in outcomes {
            self.all += 1;
            if let Err(error) = &outcome.result {
                let failure = Failure::from(error.clone());
                if self.single {
                    return Err(failure);
                }
                self.failed += 1;
                self.teller.suspended(|| failure.report(&mut io::stderr()));
            }
            let text = self.writer.write(&outcome)?;
            if self.writer.is_one_file_each() && self.all > 1 && !text.is_empty() {
                return Err(Failure::usage(
                    "this format needs a file for each text",
                    "use --svg FILE for several texts",
                ));
            }
            let sink = &mut self.sink;
            self.teller.suspended(|| sink.text(&text))?;
            self.extras.iter_mut().try_for_each(|extra| extra.write(&outcome))?;
            self.teller.done(outcome.number + 1);
        }
        let end = self.writer.finish()?;
        self.sink.text(&end)?;
        self.extras.into_iter().try_for_each(Extra::finish)?;
        match self.failed {
            0 => Ok(()),
            failed => {
                let what = format!("{failed} of {} texts failed, as reported above", self.all);
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
    let outcome = Outcome { id: 0.into(), number: 0, result: Ok(record) };
    let text = writer.write(&outcome)? + &writer.finish()?;
    Sink::open(args)?.text(&text)
}
