//! `stepfn score`: computes step functions of texts.

use std::time::Instant;

use burn::tensor::backend::Backend;
use stepfn::backend::{Devices, OnBackend};
use stepfn::extend::Needs;
use stepfn::writers::{WriterOptions, records};
use stepfn::{Map, Once, RunOptions, ScoreTask, ScoreUnit, Value, json};
use stepfn_corpus::{Column, Format, RowOptions, Type};

use super::loading::{dispatch, load, note_loaded, run_options, with_aligner};
use super::parameters::functions;
use super::sharding::{self, Place};
use super::unused;
use crate::args::{ScoreArgs, TextArgs};
use crate::failure::Failure;
use crate::input::{Files, Inputs, columns};
use crate::output::{self, Encoder, Results, ScoreRows, Table};
use crate::progress::Teller;

/// Scores texts.
pub(super) fn run(args: &ScoreArgs) -> Result<(), Failure> {
    dispatch(&args.model, Score(args))
}

struct Score<'a>(&'a ScoreArgs);

impl OnBackend for Score<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        // Report typing errors before a model is loaded.
        let task = task::<D::Backend>(args)?;
        let needs = unused::needs(task.functions.iter().map(AsRef::as_ref));
        let passes = needs.noisy_samples.max(args.joined.uncertainty.unwrap_or(0));
        unused::check(&args.contrast, args.parameters.dropout, Needs { noisy_samples: passes, ..needs })?;
        if args.once && passes > 0 {
            let what = "--once: passes with dropout have noise of their own for each text";
            return Err(Failure::usage(what, "leave it out, or the step functions that need these passes"));
        }
        unused::check_texts(&args.texts)?;
        unused::check_writing(&args.texts, &args.generation)?;
        unused::check_once("--keep", &args.texts.lines.keep, String::clone)?;
        unused::check_missing(&args.texts, &args.contrast, needs)?;
        sharding::check(&args.shards, &args.output.format, &["jsonl", "csv", "tsv", "parquet"], args.group_rows)?;
        if args.shards.is_given() {
            return shards::<D>(args, task, needs);
        }
        let inputs = unused::without_contrasts(Inputs::new(&args.texts, &args.contrast)?, needs);
        let single = inputs.len() == Some(1);
        let options = WriterOptions {
            single,
            fields: columns(&args.output.format, &args.texts.lines, Some(&args.texts.columns))?,
            ..WriterOptions::default()
        };
        let writer: Box<dyn Encoder<_>> = match args.output.format.as_str() {
            "parquet" => {
                let kept = kept(&args.texts)?;
                let rows =
                    ScoreRows::new(kept, names(&task), units(&task), task.alternatives, group_rows(args), Vec::new())?;
                Box::new(rows)
            }
            "tsv" => Box::new(Table::new(Format::Tsv, options.fields)),
            _ => Box::new(records(&args.output.format, &options)?),
        };
        let mut places = output::places(inputs.paths(), &args.model);
        let destination = output::open(&args.output.to, writer.way(), &mut places)?;
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.output.to.quiet)?;
        let model = with_aligner::<D>(model, &args.contrast.aligner, &args.model, args.output.to.quiet)?;
        let teller = Teller::new(&args.output.to, inputs.extent());
        note_loaded(&model, started, &teller);
        unused::check_writing_of(&model, &args.texts, &args.generation)?;
        let watch = inputs.watch();
        if let Some(function) = task.drops_nothing(&model) {
            teller.warn(&format!(
                "`{function}` runs the model with dropout, and all dropout rates are 0: give a rate with --dropout"
            ));
        }
        let results =
            Results { destination, writer, extras: Vec::new(), places, teller: teller.clone(), single, watch };
        let started = Instant::now();
        let are_there = inputs.are_there();
        let scored = model
            .score_all(inputs, &task)
            .on_progress(teller.progress_of_texts())
            .on_warning(output::early(&teller, single));
        let done = if are_there { results.write_overlapped(scored) } else { results.write_all(scored) };
        teller.note(|| format!("scored in {:.2} s", started.elapsed().as_secs_f64()));
        note_repeated(&task, &teller);
        done
    }
}

/// Says how many texts had the scores of an equal one.
fn note_repeated<B: Backend>(task: &ScoreTask<B>, teller: &Teller) {
    if let Some(once) = &task.once {
        teller.note(|| format!("{} texts had the scores of an equal one before", once.repeated()));
    }
}

