//! Options that would be ignored are refused: whoever gives one expects it to matter.

use stepfn::extend::{Need, Needs, StepScore};

use crate::args::{ContrastArgs, GenerationArgs, TextArgs};
use crate::failure::Failure;

/// What these functions need together.
pub(super) fn needs<'a>(functions: impl Iterator<Item = &'a (impl StepScore + ?Sized + 'a)>) -> Needs {
    functions.map(StepScore::needs).fold(Needs::default(), Needs::union)
}

/// What to do about options that are for functions that compare.
pub(super) const COMPARING: &str = "leave it out, or choose a function that does, such as contrast_prob_diff or pcxmi";

/// Checks that the contrast and the dropout rate of the command line are used.
pub(super) fn check(contrast: &ContrastArgs, dropout: Option<f64>, needs: Needs) -> Result<(), Failure> {
    let given = [
        ("--contrast-source", contrast.contrast_source.is_some()),
        ("--contrast-target", contrast.contrast_target.is_some()),
        ("--align", !contrast.align.is_empty()),
    ];
    let unused = given.into_iter().find(|&(_, given)| given && needs.contrast == Need::Unused);
    if let Some((option, _)) = unused {
        return Err(Failure::usage(
            format!("{option}: no step function asked for compares with a contrast"),
            COMPARING,
        ));
    }
    match dropout.is_some() && needs.noisy_samples == 0 {
        true => Err(Failure::usage(
            "--dropout: no step function asked for runs the model with dropout",
            "leave it out, or choose a function that does, such as mc_dropout_prob_avg",
        )),
        false => Ok(()),
    }
}

/// Checks that several texts don't share one target.
pub(super) fn check_texts(texts: &TextArgs) -> Result<(), Failure> {
    let shared = [("--source", texts.source.is_some()), ("--target", texts.target.is_some())];
    match shared.into_iter().find(|&(_, given)| given && texts.text.len() > 1) {
        Some((option, _)) => Err(Failure::usage(
            format!("{option}: one for {} texts", texts.text.len()),
            "give one text, or all of them as lines of --input",
        )),
        None => Ok(()),
    }
}

/// Checks that there is a contrast for functions that need one. Whether lines of a file have one is seen as they are read.
pub(super) fn check_missing(texts: &TextArgs, contrast: &ContrastArgs, needs: Needs) -> Result<(), Failure> {
    let is_given = contrast.contrast_source.is_some() || contrast.contrast_target.is_some();
    match needs.contrast == Need::Required && !is_given && texts.lines.input.is_none() {
        true => Err(Failure::usage(
            "a step function asked for compares with a contrast, and there is none",
            "give --contrast-source or --contrast-target",
        )),
        false => Ok(()),
    }
}

/// Checks that what says how the model writes has something to say.
pub(super) fn check_writing(texts: &TextArgs, generation: &GenerationArgs) -> Result<(), Failure> {
    match texts.target.is_some() && generation.max_new_tokens.is_some() {
        true => Err(Failure::usage(
            "--max-new-tokens: the target is given, so the model writes nothing",
            "leave out --max-new-tokens, or --target",
        )),
        false => Ok(()),
    }
}
