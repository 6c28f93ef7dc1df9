//! `stepfn similarity`: how alike two texts are to a model that translates.

use std::time::Instant;

use stepfn::backend::{Devices, OnBackend};
use stepfn::writers::{WriterOptions, records};
use stepfn::{Input, RunOptions, SimilarityMeasure, SimilarityTask};

use super::loading::{dispatch, load, note_loaded};
use super::unused;
use crate::args::SimilarityArgs;
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Measures similarity.
pub(super) fn run(args: &SimilarityArgs) -> Result<(), Failure> {
    dispatch(&args.model, Measure(args))
}

struct Measure<'a>(&'a SimilarityArgs);

impl OnBackend for Measure<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        let task = task(args)?;
        unused::check_once("--keep", &args.lines.keep, String::clone)?;
        unused::check_once("--columns", &args.columns, String::clone)?;
        let fields = match args.columns.as_slice() {
            [] => ["a", "b"].map(str::to_owned).to_vec(),
            [_, _] => args.columns.clone(),
            _ => return Err(Failure::usage("--columns: similarity is one of two texts", "name two fields")),
        };
        let one = match args.text.as_slice() {
            [a, b] => Input::pair(a, b),
            _ if args.lines.input.is_empty() => {
                return Err(Failure::usage(
                    "there are no texts",
                    "give two texts, or --input FILE (`-` for standard input)",
                ));
            }
            _ => Input::default(),
        };
        let kept = columns(&args.output.format, &args.lines, None)?;
        let inputs = Inputs::comparisons(&args.lines, one, &fields, None)?;
        let single = inputs.len() == Some(1);
        let options = WriterOptions { single, fields: kept, ..WriterOptions::default() };
        let forms = |format: &str| records(format, &options);
        let places = output::places(inputs.paths(), &args.model);
        let teller = Teller::new(&args.output.to, inputs.extent());
        let results = output::results(&args.output.to, (&args.output.format, None), forms, places, &teller, single)?;
        let results = Results { watch: inputs.watch(), ..results };
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.output.to.quiet).map_err(of_languages)?;
        note_loaded(&model, started, &teller);
        let started = Instant::now();
        // A source would be what both texts follow, which is nothing here.
        let pairs = inputs.map(|named| named.map(|input| Input { source: None, ..input }));
        let warn = output::early(&teller, single);
        let measured = model.similarity_all(pairs, &task).on_progress(teller.progress_of_texts()).on_warning(warn);
        let done = results.write_all(measured);
        teller.note(|| format!("measured in {:.2} s", started.elapsed().as_secs_f64()));
        done
    }
}

fn task(args: &SimilarityArgs) -> Result<SimilarityTask, Failure> {
    let measure = args.measure.measure();
    if measure == SimilarityMeasure::Direct {
        if args.via.is_some() {
            return Err(Failure::usage(
                "--via: a direct measure translates nothing",
                "leave it out, or choose another --measure",
            ));
        }
        unused::check_written(Some("--measure direct"), &args.generation)?;
    }
    let a = args.generation.source_lang.clone().unwrap_or_default();
    let b = args.generation.target_lang.clone().unwrap_or_else(|| a.clone());
    let default = SimilarityTask::new(a, b);
    let (batch_tokens, seed, memory) = (args.batches.batch_tokens, args.model.seed, args.model.memory);
    Ok(SimilarityTask {
        measure,
        via: args.via.clone().unwrap_or(default.via),
        normalize: !args.no_normalize,
        both_directions: !args.one_direction,
        base: args.exp_base.unwrap_or(default.base),
        options: RunOptions { batch_tokens, seed, memory, ..RunOptions::default() },
        languages: default.languages,
    })
}

/// The languages of the model are those of the texts.
fn of_languages(failure: Failure) -> Failure {
    match failure.hint.contains("--source-lang") {
        true => Failure {
            hint: failure.hint.replace("--source-lang and --target-lang", "--a-lang and --b-lang"),
            ..failure
        },
        false => failure,
    }
}
