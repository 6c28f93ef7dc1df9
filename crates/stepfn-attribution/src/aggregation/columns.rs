//! What is done to the numbers and not to the tokens: shares of a step, fewer rows, differences.

use core::ops::Range;

use stepfn_models::tokenizer::Token;

use super::Slice;
use crate::{Attribution, AttributionError, MERGED, ParameterError, Provenance, Scores};

/// Divides each step's scores by the sum of their absolute values over source and target together, for each position of inner axes. A
/// step of nothing but zeros stays as it is.
///
/// # Errors
/// [`AttributionError::Catalog`] if source and target have different axes after token and step.
pub(super) fn normalize(attribution: &Attribution) -> Result<Attribution, AttributionError> {
    let sides: Vec<&Scores> = [&attribution.source_scores, &attribution.target_scores].into_iter().flatten().collect();
    let Some(first) = sides.first() else { return Ok(attribution.clone()) };
    if let Some(other) = sides.iter().find(|side| side.inner() != first.inner()) {
        return Err(AttributionError::from(ParameterError::new(
            "normalize",
            "scores",
            format!("the same axes for source and target, {:?}: reduce them first", first.axes()),
            format!("{:?} with shape {:?}", other.axes(), other.shape()),
        )));
    }
    let inner = first.inner();
    let depth: usize = inner.iter().map(|&(_, size)| size).product();
    let mut sums = vec![0f64; first.steps() * depth];
    for side in &sides {
        for (place, value) in side.values().iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            sums[place % (side.steps() * depth)] += f64::from(value.abs());
        }
    }
    let share = |scores: &Scores| {
        Scores::filled(scores.tokens(), scores.steps(), &inner, |token, step, position| {
            let sum = sums[step * depth + position];
            let value = scores.at(token, step)[position];
            if sum > 0.0 { (f64::from(value) / sum) as f32 } else { value }
        })
    };
    Ok(Attribution {
        source_scores: attribution.source_scores.as_ref().map(share),
        target_scores: attribution.target_scores.as_ref().map(share),
        ..attribution.clone()
    })
}

/// Keeps some source and target tokens; a side without positions is kept whole, and steps are always kept.
///
/// # Errors
/// [`AttributionError::Catalog`] if there are no such positions.
pub(super) fn keep(
    attribution: &Attribution,
    source: &[Slice],
    target: &[Slice],
) -> Result<Attribution, AttributionError> {
    let Range { start, end } = attribution.steps;
    let source_rows = rows(source, attribution.source.len(), "source", &(0..0))?;
    let target_rows = rows(target, attribution.target.len(), "target", &attribution.steps)?;
    let first = target_rows.iter().position(|&row| row >= start).unwrap_or(target_rows.len());
    let pick_tokens = |tokens: &[Token], rows: &[usize]| rows.iter().map(|&row| tokens[row].clone()).collect();
    let pick = |scores: &Scores, rows: &[usize]| {
        Scores::filled(rows.len(), scores.steps(), &scores.inner(), |row, step, position| {
            scores.at(rows[row], step)[position]
        })
    };
    Ok(Attribution {
        source: pick_tokens(&attribution.source, &source_rows),
        target: pick_tokens(&attribution.target, &target_rows),
        steps: first..first + (end - start),
        spans: (attribution.spans.iter()).map(|span| span.start - start + first..span.end - start + first).collect(),
        source_scores: attribution.source_scores.as_ref().map(|scores| pick(scores, &source_rows)),
        target_scores: attribution.target_scores.as_ref().map(|scores| pick(scores, &target_rows)),
        ..attribution.clone()
    })
}

/// The positions that slices name, in order and once each, and those of `always`.
fn rows(slices: &[Slice], len: usize, side: &str, always: &Range<usize>) -> Result<Vec<usize>, AttributionError> {
    if slices.is_empty() {
        return Ok((0..len).collect());
    }
    let mut kept = vec![false; len];
    kept[always.clone()].fill(true);
    for slice in slices {
        kept[slice.resolve(len, "slices", side)?].fill(true);
    }
    Ok((0..len).filter(|&row| kept[row]).collect())
}

