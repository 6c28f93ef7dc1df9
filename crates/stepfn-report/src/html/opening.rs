//! Which step is selected when a page opens: the one that surprised the model most.

use stepfn_attribution::Attribution;

/// Step functions that say how unexpected a token was, and whether their largest value or their smallest is the most surprising.
const SURPRISE: [(&str, f32); 8] = [
    ("surprisal", 1.0),
    ("crossentropy", 1.0),
    ("probability", -1.0),
    ("perplexity", 1.0),
    ("rank", 1.0),
    ("margin", -1.0),
    ("typicality", 1.0),
    ("entropy", 1.0),
];

/// The most surprising step, by the first of the step scores above that the attribution has, or else the one that depends on ordinary tokens
/// most. Special tokens are only selected if there is nothing else; `None` without steps.
pub(super) fn opening(attribution: &Attribution) -> Option<usize> {
    let known = SURPRISE.iter().find_map(|&(name, sign)| Some((attribution.step_scores.get(name)?, sign)));
    let size = |step: usize| match known {
        Some((values, sign)) => sign * values[step],
        None => dependence(attribution, step),
    };
    let predicted = &attribution.target[attribution.steps.clone()];
    let rank = |step: usize| {
        let size = size(step);
        (!predicted[step].special, if size.is_nan() { f32::NEG_INFINITY } else { size })
    };
    let steps: Vec<usize> = (0..predicted.len()).collect();
    let best = steps.into_iter().map(|step| (step, rank(step))).reduce(|best, other| {
        let better = (other.1.0, other.1.1) > (best.1.0, best.1.1);
        if better { other } else { best }
    });
    best.map(|(step, _)| step)
}

/// The sum of the absolute scores of ordinary tokens at a step.
fn dependence(attribution: &Attribution, step: usize) -> f32 {
    let sides = [(&attribution.source, &attribution.source_scores), (&attribution.target, &attribution.target_scores)];
    let mut sum = 0.0;
    for (tokens, scores) in sides {
        let Some(scores) = scores else { continue };
        let ordinary = tokens.iter().enumerate().filter(|(_, token)| !token.special);
        let values = ordinary.flat_map(|(token, _)| scores.at(token, step));
        sum += values.filter(|value| value.is_finite()).map(|value| value.abs()).sum::<f32>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_most_surprising_ordinary_step_is_selected() {
        let mut translation = samples::translation();
        // Probabilities: " Vor" has 0.41, the least.
        assert_eq!(opening(&translation), Some(1));
        translation
            .step_scores
            .insert("surprisal".to_owned(), vec![1.0, 2.0, f32::NAN, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 9.0]);
        assert_eq!(opening(&translation), Some(4), "`</s>` is more surprising, but a special token");
        translation.step_scores.clear();
        translation.source_scores = None;
        assert_eq!(opening(&translation), Some(8), "the last ordinary step sees most tokens");
        translation.steps = 11..11;
        translation.target_scores = None;
        assert_eq!(opening(&translation), None);
    }
}
