//! Texts that are longer than the model's positions, read in windows.

use std::borrow::Cow;

use stepfn_models::config::TransformerConfig;

use crate::masked::{Places, Reading};
use crate::{AttributionError, Text};

/// Windows over a text that is longer than the model's positions `P`: those that it has, or where it has no last one, those that it was made for.
///
/// The first window reads the first `P` tokens and predicts all it can. Each of the others reads `P` tokens and predicts the last `stride` of what
/// follows them, so that every token is predicted from at least `P − stride` tokens, and once. If the text begins with the model's start token,
/// or is the target of an encoder–decoder, its first token is also the first of every window. A text that fits is read in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// How many tokens each window but the first predicts: 1 or more, and of the model's positions at most as many as there are.
    pub stride: usize,
}

impl Windows {
    /// What is read of a text without a contrast.
    ///
    /// # Errors
    /// [`AttributionError::Text`] if the stride is not smaller than the model's positions.
    pub(super) fn readings<'t>(
        self,
        config: &TransformerConfig,
        text: &'t Text,
    ) -> Result<Vec<Reading<'t>>, AttributionError> {
        text.check()?;
        let most = config.decoder.made_for().filter(|&most| text.masked.is_none() && text.steps.end - 1 > most);
        let Some(most) = most else { return text.readings() };
        let Self { stride } = self;
        if stride >= most {
            let what =
                format!("windows that go on by {stride} tokens leave no context, because the model reads {most}");
            return Err(AttributionError::Text(what));
        }
        let keeps_first = config.is_encoder_decoder() || config.special.bos == text.target.first().copied();
        let mut readings = Vec::new();
        let mut from = text.steps.start;
        while from < text.steps.end {
            let end = if from <= most { most + 1 } else { from + stride }.min(text.steps.end);
            let begin = (end - 1).saturating_sub(most);
            let mut target = text.target[begin..end].to_vec();
            if keeps_first {
                target[0] = text.target[0];
            }
            let steps = from - begin..end - begin;
            let text = Text { source: text.source.clone(), target, steps, contrast: None, masked: None };
            readings.push(Reading { text: Cow::Owned(text), places: None });
            from = end;
        }
        Ok(readings)
    }
}

impl AttributionError {
    /// An error of a window as one of the text, in which so many steps are before the window's.
    pub(super) fn after_steps(self, before: usize, places: Option<Places>) -> Self {
        match self {
            Self::Step { step: Some(step), error } if places.is_none() => {
                Self::Step { step: Some(before + step), error }
            }
            other => other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::path::Path;

    use burn::tensor::DType;
    use stepfn_core::{Registry, StepFunction};
    use stepfn_models::Model;

    use super::*;
    use crate::{ScoringOptions, TextScores, score};

    type B = stepfn_cpu::Backend;

    fn load() -> Model<B> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models/gpt2");
        Model::load(folder, DType::F32, &Default::default()).unwrap()
    }

    fn surprisal(model: &Model<B>, text: Text, windows: Option<Windows>) -> Result<TextScores, AttributionError> {
        let functions: [Box<dyn StepFunction<B>>; 1] =
            [Registry::default().make("surprisal", &Default::default()).unwrap()];
        let options = ScoringOptions { windows, ..ScoringOptions::default() };
        score(model, &[text], &functions, &options).unwrap().remove(0)
    }

    #[test]
    fn each_token_is_predicted_once_from_enough_tokens() {
        let model = load();
        let most = model.config().decoder.most_tokens().unwrap();
        let ids: Vec<u32> = (0..3 * most as u32 + 5).map(|n| (n * n + 3 * n) % 89).collect();
        for (first, stride) in [(1, most / 2), (4, 1 + most / 3), (most + 7, 3)] {
            let found = surprisal(&model, Text::causal(ids.clone(), first), Some(Windows { stride })).unwrap();
            let values = &found.scores[0].1;
            assert_eq!(
                (found.first, values.len(), found.log_probs.len()),
                (first, ids.len() - first, ids.len() - first)
            );
            // Where each window ends, as the documentation of `Windows` says.
            let mut ends = vec![(most + 1).max(first)];
            while ends.last().is_some_and(|&end| end < ids.len()) {
                ends.push((ends[ends.len() - 1] + stride).min(ids.len()));
            }
            for step in [first, most.max(first), most + stride + 8, ids.len() - 1] {
                let end = *ends.iter().find(|&&end| step < end).unwrap();
                let begin = (end - 1).saturating_sub(most);
                assert!(step - begin >= (most - stride).min(step), "{step}: {begin}");
                let alone = surprisal(&model, Text::causal(ids[begin..=step].to_vec(), step - begin), None).unwrap();
                let (ours, theirs) = (values[step - first], alone.scores[0].1[0]);
                assert!((ours - theirs).abs() < 1e-4, "{first} {stride} {step}: {ours} {theirs}");
            }
            let sum: f64 = values.iter().map(|&bits| f64::from(bits)).sum();
            assert!((found.sequence.logprob + sum * core::f64::consts::LN_2).abs() < 1e-2);
        }
    }

    #[test]
    fn every_window_begins_with_the_start_token_of_the_text() {
        let model = load();
        let config = model.config();
        let (most, start) = (config.decoder.most_tokens().unwrap(), config.special.bos.unwrap());
        let ids: Vec<u32> = core::iter::once(start).chain((0..2 * most as u32).map(|n| n % 89)).collect();
        let text = Text::causal(ids.clone(), 1);
        let readings = Windows { stride: 10 }.readings(config, &text).unwrap();
        assert!(readings.iter().all(|reading| reading.text.target[0] == start && reading.text.steps.end - 1 <= most));
        assert_eq!(readings.iter().map(|reading| reading.text.steps.len()).sum::<usize>(), ids.len() - 1);
        assert_eq!(readings[1].text.target[1..], ids[11..most + 11]);
    }

    #[test]
    fn without_windows_a_long_text_is_an_error_and_windows_need_a_context() {
        let model = load();
        let most = model.config().decoder.most_tokens().unwrap();
        let text = || Text::causal(vec![1; most + 2], 1);
        assert!(surprisal(&model, text(), None).unwrap_err().to_string().contains("can read"));
        let error = surprisal(&model, text(), Some(Windows { stride: most })).unwrap_err().to_string();
        assert!(error.contains("leave no context"), "{error}");
        let fits = Text::causal(vec![1; most + 1], 1);
        let whole = surprisal(&model, fits.clone(), None).unwrap();
        assert_eq!(surprisal(&model, fits, Some(Windows { stride: 3 })).unwrap(), whole);
    }
}
