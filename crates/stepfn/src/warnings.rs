//! What to know before trusting a number.

use stepfn_attribution::{Attribution, Text};
use stepfn_models::chat::MessageSpan;
use stepfn_models::config::TransformerConfig;

/// The greatest share of `f(x) − f(x̄)` by which scores may miss it without a word.
const SHARE: f32 = 0.05;
/// Deltas that are rounding.
const ROUNDING: f32 = 1e-6;

/// Of a text that is longer than those that the model was made for.
pub(crate) fn of_length(config: &TransformerConfig, text: &Text) -> Option<String> {
    let read = if text.masked.is_some() { text.target.len() } else { text.target.len().saturating_sub(1) };
    of_lengths(config, text.source.as_ref().map_or(0, Vec::len), read)
}

/// Of a source of so many tokens, and so many of a target that are read: nothing comes after the last.
pub(crate) fn of_lengths(config: &TransformerConfig, source: usize, target: usize) -> Option<String> {
    let stacks = config.encoder.iter().map(|encoder| (encoder, "source", source));
    let mut stacks = stacks.chain([(&config.decoder, "target", target)]);
    stacks.find_map(|(stack, side, tokens)| {
        // Where the model has no more positions, a longer text is an error.
        let most = stack.positions.made_for().filter(|_| stack.most_tokens().is_none())?;
        (tokens > most).then(|| {
            format!("{tokens} tokens of the {side} are read, and the model was made for {most}: what it predicts there may mean nothing")
        })
    })
}

/// Of messages that the model doesn't see as they are.
pub(crate) fn of_chat(messages: &[MessageSpan]) -> Option<String> {
    let lost = |(_, message): &(usize, &MessageSpan)| message.whole.is_none() && message.content.is_none();
    let lost: Vec<String> =
        (1..).zip(messages).filter(lost).map(|(number, message)| format!("{number} ({})", message.role)).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "the chat template leaves out or changes these messages, which are not found in its text: {}",
            lost.join(", ")
        )
    })
}

/// Of scores that say nothing.
pub(crate) fn of_nothing(attribution: &Attribution) -> Option<String> {
    let sides = || [&attribution.source_scores, &attribution.target_scores].into_iter().flatten();
    let mut values = sides().flat_map(|scores| scores.values()).filter(|value| !value.is_nan()).peekable();
    let is_nothing = values.peek().is_some() && values.all(|value| *value == 0.0);
    is_nothing
        .then(|| "all scores are 0: the method, as it is set, finds nothing that matters to the function".to_owned())
}

/// Of scores that promise to add up and don't.
pub(crate) fn of_completeness(attribution: &Attribution) -> Option<String> {
    let (deltas, changes) = (attribution.deltas.as_ref()?, attribution.changes.as_ref()?);
    let misses = |(delta, change): &(&f32, &f32)| delta.abs() > SHARE * change.abs() && delta.abs() > ROUNDING;
    let missing = deltas.iter().zip(changes).filter(misses).count();
    let share = |(delta, change): (&f32, &f32)| (delta / change).abs();
    // Where nothing changes there is no share.
    let shares = deltas.iter().zip(changes).filter(misses).map(share).filter(|share| share.is_finite());
    let worst = shares.reduce(f32::max).map_or_else(String::new, |worst| format!(", by up to {:.0} %", worst * 100.0));
    let finer = ["n_steps", "n_samples"].into_iter().find(|&name| attribution.about.parameters.contains_key(name));
    let advice = finer.map_or_else(String::new, |name| format!("; a greater `{name}` may help"));
    let steps = deltas.len();
    (missing > 0)
        .then(|| format!("at {missing} of {steps} steps the scores miss what they should add up to{worst}{advice}"))
}
