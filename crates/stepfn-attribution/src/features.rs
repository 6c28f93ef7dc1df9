//! Groups of tokens that perturbation methods hide and show together: words, or spans that someone chose.

use core::ops::Range;

use stepfn_models::chat::MessageSpan;
use stepfn_models::tokenizer::Token;

use crate::aggregation::{inside, lines, sentences, words};
use crate::{AttributionError, Positions, Prepared};

/// Groups of neighbouring tokens of one text: its words, or the spans that were put into a template. A token in no group is separate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// Groups of source tokens, as positions that don't overlap.
    pub source: Vec<Range<usize>>,
    /// Groups of target tokens. Of a group that a step sees in part, the other tokens are no part of what it attributes.
    pub target: Vec<Range<usize>>,
}

impl Features {
    /// The words of a text: the groups that [`Stage::Subwords`](crate::aggregation::Stage::Subwords) merges. Special tokens stay separate.
    pub fn words(prepared: &Prepared) -> Self {
        Self { source: words(&prepared.source), target: words(&prepared.target) }
    }

    /// The sentences of a text: the groups that [`Stage::Sentences`](crate::aggregation::Stage::Sentences) merges. Special tokens stay separate.
    pub fn sentences(prepared: &Prepared) -> Self {
        Self::of_texts(prepared, sentences)
    }

    /// The lines of a text: the groups that [`Stage::Lines`](crate::aggregation::Stage::Lines) merges. Special tokens stay separate.
    pub fn lines(prepared: &Prepared) -> Self {
        Self::of_texts(prepared, lines)
    }

    /// The documents of a text: of what the model reads, the source or else the target, the parts that these documents are, in their order; or, if there are
    /// none, those between marks. Tokens between documents stay separate, and so do special tokens.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a document that the text doesn't have, behind the one before it.
    pub fn documents(prepared: &Prepared, documents: &[String], mark: &str) -> Result<Self, AttributionError> {
        let (text, tokens, is_source) = match &prepared.source_text {
            Some(source) if prepared.text.source.is_some() => (source, &prepared.source, true),
            _ => (&prepared.target_text, &prepared.target, false),
        };
        let mut parts = Vec::new();
        if documents.is_empty() {
            let mut start = 0;
            for part in text.split(mark) {
                parts.push(start..start + part.len());
                start += part.len() + mark.len();
            }
        }
        let mut end = 0;
        for (number, document) in documents.iter().enumerate() {
            let document = document.trim();
            let Some(at) = text.get(end..).and_then(|rest| rest.find(document)).filter(|_| !document.is_empty()) else {
                return Err(AttributionError::Text(format!(
                    "document {} is not in the text that the model reads, behind those before it; give documents as the text has them, in its order",
                    number + 1
                )));
            };
            parts.push(end + at..end + at + document.len());
            end += at + document.len();
        }
        let groups = inside(text, tokens, &parts);
        Ok(match is_source {
            true => Self { source: groups, target: Vec::new() },
            false => Self { source: Vec::new(), target: groups },
        })
    }

    fn of_texts(prepared: &Prepared, units: impl Fn(&str, &[Token]) -> Vec<Range<usize>>) -> Self {
        let source = prepared.source_text.as_deref().unwrap_or_default();
        Self { source: units(source, &prepared.source), target: units(&prepared.target_text, &prepared.target) }
    }

    /// The messages of a chat: the groups that [`Stage::Messages`](crate::aggregation::Stage::Messages) merges. Tokens between messages stay separate.
    pub fn messages(prepared: &Prepared, messages: &[MessageSpan]) -> Self {
        let first = prepared.text.steps.start;
        Self { source: Vec::new(), target: crate::aggregation::messages(messages, &prepared.target, first) }
    }

