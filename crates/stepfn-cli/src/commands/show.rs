//! `stepfn show`: shows attributions that were saved in a file.

use std::fs;
use std::io::{self, Read};

use stepfn::{Answer, Outcome};

use super::view;
use crate::args::ShowArgs;
use crate::failure::Failure;
use crate::progress::{Extent, Teller};

/// Shows the attributions in a file that stepfn or inseq wrote.
pub(super) fn run(args: &ShowArgs) -> Result<(), Failure> {
    let pipeline = view::pipeline(&args.view)?;
    let hint = "give a file that `stepfn attribute --format json` or inseq wrote, or - for standard input";
    let name = if args.file.as_os_str() == "-" { "standard input".to_owned() } else { args.file.display().to_string() };
    let failed = |message: String| Failure::work(format!("{name}: {message}"), hint);
    let mut text = String::new();
    let read = match args.file.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text).map(drop),
        false => fs::read_to_string(&args.file).map(|content| text = content),
    };
    read.map_err(|error| failed(error.to_string()))?;
    let answers = stepfn::read(&text).map_err(|error| failed(error.what().to_owned()))?;
    let texts = Some(answers.len());
    let shown = |answer: Answer| match &pipeline {
        Some(pipeline) => answer.through(pipeline),
        None if args.view.raw => Ok(answer),
        None => Ok(answer.per_token()),
    };
    let outcome = |(number, answer): (usize, Answer)| Outcome { id: number.into(), number, result: shown(answer) };
    let results = view::results(&args.view, Teller::new(&args.view.to, Extent::Texts(answers.len())), texts)?;
    results.write_all(answers.into_iter().enumerate().map(outcome))
}