/// `attribution − other`, score by score. Tokens that differ are labelled `one → other`.
///
/// # Errors
/// [`AttributionError::Text`] if the two have not the same numbers of tokens, steps and axes, or not the same step scores.
pub(super) fn difference(attribution: &Attribution, other: &Attribution) -> Result<Attribution, AttributionError> {
    let sizes = |of: &Attribution| {
        let scores = |scores: &Option<Scores>| scores.as_ref().map_or_else(Vec::new, |scores| scores.shape().to_vec());
        let names: Vec<&String> = of.step_scores.keys().collect();
        format!(
            "{} source tokens, {} target tokens, steps {:?}, spans {:?}, source scores {:?}, target scores {:?}, step scores {names:?}",
            of.source.len(),
            of.target.len(),
            of.steps,
            of.spans,
            scores(&of.source_scores),
            scores(&of.target_scores),
        )
    };
    if sizes(attribution) != sizes(other) {
        return Err(AttributionError::Text(format!(
            "one of the two has {}, and the other {}; merge tokens before, so that the two match",
            sizes(attribution),
            sizes(other)
        )));
    }
    let tokens =
        |ours: &[Token], theirs: &[Token]| ours.iter().zip(theirs).map(|(one, other)| label(one, other)).collect();
    let columns = |ours: &[f32], theirs: &[f32]| ours.iter().zip(theirs).map(|(one, other)| one - other).collect();
    let scores = |ours: &Option<Scores>, theirs: &Option<Scores>| {
        let (ours, theirs) = (ours.as_ref()?, theirs.as_ref()?);
        Some(Scores::filled(ours.tokens(), ours.steps(), &ours.inner(), |token, step, position| {
            ours.at(token, step)[position] - theirs.at(token, step)[position]
        }))
    };
    Ok(Attribution {
        source: tokens(&attribution.source, &other.source),
        target: tokens(&attribution.target, &other.target),
        source_scores: scores(&attribution.source_scores, &other.source_scores),
        target_scores: scores(&attribution.target_scores, &other.target_scores),
        step_scores: (attribution.step_scores.iter().zip(other.step_scores.values()))
            .map(|((name, ours), theirs)| (name.clone(), columns(ours, theirs)))
            .collect(),
        // Of two outputs, neither's alternatives and measurements are those of their difference.
        alternatives: Vec::new(),
        measured: Default::default(),
        deltas: attribution.deltas.as_ref().zip(other.deltas.as_ref()).map(|(ours, theirs)| columns(ours, theirs)),
        changes: attribution.changes.as_ref().zip(other.changes.as_ref()).map(|(ours, theirs)| columns(ours, theirs)),
        about: of_both(&attribution.about, &other.about),
        ..attribution.clone()
    })
}

/// How two outputs were made, where they were not made in the same way: `saliency − lime`.
fn of_both(one: &Provenance, other: &Provenance) -> Provenance {
    let both = |one: &String, other: &String| match one == other {
        true => one.clone(),
        false => format!("{} − {}", named(one), named(other)),
    };
    Provenance {
        method: both(&one.method, &other.method),
        attributed_fn: both(&one.attributed_fn, &other.attributed_fn),
        model: both(&one.model, &other.model),
        family: both(&one.family, &other.family),
        ..one.clone()
    }
}

/// A name, or that there is none.
fn named(name: &str) -> &str {
    if name.is_empty() { "nothing" } else { name }
}

fn label(one: &Token, other: &Token) -> Token {
    if one.surface == other.surface {
        return one.clone();
    }
    let surface = format!("{} → {}", one.surface.trim_end(), other.surface.trim());
    Token { id: MERGED, surface, ..one.clone() }
}
