//! Merges neighbouring tokens: rows of scores, columns if the tokens are steps, step scores, and the tokens themselves.

use core::ops::Range;

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
/// values.
pub(super) fn merge(attribution: &Attribution, source: &Groups, target: &Groups, function: Function) -> Attribution {
    let Range { start, end } = attribution.steps;
    // Groups' own steps, counted from the first step.
    let step_of = |group: &Range<usize>| group.start.max(start)..group.end.min(end);
    let with_steps = |group: &Range<usize>| !step_of(group).is_empty();
    let columns: Groups = target
        .iter()
        .map(step_of)
        .filter(|group| !group.is_empty())
        .map(|group| group.start - start..group.end - start)
        .collect();
    let first = target.iter().position(with_steps).unwrap_or(target.len());
    let merge_scores = |scores: &Scores, rows: &Groups| {
        Scores::filled(rows.len(), columns.len(), &scores.inner(), |row, column, position| {
            let tokens = rows[row].clone();
            function.over(
                tokens.flat_map(|token| columns[column].clone().map(move |step| scores.at(token, step)[position])),
            )
        })
    };
    let merge_column = |rule: Function, values: &[f32]| {
        columns.iter().map(|steps| rule.over(values[steps.clone()].iter().copied())).collect()
    };
    let merge_tokens =
        |tokens: &[Token], groups: &Groups| groups.iter().map(|group| merge_token(&tokens[group.clone()])).collect();
    let merge_contrast = |steps: &Range<usize>| {
        let partners: Vec<Token> = attribution.contrast[steps.clone()].iter().flatten().cloned().collect();
        (!partners.is_empty()).then(|| merge_token(&partners))
    };
    Attribution {
        source: merge_tokens(&attribution.source, source),
        target: merge_tokens(&attribution.target, target),
        steps: first..first + columns.len(),
        source_scores: attribution.source_scores.as_ref().map(|scores| merge_scores(scores, source)),
        target_scores: attribution.target_scores.as_ref().map(|scores| merge_scores(scores, target)),
        step_scores: (attribution.step_scores.iter())
            .map(|(name, values)| (name.clone(), merge_column(attribution.join(name), values)))
            .collect(),
        // A group is as far from adding up as the worst of its steps.
        deltas: attribution.deltas.as_deref().map(|deltas| merge_column(Function::AbsMax, deltas)),
        changes: attribution.changes.as_deref().map(|changes| merge_column(Function::Sum, changes)),
        contrast: match attribution.contrast.is_empty() {
            true => Vec::new(),
            false => columns.iter().map(merge_contrast).collect(),
        },
        format: attribution.format,
        id: attribution.id.clone(),
        fields: attribution.fields.clone(),
        source_text: attribution.source_text.clone(),
        target_text: attribution.target_text.clone(),
        joins: attribution.joins.clone(),
        // A merged step has no alternatives: they are of single tokens.
        alternatives: match attribution.alternatives.is_empty() {
            true => Vec::new(),
            false => columns.iter().map(|steps| alternatives_of(attribution, steps)).collect(),
        },
        messages: attribution.messages.clone(),
        about: attribution.about.clone(),
    }
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