    /// Spans of a text, in any order: each is a group of the tokens that it touches.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a span that lies outside the text, touches no token, or touches a token of another; for a source span
    /// where the text has no source.
    pub fn spans(
        prepared: &Prepared,
        source: &[Range<usize>],
        target: &[Range<usize>],
        positions: Positions,
    ) -> Result<Self, AttributionError> {
        if prepared.text.source.is_none() && !source.is_empty() {
            return Err(AttributionError::Text(format!(
                "a causal model has no source, so source spans ({}) mean nothing; the prompt is part of the target",
                shown(source)
            )));
        }
        let source_text = prepared.source_text.as_deref().unwrap_or_default();
        Ok(Self {
            source: touched((source_text, &prepared.source), source, positions, "source")?,
            target: touched((&prepared.target_text, &prepared.target), target, positions, "target")?,
        })
    }

    /// Whether all tokens are separate.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty() && self.target.is_empty()
    }
}

/// The tokens of a text that each span touches.
pub(crate) fn touched(
    (text, tokens): (&str, &[Token]),
    spans: &[Range<usize>],
    positions: Positions,
    side: &str,
) -> Result<Vec<Range<usize>>, AttributionError> {
    let wrong = |what: String| Err(AttributionError::Text(what));
    let bytes = tokens.iter().map(|token| token.span.end).max().unwrap_or(0);
    let mut groups: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for (given, span) in spans.iter().zip(&positions.in_bytes(text, spans)) {
        let one = shown(core::slice::from_ref(given));
        if span.is_empty() || span.end > bytes {
            return wrong(format!(
                "the {side} span {one} does not lie in the text: spans are [start, end) in its {} {}s, and not empty",
                positions.of_byte(text, bytes),
                positions.name()
            ));
        }
        let touches = |token: &Token| !token.span.is_empty() && overlap(&token.span, span);
        let (Some(first), Some(last)) = (tokens.iter().position(touches), tokens.iter().rposition(touches)) else {
            return wrong(format!("the {side} span {one} touches no token"));
        };
        let group = first..last + 1;
        if let Some(other) = groups.iter().position(|other| overlap(other, &group)) {
            let shared = &tokens[group.start.max(groups[other].start)];
            return wrong(format!(
                "the {side} spans {} and {one} share the token {:?} at {} {}",
                shown(&spans[other..=other]),
                shared.surface,
                positions.name(),
                positions.of_byte(text, shared.span.start)
            ));
        }
        groups.push(group);
    }
    Ok(groups)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Spans as JSON has them.
fn shown(spans: &[Range<usize>]) -> String {
    let spans: Vec<String> = spans.iter().map(|span| format!("[{}, {}]", span.start, span.end)).collect();
    spans.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    #![allow(clippy::single_range_in_vec_init, reason = "one span is a list of spans too")]

    use super::*;
    use crate::Text;

    /// Tokens that leave out the space before a word.
    fn tokens(words: &[(&str, usize)]) -> Vec<Token> {
        let token = |&(surface, start): &(&str, usize)| Token {
            id: 1,
            surface: surface.to_owned(),
            span: start..if surface.starts_with('<') { start } else { start + surface.len() },
            special: surface.starts_with('<'),
        };
        words.iter().map(token).collect()
    }

    fn pair() -> Prepared {
        let source = tokens(&[("the", 0), ("cat", 4), ("s", 7), ("<end>", 8)]);
        let target = tokens(&[("<start>", 0), ("les", 0), ("chat", 4), ("s", 8), ("<end>", 9)]);
        Prepared {
            text: Text::seq2seq(vec![1; source.len()], vec![1; target.len()]),
            source_text: None,
            target_text: String::new(),
            source,
            target,
        }
    }

    #[test]
    fn words_are_those_of_the_aggregator_and_special_tokens_stay_alone() {
        let words = Features::words(&pair());
        assert_eq!(words.source, [0..1, 1..3, 3..4]);
        assert_eq!(words.target, [0..1, 1..2, 2..4, 4..5]);
    }

    #[test]
    fn a_span_is_the_tokens_that_it_touches() {
        let features = Features::spans(&pair(), &[5..8, 0..2], &[1..9], Positions::Bytes).unwrap();
        assert_eq!(features, Features { source: vec![1..3, 0..1], target: vec![1..4] });
        assert!(Features::spans(&pair(), &[], &[], Positions::Bytes).unwrap().is_empty());
    }

    #[test]
    fn documents_are_given_or_between_marks() {
        let text = "One two\n\nthree\n\nWhat?";
        let words =
            tokens(&[("<s>", 0), ("One", 0), (" two", 3), ("\n\n", 7), ("three", 9), ("\n\n", 14), ("What?", 16)]);
        let prepared = Prepared {
            text: Text::causal(vec![1; words.len()], 6),
            source_text: None,
            target_text: text.to_owned(),
            source: Vec::new(),
            target: words,
        };
        let documents = |given: &[&str], mark: &str| {
            let given: Vec<String> = given.iter().map(|&document| document.to_owned()).collect();
            Features::documents(&prepared, &given, mark)
        };
        assert_eq!(documents(&[], "\n\n").unwrap().target, [1..3, 4..5, 6..7]);
        assert_eq!(documents(&["One two", "three\n"], "").unwrap().target, [1..3, 4..5]);
        assert_eq!(documents(&["two"], "").unwrap().target, [2..3]);
        let error = documents(&["three", "One"], "").unwrap_err().to_string();
        assert!(error.starts_with("document 2 is not in the text"), "{error}");
        assert!(documents(&[" "], "").is_err());
        let source = Prepared {
            text: Text::seq2seq(vec![1; 7], vec![1, 2]),
            source_text: Some(text.to_owned()),
            source: prepared.target.clone(),
            target: Vec::new(),
            target_text: String::new(),
        };
        assert_eq!(Features::documents(&source, &[], "\n\n").unwrap().source, [1..3, 4..5, 6..7]);
    }

    #[test]
    fn spans_that_fit_no_tokens_are_errors() {
        let pair = pair();
        for (source, target, says) in [
            (
                vec![0..9],
                vec![],
                "the source span [0, 9] does not lie in the text: spans are [start, end) in its 8 bytes",
            ),
            (vec![], vec![2..2], "the target span [2, 2]"),
            #[expect(clippy::reversed_empty_ranges, reason = "what someone may write")]
            (vec![], vec![3..1], "the target span [3, 1]"),
            (vec![3..4], vec![], "the source span [3, 4] touches no token"),
            (vec![], vec![0..5, 7..9], "[0, 5] and [7, 9] share the token \"chat\" at byte 4"),
            (vec![0..8, 4..7], vec![], "the source spans [0, 8] and [4, 7] share"),
        ] {
            let error = Features::spans(&pair, &source, &target, Positions::Bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let causal = Prepared { text: Text::causal(vec![1; 5], 1), source: vec![], ..pair };
        let error = Features::spans(&causal, &[0..3], &[], Positions::Bytes).unwrap_err().to_string();
        assert!(error.contains("has no source, so source spans ([0, 3]) mean nothing"), "{error}");
        assert_eq!(Features::spans(&causal, &[], &[0..3], Positions::Bytes).unwrap().target, [1..2]);
    }

    #[test]
    fn characters_are_counted_where_they_are_asked_for() {
        let target = tokens(&[("él", 0), ("dit", 4), ("où", 8)]);
        let text = Text::causal(vec![1; target.len()], 1);
        let wide = Prepared { text, source_text: None, target_text: "él dit où".to_owned(), source: vec![], target };
        let spans = |spans: &[Range<usize>]| Features::spans(&wide, &[], spans, Positions::Characters);
        assert_eq!(spans(&[3..9]).unwrap().target, [1..3]);
        assert_eq!(spans(&[2..3]).unwrap_err().to_string(), "the target span [2, 3] touches no token");
        let error = spans(&[3..10]).unwrap_err().to_string();
        assert!(
            error.contains("[3, 10] does not lie in the text: spans are [start, end) in its 9 characters"),
            "{error}"
        );
        let error = spans(&[0..4, 4..9]).unwrap_err().to_string();
        assert!(error.contains("[0, 4] and [4, 9] share the token \"dit\" at character 3"), "{error}");
    }
}
