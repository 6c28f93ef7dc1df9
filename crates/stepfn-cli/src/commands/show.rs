//! `stepfn show`: attributions from files.

use std::fs;
use std::io::{self, Read};

use stepfn_attribution::formats;

use super::view::Views;
use crate::args::ShowArgs;
use crate::failure::Failure;
use crate::progress::Teller;

/// Shows what a file holds: our JSON, or one that inseq saved.
pub(super) fn run(args: &ShowArgs) -> Result<(), Failure> {
    let pipeline = Views::pipeline(&args.view)?;
    let hint = "give a file that `stepfn attribute --format json` or inseq wrote, or - for standard input";
    let name = if args.file.as_os_str() == "-" { "standard input".to_owned() } else { args.file.display().to_string() };
    let failed = |message: String| Failure::work(format!("{name}: {message}"), hint);
    let mut text = String::new();
    let read = match args.file.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text).map(drop),
        false => fs::read_to_string(&args.file).map(|content| text = content),
    };
    read.map_err(|error| failed(error.to_string()))?;
    let attributions = formats::read(&text).map_err(|error| failed(error.to_string()))?;
    let texts = Some(attributions.len());
    let mut views = Views::open(&args.view, pipeline, Teller::new(&args.view.to, texts), texts)?;
    for attribution in attributions {
        views.write(Ok(attribution))?;
    }
    views.finish()
}
