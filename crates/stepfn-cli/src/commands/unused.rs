//! Options that would be ignored are refused: whoever gives one expects it to matter.

use stepfn::extend::{Need, Needs, StepScore};

use burn::tensor::backend::Backend;
use stepfn::LanguageModel;

use crate::args::{ContrastArgs, GenerationArgs, Pair, TextArgs};
use crate::failure::Failure;
use crate::input::Inputs;

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
    let aligner = [
        ("--align-model", contrast.aligner.align_model.is_some()),
        ("--align-layer", contrast.aligner.align_layer.is_some()),
    ];
    if let Some((option, _)) = aligner.into_iter().find(|&(_, given)| given && contrast.align != [Pair::Auto]) {
        return Err(Failure::usage(
            format!("{option}: nothing is aligned"),
            "leave it out, or align with --align auto",
        ));
    }
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

/// Checks what is compared with: the contrast, the dropout rate, whose context is read, and that nothing is missing.
pub(super) fn check_comparing(
    texts: &TextArgs,
    contrast: &ContrastArgs,
    (dropout, force_inputs): (Option<f64>, bool),
    needs: Needs,
) -> Result<(), Failure> {
    check(contrast, dropout, needs)?;
    if force_inputs && needs.contrast == Need::Unused {
        let what = "--contrast-force-inputs: no step function asked for compares with a contrast";
        return Err(Failure::usage(what, COMPARING));
    }
    check_missing(texts, contrast, needs)
}

/// The texts without contrasts, if no function compares with them.
pub(super) fn without_contrasts(inputs: Inputs, needs: Needs) -> Inputs {
    const WHY: &str = "no step function asked for compares with a contrast";
    match needs.contrast {
        Need::Unused => inputs.without(&["contrast_source", "contrast_target"], WHY),
        _ => inputs,
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
    match needs.contrast == Need::Required && !is_given && texts.lines.input.is_empty() {
        true => Err(Failure::usage(
            "a step function asked for compares with a contrast, and there is none",
            "give --contrast-source or --contrast-target",
        )),
        false => Ok(()),
    }
}

/// Checks that what says how the model writes has something to say.
pub(super) fn check_writing(texts: &TextArgs, generation: &GenerationArgs) -> Result<(), Failure> {
    check_written(texts.target.is_some().then_some("--target"), generation)
}

/// The same where an option gives the target.
pub(super) fn check_written(given: Option<&str>, generation: &GenerationArgs) -> Result<(), Failure> {
    match (given, of_writing(generation)) {
        (Some(given), Some(option)) => Err(Failure::usage(
            format!("{option}: the target is given, so the model writes nothing"),
            format!("leave out {option}, or {given}"),
        )),
        _ => Ok(()),
    }
}

/// The same of a causal model, to which a text alone is the target.
pub(super) fn check_writing_of<B: Backend>(
    model: &LanguageModel<B>,
    texts: &TextArgs,
    generation: &GenerationArgs,
) -> Result<(), Failure> {
    match of_writing(generation) {
        Some(option) if !texts.text.is_empty() && !model.is_encoder_decoder() => Err(Failure::usage(
            format!("{option}: a text alone is what this model should say, so it writes nothing"),
            format!("leave out {option}, or give a prompt with --source"),
        )),
        _ => Ok(()),
    }
}

/// An option that says how the model writes, and nothing about targets that are given.
fn of_writing(generation: &GenerationArgs) -> Option<String> {
    /// Fields that say what targets begin with, and where they end.
    const OF_TARGETS: [&str; 3] = ["decoder_start_token_id", "forced_bos_token_id", "eos_token_id"];
    let field = |text: &String| {
        let field = text.split('=').next().unwrap_or_default().trim().to_owned();
        (!OF_TARGETS.contains(&field.as_str())).then(|| format!("--generation {field}"))
    };
    let most = generation.max_new_tokens.map(|_| "--max-new-tokens".to_owned());
    most.or_else(|| generation.generation.iter().find_map(field))
}

/// Checks that a list has nothing twice.
pub(super) fn check_once<T: PartialEq>(option: &str, list: &[T], shown: impl Fn(&T) -> String) -> Result<(), Failure> {
    match (1..list.len()).find(|&index| list[..index].contains(&list[index])) {
        Some(index) => {
            let what = format!("{option} has `{}` twice", shown(&list[index]));
            Err(Failure::usage(what, "give each one once"))
        }
        None => Ok(()),
    }
}

/// Checks that nothing is set twice: `--set top_p=0.9 --set top_p=0.5`.
pub(super) fn check_set_once(option: &str, assignments: &[String]) -> Result<(), Failure> {
    let names: Vec<&str> = assignments.iter().filter_map(|text| Some(text.split_once('=')?.0.trim())).collect();
    check_once(option, &names, |name| (*name).to_owned())
}
