//! Loads the chosen model on the chosen backend.

use std::time::Instant;

use serde_json::Map;
use stepfn::backend::{Devices, OnBackend, run_on};
use stepfn::{LanguageModel, LoadOptions, RunOptions};

use super::parameters::assignment;
use super::unused;
use crate::args::{AlignerArgs, GenerationArgs, MaskingName, ModelArgs, ParameterArgs};
use crate::failure::Failure;
use crate::progress::{DownloadBar, Teller};

/// The model if none is given.
const DEFAULT_MODEL: &str = "g2p";

/// Runs work on the chosen backend.
pub(super) fn dispatch(args: &ModelArgs, work: impl OnBackend<Output = Result<(), Failure>>) -> Result<(), Failure> {
    run_on(&args.backend, work)?
}

/// Loads the model, with a bar for its download, unless `quiet`.
pub(super) fn load<D: Devices>(
    args: &ModelArgs,
    generation: &GenerationArgs,
    quiet: bool,
) -> Result<LanguageModel<D::Backend>, Failure> {
    let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
    let bar = DownloadBar::new(quiet);
    Ok(LanguageModel::load_watched::<D>(name, &load_options(args, generation)?, &|download| bar.set(download))?)
}

/// Lets another model align texts, or another layer, if that is asked for.
pub(super) fn with_aligner<D: Devices>(
    model: LanguageModel<D::Backend>,
    aligner: &AlignerArgs,
    args: &ModelArgs,
    quiet: bool,
) -> Result<LanguageModel<D::Backend>, Failure> {
    let model = match &aligner.align_model {
        None => model,
        Some(name) => {
            let bar = DownloadBar::new(quiet);
            let (device, dtype) = (args.device.clone(), args.dtype.dtype());
            let options = LoadOptions { device, dtype, for_states: true, ..LoadOptions::default() };
            let other = LanguageModel::load_watched::<D>(name, &options, &|download| bar.set(download));
            model.aligned_by(other.map_err(|error| Failure::from(error).at(&format!("--align-model {name}")))?)
        }
    };
    match aligner.align_layer {
        None => Ok(model),
        Some(layer) => Ok(model.aligned_at(layer)?),
    }
}

fn load_options(args: &ModelArgs, generation: &GenerationArgs) -> Result<LoadOptions, Failure> {
    unused::check_set_once("--generation", &generation.generation)?;
    let mut changes = Map::new();
    for text in &generation.generation {
        let (name, value) = assignment(text, "generation")?;
        changes.insert(name, value);
    }
    if let Some(most) = generation.max_new_tokens
        && changes.insert("max_new_tokens".to_owned(), most.into()).is_some()
    {
        let what = "--max-new-tokens and --generation max_new_tokens are the same setting";
        return Err(Failure::usage(what, "give one of them"));
    }
    Ok(LoadOptions {
        device: args.device.clone(),
        dtype: args.dtype.dtype(),
        generation: changes,
        base: args.base.clone(),
        source_lang: generation.source_lang.clone(),
        target_lang: generation.target_lang.clone(),
        seed: args.seed,
        for_states: false,
    })
}

/// The options of a run.
pub(super) fn run_options(args: &ModelArgs, parameters: &ParameterArgs) -> RunOptions {
    let &ModelArgs { seed, memory, .. } = args;
    let masking = parameters.masking.map(MaskingName::masking);
    RunOptions { seed, dropout: parameters.dropout, memory, masking, ..RunOptions::default() }
}

/// With `--verbose`, reports what was loaded and how long it took.
pub(super) fn note_loaded<B: stepfn::extend::burn::tensor::backend::Backend>(
    model: &LanguageModel<B>,
    started: Instant,
    teller: &Teller,
) {
    teller.note(|| format!("{} ({}) on {}: {}", model.name(), model.family(), model.backend(), model.device()));
    teller.note(|| format!("loaded in {:.2} s", started.elapsed().as_secs_f64()));
}
