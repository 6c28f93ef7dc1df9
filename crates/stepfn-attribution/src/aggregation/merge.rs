//! Merges neighbouring tokens: rows of scores, columns if the tokens are steps, step scores, and the tokens themselves.

use core::ops::Range;
use std::collections::BTreeMap;

use stepfn_models::tokenizer::Token;

use super::Function;
use crate::{Alternative, Attribution, MERGED, Scores};

/// Consecutive ranges that cover all tokens of a side: each becomes one token.
pub(crate) type Groups = Vec<Range<usize>>;

/// Every token separately.
pub(super) fn singles(tokens: usize) -> Groups {
    (0..tokens).map(|at| at..at + 1).collect()
}

/// Groups that begin where `starts` says so, and at the first token.
pub(super) fn groups_by_start(starts: &[bool]) -> Groups {
    let mut groups = Groups::new();
    for (at, &starts) in starts.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if !starts => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// Merges tokens by groups. Scores are joined by `function`, and step scores by their own rule. A group across the first step keeps its steps'
/// values. Columns that are spans stay as they are.
pub(super) fn merge(attribution: &Attribution, source: &Groups, target: &Groups, function: Function) -> Attribution {
    let columns = match attribution.spans.is_empty() {
        true => Columns::merged(attribution, target),
        false => Columns::kept(attribution, target),
    };
    merge_with(attribution, source, target, &columns, function)
}

/// Merges the target's tokens of each span, so that spans become steps.
pub(super) fn spans_as_tokens(attribution: &Attribution, function: Function) -> Attribution {
    let mut target = Groups::new();
    for span in &attribution.spans {
        let next = target.last().map_or(0, |group: &Range<usize>| group.end);
        target.extend((next..span.start).map(|at| at..at + 1));
        target.push(span.start.max(next)..span.end.max(next));
    }
    target.retain(|group| !group.is_empty());
    let next = target.last().map_or(0, |group| group.end);
    target.extend((next..attribution.target.len()).map(|at| at..at + 1));
    let source = singles(attribution.source.len());
    let merged = merge_with(attribution, &source, &target, &Columns::kept(attribution, &target), function);
    // Tokens between spans have columns of their own, without numbers.
    let spans: Vec<usize> = merged.spans.iter().map(|span| span.start).collect();
    let steps = spans.first().copied().unwrap_or(0)..spans.last().map_or(0, |last| last + 1);
    let column = |step: usize| spans.iter().position(|span| *span == step);
    let of_column = |values: &[f32]| -> Vec<f32> {
        steps.clone().map(|step| column(step).map_or(f32::NAN, |column| values[column])).collect()
    };
    let scores = |scores: &Scores| {
        Scores::filled(scores.tokens(), steps.len(), &scores.inner(), |token, step, position| {
            column(steps.start + step).map_or(f32::NAN, |column| scores.at(token, column)[position])
        })
    };
    let of_spans = |values: &[Vec<Alternative>]| -> Vec<Vec<Alternative>> {
        steps.clone().map(|step| column(step).map_or_else(Vec::new, |column| values[column].clone())).collect()
    };
    Attribution {
        source_scores: merged.source_scores.as_ref().map(scores),
        target_scores: merged.target_scores.as_ref().map(scores),
        step_scores: merged.step_scores.iter().map(|(name, values)| (name.clone(), of_column(values))).collect(),
        deltas: merged.deltas.as_deref().map(of_column),
        changes: merged.changes.as_deref().map(of_column),
        contrast: match merged.contrast.is_empty() {
            true => Vec::new(),
            false => steps.clone().map(|step| merged.contrast[column(step)?].clone()).collect(),
        },
        alternatives: if merged.alternatives.is_empty() { Vec::new() } else { of_spans(&merged.alternatives) },
        spans: Vec::new(),
        steps,
        ..merged
    }
}

/// The columns of a merged attribution.
struct Columns {
    /// Of the columns before, counted from 0.
    of: Groups,
    /// Positions among the merged target tokens.
    steps: Range<usize>,
    /// The same of each column, if they are spans.
    spans: Vec<Range<usize>>,
}

impl Columns {
    /// Steps merge as their tokens do.
    fn merged(attribution: &Attribution, target: &Groups) -> Self {
        let Range { start, end } = attribution.steps;
        // Groups' own steps, counted from the first step.
        let step_of = |group: &Range<usize>| group.start.max(start)..group.end.min(end);
        let with_steps = |group: &Range<usize>| !step_of(group).is_empty();
        let of: Groups = target
            .iter()
            .map(step_of)
            .filter(|group| !group.is_empty())
            .map(|group| group.start - start..group.end - start)
            .collect();
        let first = target.iter().position(with_steps).unwrap_or(target.len());
        Self { steps: first..first + of.len(), of, spans: Vec::new() }
    }

    /// Spans stay, and are found among the merged tokens.
    fn kept(attribution: &Attribution, target: &Groups) -> Self {
        let moved = |span: &Range<usize>| {
            let start = target.partition_point(|group| group.end <= span.start);
            start..target.partition_point(|group| group.start < span.end)
        };
        Self {
            of: singles(attribution.spans.len()),
            steps: moved(&attribution.steps),
            spans: attribution.spans.iter().map(moved).collect(),
        }
    }
}

fn merge_with(
    attribution: &Attribution,
    source: &Groups,
    target: &Groups,
    Columns { of: columns, steps, spans }: &Columns,
    function: Function,
) -> Attribution {
    let merge_scores = |scores: &Scores, rows: &Groups| {
        Scores::filled(rows.len(), columns.len(), &scores.inner(), |row, column, position| {
            let tokens = rows[row].clone();
            function.over(
                tokens.flat_map(|token| columns[column].clone().map(move |step| scores.at(token, step)[position])),
            )
        })
    };
    let merge_column = |rule: Function, values: &[f32]| joined(rule, values, columns);
    let PerColumn { step_scores, contrast, alternatives } = PerColumn::of(attribution, columns);
    let merge_tokens =
        |tokens: &[Token], groups: &Groups| groups.iter().map(|group| merge_token(&tokens[group.clone()])).collect();
    Attribution {
        source: merge_tokens(&attribution.source, source),
        target: merge_tokens(&attribution.target, target),
        steps: steps.clone(),
        spans: spans.clone(),
        source_scores: attribution.source_scores.as_ref().map(|scores| merge_scores(scores, source)),
        target_scores: attribution.target_scores.as_ref().map(|scores| merge_scores(scores, target)),
        step_scores,
        // A group is as far from adding up as the worst of its steps.
        deltas: attribution.deltas.as_deref().map(|deltas| merge_column(Function::AbsMax, deltas)),
        changes: attribution.changes.as_deref().map(|changes| merge_column(Function::Sum, changes)),
        contrast,
        alternatives,
        format: attribution.format,
        id: attribution.id.clone(),
        fields: attribution.fields.clone(),
        source_text: attribution.source_text.clone(),
        target_text: attribution.target_text.clone(),
        joins: attribution.joins.clone(),
        measured: attribution.measured.clone(),
        messages: attribution.messages.clone(),
        about: attribution.about.clone(),
    }
}

/// What belongs to each column, besides the scores of its input.
struct PerColumn {
    step_scores: BTreeMap<String, Vec<f32>>,
    contrast: Vec<Option<Token>>,
    alternatives: Vec<Vec<Alternative>>,
}

impl PerColumn {
    fn of(attribution: &Attribution, columns: &Groups) -> Self {
        let merge_contrast = |steps: &Range<usize>| {
            let partners: Vec<Token> = attribution.contrast[steps.clone()].iter().flatten().cloned().collect();
            (!partners.is_empty()).then(|| merge_token(&partners))
        };
        Self {
            step_scores: (attribution.step_scores.iter())
                .map(|(name, values)| (name.clone(), joined(attribution.join(name), values, columns)))
                .collect(),
            contrast: match attribution.contrast.is_empty() {
                true => Vec::new(),
                false => columns.iter().map(merge_contrast).collect(),
            },
            // A merged step has no alternatives: they are of single tokens.
            alternatives: match attribution.alternatives.is_empty() {
                true => Vec::new(),
                false => columns.iter().map(|steps| alternatives_of(attribution, steps)).collect(),
            },
        }
    }
}

/// An attribution whose scores have columns for spans, and all else still one for each step: with one for each span.
pub(crate) fn per_span(attribution: Attribution, spans: Vec<Range<usize>>) -> Attribution {
    let first = attribution.steps.start;
    let columns: Groups = spans.iter().map(|span| span.start - first..span.end - first).collect();
    let PerColumn { step_scores, contrast, alternatives } = PerColumn::of(&attribution, &columns);
    Attribution { step_scores, contrast, alternatives, spans, ..attribution }
}

/// A column of joined values.
fn joined(rule: Function, values: &[f32], columns: &Groups) -> Vec<f32> {
    columns.iter().map(|steps| rule.over(values[steps.clone()].iter().copied())).collect()
}

fn alternatives_of(attribution: &Attribution, steps: &Range<usize>) -> Vec<Alternative> {
    if steps.len() == 1 { attribution.alternatives[steps.start].clone() } else { Vec::new() }
}

/// One token made of several. If tokens split a character into bytes, the character is restored.
fn merge_token(tokens: &[Token]) -> Token {
    if let [token] = tokens {
        return token.clone();
    }
    Token {
        id: MERGED,
        surface: merged_surface(tokens),
        span: tokens.iter().map(|token| token.span.start).min().unwrap_or(0)
            ..tokens.iter().map(|token| token.span.end).max().unwrap_or(0),
        special: tokens.iter().all(|token| token.special),
    }
}

fn merged_surface(tokens: &[Token]) -> String {
    let mut bytes = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let shares = |other: Option<&Token>| {
            other.is_some_and(|other| other.span.start < token.span.end && token.span.start < other.span.end)
        };
        if shares(tokens.get(at + 1)) || shares(at.checked_sub(1).and_then(|before| tokens.get(before))) {
            bytes.extend(unescaped(&token.surface));
        } else {
            bytes.extend(token.surface.bytes());
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| tokens.iter().map(|token| token.surface.as_str()).collect())
}

/// The bytes of a surface that shows some of them as `\xF0`.
fn unescaped(surface: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = surface;
    while let Some(character) = rest.chars().next() {
        let escaped = rest.strip_prefix("\\x").and_then(|digits| digits.get(..2));
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            let length = character.len_utf8();
            bytes.extend(&rest.as_bytes()[..length]);
            rest = &rest[length..];
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(surface: &str, span: Range<usize>) -> Token {
        Token { id: 7, surface: surface.to_owned(), span, special: false }
    }

    #[test]
    fn bytes_of_a_character_become_it_again() {
        let tokens = [token("na", 0..2), token(r"\xC3", 2..4), token(r"\xAF", 2..4), token("ve", 4..6)];
        let merged = merge_token(&tokens);
        assert_eq!((merged.surface.as_str(), merged.span.clone(), merged.id), ("naïve", 0..6, MERGED));
        let cut = merge_token(&tokens[..2]);
        assert_eq!(cut.surface, r"na\xC3");
        let written = merge_token(&[token(r"\x41", 0..4), token("b", 4..5)]);
        assert_eq!(written.surface, r"\x41b", "text that only looks like bytes");
    }

    #[test]
    fn groups_begin_where_told() {
        assert_eq!(groups_by_start(&[false, false, true, false, true]), [0..2, 2..4, 4..5]);
        assert_eq!(groups_by_start(&[]), singles(0));
    }
}
