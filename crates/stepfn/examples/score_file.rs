//! Scores every line of a file, and writes a JSON object for each.
//!
//! `cargo run -p stepfn --example score_file -- texts.txt > scores.jsonl`

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;

use stepfn::functions::{Entropy, Surprisal};
use stepfn::writers::{WriterOptions, records};
use stepfn::{Error, ErrorKind, Input, LanguageModel, Result, ScoreTask};

const VERSES: &str = "In the beginning God created the heaven and the earth.
And the earth was without form, and void;
And God said, Let there be light: and there was light.
";

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the example prints its results and its progress")]
fn main() -> Result<()> {
    let file = std::env::args().nth(1);
    let unreadable = |error: std::io::Error| Error::new(ErrorKind::File, error.to_string(), "give a file of lines");
    let text: Box<dyn Read> = match &file {
        Some(path) => Box::new(std::fs::File::open(path).map_err(unreadable)?),
        None => Box::new(VERSES.as_bytes()),
    };
    // Lines are read when they are needed, so the file may be larger than memory. A line that can't be read is an error of this line only.
    let lines = BufReader::new(text).lines().zip(1..).map(|(line, number)| -> Result<Input> {
        Ok(Input::text(line.map_err(unreadable)?).with_id(format!("line {number}")))
    });

    let model = LanguageModel::load("verse")?;
    let task = ScoreTask::new((Surprisal::default(), Entropy::default()));
    let mut writer = records("jsonl", &WriterOptions::default())?;
    let outcomes = model.score_all(lines, &task).on_progress(|progress| {
        eprint!("\r{} of {} texts", progress.texts_done, progress.texts);
        ControlFlow::Continue(()) // `Break` would stop here
    });
    for outcome in outcomes {
        print!("{}", writer.write(&outcome)?);
        match outcome.result {
            Ok(scores) => eprintln!("\r{}: {:.2} per token", outcome.id, scores.scores.sequence.perplexity),
            Err(error) => eprintln!("\r{}: {error}", outcome.id),
        }
    }
    print!("{}", writer.finish()?);
    Ok(())
}
