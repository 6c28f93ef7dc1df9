//! `stepfn show`: shows attributions that were saved in a file.

use std::path::Path;

use stepfn::destination::Places;
use stepfn::{Answer, Outcome, Pipeline};

use super::view;
use crate::args::ShowArgs;
use crate::failure::Failure;
use crate::input::read_whole;
use crate::progress::{Extent, Teller};

/// Shows the attributions in a file that stepfn or inseq wrote.
pub(super) fn run(args: &ShowArgs) -> Result<(), Failure> {
    let view = &args.view;
    let pipeline = match &args.pair {
        None => view::pipeline(view)?,
        Some(_) => {
            view.aggregate.as_deref().map_or(Ok(()), view::check_stages)?;
            Some(pair_pipeline(view.aggregate.as_deref().unwrap_or("pair"))?)
        }
    };
    if args.pair.as_ref().is_some_and(|pair| [pair, &args.file].iter().all(|path| path.as_os_str() == "-")) {
        let what = "--pair -: standard input is the first file already, and can be read once";
        return Err(Failure::usage(what, "save one of the two in a file"));
    }
    let (text, answers) = read(&args.file)?;
    let others = args.pair.as_deref().map(read).transpose()?;
    let is_same = others.as_ref().is_some_and(|(other, _)| *other == text);
    let others = others.map(|(_, others)| others);
    let texts = answers.len();
    if let Some(others) = others.as_ref().filter(|others| others.len() != texts) {
        let what = format!("--pair: {} texts, where the first file has {texts}", others.len());
        return Err(Failure::work(what, "give two files of the same texts, in the same order"));
    }
    let per_token = |answer: Answer| if view.raw { answer } else { answer.per_token() };
    let mut others = others.into_iter().flatten();
    let shown = |outcome: Outcome<Answer>| {
        let other = others.next().map(|other| other.result).transpose();
        let result = match (outcome.result, other, &pipeline) {
            (Ok(answer), Ok(Some(other)), Some(pipeline)) => answer.minus_through(&other, pipeline),
            (Ok(answer), Ok(_), Some(pipeline)) => answer.through(pipeline),
            (Ok(answer), Ok(_), None) => Ok(per_token(answer)),
            (Err(error), ..) | (_, Err(error), _) => Err(error),
        };
        Outcome { result, ..outcome }
    };
    let mut places = Places::default();
    places.read("the file shown,", &args.file);
    if let Some(path) = &args.pair {
        places.read("--pair", path);
    }
    let teller = Teller::new(&view.to, Extent::Texts(texts));
    if is_same {
        teller.warn("--pair: both files say the same, so all differences are 0");
    }
    let results = view::results(view, Vec::new(), teller, Some(texts), places)?;
    results.write_all(answers.into_iter().map(shown))
}

/// Stages of which one takes the difference.
fn pair_pipeline(text: &str) -> Result<Pipeline, Failure> {
    let pipeline = stepfn::pipeline(text).map_err(|error| Failure::from(error).at(&format!("--aggregate {text}")))?;
    match pipeline.needs_pair() {
        true => Ok(pipeline),
        false => Err(Failure::usage(
            format!("--pair, but --aggregate {text} takes no difference"),
            format!("say where: --aggregate {text},pair"),
        )),
    }
}

/// What is in a file, or on standard input, and the attributions in it.
fn read(path: &Path) -> Result<(String, Vec<Outcome<Answer>>), Failure> {
    let hint = "give a file that `stepfn attribute --format json` or inseq wrote, or - for standard input";
    let is_standard = path.as_os_str() == "-";
    let name = if is_standard { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |message: String| Failure::work(format!("{name}: {message}"), hint);
    let text = read_whole(path).map_err(|error| failed(error.to_string()))?;
    let answers = stepfn::read(&text).map_err(|error| failed(error.what().to_owned()))?;
    Ok((text, answers))
}