/// Scores texts in shards.
fn shards<D: Devices>(args: &ScoreArgs, mut task: ScoreTask<D::Backend>, needs: Needs) -> Result<(), Failure> {
    let place = Place {
        texts: &args.texts,
        contrast: &args.contrast,
        shards: &args.shards,
        generation: &args.generation,
        model: &args.model,
        to: &args.output.to,
    };
    let functions: Map<String, Value> =
        task.functions.iter().map(|function| (function.name().to_owned(), function.parameters().into())).collect();
    let given = json!({
        "command": "score",
        "step_fn": names(&task),
        "functions": functions,
        "dropout": args.parameters.dropout,
        "masking": args.parameters.masking.map(|masking| format!("{masking:?}")),
        "top": args.top,
        "batch_tokens": args.batches.batch_tokens,
        "group_rows": args.group_rows,
        "by": format!("{:?} {:?}", args.joined.by, args.joined.words),
        "bow_correction": args.joined.bow_correction.map(|variant| format!("{variant:?}")),
        "uncertainty": args.joined.uncertainty,
        "long": format!("{:?}", args.reading.long),
        "start_token": args.reading.start(),
        "once": args.once,
    });
    let format = sharding::format(&args.output.format);
    let fields = columns(&args.output.format, &args.texts.lines, Some(&args.texts.columns))?;
    let kept = if format == Format::Parquet { kept(&args.texts)? } else { [Vec::new(), Vec::new()] };
    let types = kept.iter().flatten().cloned().collect();
    let (sharded, model) = place.open::<D>(format, given, types, &task.options)?;
    let (names, units, alternatives, about) = (names(&task), units(&task), task.alternatives, sharded.about());
    let writer = || {
        Ok(match format {
            Format::Parquet => {
                let (names, units) = (names.clone(), units.clone());
                let rows = ScoreRows::new(kept.clone(), names, units, alternatives, group_rows(args), about.clone())?;
                Box::new(rows) as Box<dyn Encoder<_>>
            }
            Format::Csv | Format::Tsv => Box::new(Table::new(format, fields.clone())),
            _ => Box::new(records("jsonl", &WriterOptions::default())?),
        })
    };
    sharded.run(writer, |lines, first, each| {
        task.options.first_number = first;
        let inputs = unused::without_contrasts(Inputs::lines(lines), needs);
        let are_there = inputs.are_there();
        let progress = sharding::progress(&sharded, first);
        let warn = output::early(&sharded.teller, false);
        let scored = model.score_all(inputs, &task).in_full_windows();
        let mut scored = scored.on_progress(progress).on_warning(warn);
        if are_there { scored.try_for_each_overlapped(each) } else { scored.try_for_each(each) }
    })?;
    note_repeated(&task, &sharded.teller);
    Ok(())
}

/// The names of the step functions, in their order.
fn names<B: Backend>(task: &ScoreTask<B>) -> Vec<String> {
    task.functions.iter().map(|function| function.name().to_owned()).collect()
}

/// The names of the scores of words, sentences, regions or texts, where these are asked for.
fn units<B: Backend>(task: &ScoreTask<B>) -> Option<Vec<String>> {
    (task.by != ScoreUnit::Token).then(|| task.unit_scores())
}

/// The columns of the id and of the fields that travel along.
fn kept(texts: &TextArgs) -> Result<[Vec<Column>; 2], Failure> {
    match texts.lines.input.is_empty() {
        true => Ok([vec![Column::new("id", Type::Int64)], Vec::new()]),
        false => Files::new(&texts.lines, Some(&texts.columns))?.kept(),
    }
}

fn group_rows(args: &ScoreArgs) -> usize {
    args.group_rows.unwrap_or(RowOptions::GROUP_ROWS)
}

/// The chosen step functions, with their parameters.
fn task<B: Backend>(args: &ScoreArgs) -> Result<ScoreTask<B>, Failure> {
    let functions = functions::<B>(&args.step_fn, &args.parameters.set)?;
    let alternatives = args.top.unwrap_or(0);
    let batch_tokens = args.batches.batch_tokens;
    let options = RunOptions { batch_tokens, ..run_options(&args.model, &args.parameters) };
    let is_table = matches!(&*args.output.format, "table" | "csv" | "tsv");
    if args.top.is_some() && args.joined.unit() != ScoreUnit::Token && is_table {
        let what = format!("--top: a table by {} has no place for alternatives of tokens", args.joined.unit().name());
        return Err(Failure::usage(what, "leave it out, or use --format json"));
    }
    Ok(ScoreTask {
        alternatives,
        by: args.joined.unit(),
        words: args.joined.split(),
        bow_correction: args.joined.correction(),
        uncertainty: args.joined.uncertainty,
        long: args.reading.long,
        start_token: args.reading.start(),
        once: args.once.then(Once::default),
        options,
        ..ScoreTask::new(functions)
    })
}
