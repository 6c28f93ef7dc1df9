//! What commands share that write shards: options that go together, and what a folder was made with.

use core::ops::ControlFlow;
use std::time::Instant;

use stepfn::backend::Devices;
use stepfn::{LanguageModel, Map, Progress, RunOptions, Value, json};
use stepfn_corpus::{Column, Fingerprint, Folder, Format, InputFile, Job, Manifest, Shards, count};

use super::loading::{load, note_loaded};
use super::unused;
use crate::args::{ContrastArgs, DestinationArgs, GenerationArgs, ModelArgs, ShardArgs, TextArgs};
use crate::failure::Failure;
use crate::input::{Files, Inputs};
use crate::output::Sharded;
use crate::progress::{Extent, Teller};

/// Checks that options of shards and of Parquet have something to say.
pub(super) fn check(
    shards: &ShardArgs,
    format: &str,
    formats: &[&str],
    group_rows: Option<usize>,
) -> Result<(), Failure> {
    if group_rows.is_some() && format != "parquet" {
        return Err(Failure::usage(
            "--group-rows: only Parquet has groups of rows",
            "leave it out, or use --format parquet",
        ));
    }
    if shards.shard_name.is_some() && !shards.is_given() {
        return Err(Failure::usage("--shard-name: there are no shards", "leave it out, or give --shards"));
    }
    if shards.is_given() && !formats.contains(&format) {
        let what = format!("--shards: this command has no shards in the format {format}");
        return Err(Failure::usage(what, format!("use --format {}", formats.join(" or --format "))));
    }
    if let Some(name) = shards.shard_name.as_deref().filter(|name| name.contains(['/', '\\']) || name.starts_with('.'))
    {
        return Err(Failure::usage(
            format!("--shard-name {name}: this is no beginning of a file's name"),
            "use letters, digits, - and _",
        ));
    }
    Ok(())
}

/// The format of this name, of those that shards have.
pub(super) fn format(name: &str) -> Format {
    Format::ALL.into_iter().find(|format| format.name() == name).unwrap_or(Format::JsonLines)
}

/// What a run in shards is given, besides its own options.
pub(super) struct Place<'a> {
    pub(super) texts: &'a TextArgs,
    pub(super) contrast: &'a ContrastArgs,
    pub(super) shards: &'a ShardArgs,
    pub(super) generation: &'a GenerationArgs,
    pub(super) model: &'a ModelArgs,
    pub(super) to: &'a DestinationArgs,
}

impl Place<'_> {
    /// Loads the model and opens the folder. `given` are the options of the command, and `columns` those that a table has of the input's.
    pub(super) fn open<D: Devices>(
        &self,
        format: Format,
        given: Value,
        columns: Vec<Column>,
        options: &RunOptions,
    ) -> Result<(Sharded, LanguageModel<D::Backend>), Failure> {
        let common = Inputs::common(self.texts, self.contrast)?;
        let files = Files::new(&self.texts.lines, Some(&self.texts.columns))?;
        let is_standard = files.sources.iter().any(|source| source.path.is_none());
        if is_standard && self.shards.shard_rows.is_none() {
            return Err(Failure::usage(
                "--shards: nobody knows how many texts standard input has",
                "say how many are in a shard, with --shard-rows N",
            ));
        }
        let path = self.to.output.as_deref().unwrap_or(std::path::Path::new("-"));
        if path.as_os_str() == "-" || path.is_file() {
            let what = format!("-o {}: shards are written to a folder", path.display());
            return Err(Failure::usage(what, "give the name of a folder, which is made if it isn't there"));
        }
        let started = Instant::now();
        let model = load::<D>(self.model, self.generation, self.to.quiet)?;
        unused::check_writing_of(&model, self.texts, self.generation)?;
        let command = given["command"].as_str().unwrap_or("results").to_owned();
        let name = self.shards.shard_name.clone().unwrap_or(command);
        let job = self.shards.shard.unwrap_or_default();
        let number = self.shards.shards.unwrap_or(job.of);
        let division = match self.shards.shard_rows {
            Some(rows) => format!("{rows} records each"),
            None => format!("{number} shards"),
        };
        let input = files.sources.iter().map(|source| {
            let fingerprint = source.path.as_deref().map(Fingerprint::of).transpose()?;
            Ok(InputFile { name: source.name.clone(), fingerprint })
        });
        let wanted = Manifest {
            name,
            format: format.name().to_owned(),
            division,
            columns: columns.iter().map(|column| (column.name.clone(), column.kind.to_string().into())).collect(),
            run: self.run(&model, given, options)?,
            input: input.collect::<Result<_, Failure>>()?,
            extents: Vec::new(),
        };
        let counted = || match is_standard {
            true => Ok(Vec::new()),
            false => files.sources.iter().map(count).collect(),
        };
        let divided = |records: Option<usize>| match (self.shards.shard_rows, records) {
            (Some(rows), records) => Shards::of_rows(rows, records),
            (None, records) => Shards::of(number, records.unwrap_or(0)),
        };
        let folder = Folder::open(path, format, wanted, counted, divided)?;
        let extent = folder.shards().records.map_or(Extent::Unknown, Extent::Texts);
        let teller = Teller::new(self.to, extent);
        note_loaded(&model, started, &teller);
        Ok((Sharded { folder, files, job: Job { ..job }, common, teller }, model))
    }

    /// All that the results depend on, besides the texts.
    fn run<B: burn::tensor::backend::Backend>(
        &self,
        model: &LanguageModel<B>,
        given: Value,
        options: &RunOptions,
    ) -> Result<Map<String, Value>, Failure> {
        let file = |path: std::path::PathBuf| {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let Fingerprint { bytes, sample } = Fingerprint::of(&path)?;
            Ok(json!({"file": name, "bytes": bytes, "sample": sample}))
        };
        let named = self.model.model.iter().chain(&self.model.base);
        let files =
            named.flat_map(|name| stepfn::model_files(name)).map(file).collect::<Result<Vec<Value>, Failure>>()?;
        let (texts, generation) = (self.texts, self.generation);
        let run = json!({
            "options": given,
            "model": model.name(),
            "family": model.family(),
            "files": files,
            "backend": model.backend(),
            "device": model.device().name,
            "seed": options.seed,
            "memory": model.memory(options),
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "instructions": instructions(),
            "stepfn": env!("CARGO_PKG_VERSION"),
            "generation": generation.generation,
            "max_new_tokens": generation.max_new_tokens,
            "languages": [&generation.source_lang, &generation.target_lang],
            "chat_template": texts.chat.chat_template,
            "chat_set": texts.chat.chat_set.iter().map(|(name, value)| json!([name, format!("{value:?}")])).collect::<Vec<_>>(),
            "align": self.contrast.align,
            "aligner": [json!(self.contrast.aligner.align_model), json!(self.contrast.aligner.align_layer)],
            "parts": texts.columns.parts(),
            "keep": texts.lines.keep,
            "input_format": texts.lines.input_format,
        });
        Ok(run.as_object().cloned().unwrap_or_default())
    }
}

/// The widest instructions that kernels use here. With others, the last digits may differ.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    std::env::consts::ARCH
}

/// Shows how far the texts of a shard are, the first of which has this number.
pub(super) fn progress(sharded: &Sharded, first: usize) -> impl Fn(Progress) -> ControlFlow<()> + '_ {
    move |progress| {
        sharded.scored();
        sharded.teller.done(first + progress.texts_done);
        ControlFlow::Continue(())
    }
}
