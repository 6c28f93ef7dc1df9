//! The reliance of an output on context, for a terminal: each token that depends on context, and in the contexts what it depends on.

use stepfn_attribution::reliance::{ContextReliance, Cues};

use crate::label::{is_invisible, label_of_surface, number};
use crate::terminal::{Colors, Pen};

/// Draws the reliance of one text, ending in a line break. Without colours, marked tokens are in brackets.
pub fn render(reliance: &ContextReliance, colors: Colors) -> String {
    let pen = Pen(colors);
    let ContextReliance { info, output_current, output_current_tokens, cti_scores, .. } = reliance;
    let [sensitivity, selection] = [info.context_sensitivity(), info.cues()];
    let target = info.attributed_fn.as_ref().map_or_else(String::new, |function| format!(" of {function}"));
    let mut text = format!(
        "Context with {} ({}) followed by the output with {} ({})\nCTI = {}, CCI = {}{target}\n\n",
        pen.style(CUE, "contextual cues"),
        selection.described(),
        pen.style(SENSITIVE, "context-sensitive tokens"),
        sensitivity.described(),
        info.context_sensitivity_metric,
        info.attribution_method,
    );
    let line = |name: &str, of: &str| format!("{} {}\n", pen.style("1", &format!("{name:16}")), printable(of));
    let parts = [
        ("Input context:", reliance.input_context.as_ref()),
        ("Input current:", Some(&info.input_current_text)),
        ("Output context:", reliance.output_context.as_ref()),
        ("Output current:", Some(output_current)),
    ];
    parts.into_iter().filter_map(|(name, of)| Some((name, of?))).for_each(|(name, of)| text += &line(name, of));
    if reliance.cci_scores.is_empty() {
        text += "\nno token of the output depends on context so much\n";
    }
    let largest = cti_scores.iter().fold(0.0f32, |largest, score| largest.max(score.abs()));
    let bold = |name: String| pen.style("1", &name);
    for (at, cues) in (1..).zip(&reliance.cci_scores) {
        let marked = [(cues.cti_idx, cues.cti_score)];
        let tokens = drawn(output_current, output_current_tokens, &marked, largest, SENSITIVE, pen);
        let other = cues.contrast_token.as_ref().filter(|other| *other != &cues.cti_token);
        let other = other.map_or_else(String::new, |other| format!("  (instead of {})", label_of_surface(other)));
        let reached = number(info.cti_threshold as f32, largest);
        text += &format!("\n#{at}.\n{} {tokens}{other}\n", bold(format!("Generated output (CTI ≥ {reached}):")));
        text += &contexts(reliance, cues, pen);
    }
    text
}

/// What marks a token that depends on context, and what marks its cues.
const SENSITIVE: &str = "1;34";
const CUE: &str = "1;32";

/// The contexts, with the cues of a token marked.
fn contexts(reliance: &ContextReliance, cues: &Cues, pen: Pen) -> String {
    let selection = reliance.info.cues();
    let shown = cues.shown(&selection);
    let scores = [&cues.input_context_scores, &cues.output_context_scores];
    let largest = scores.into_iter().flatten().flatten().fold(0.0f32, |largest, score| largest.max(score.abs()));
    let reached = number(cues.threshold(&selection) as f32, largest);
    let sides = [
        ("Input", &reliance.input_context, &reliance.input_context_tokens),
        ("Output", &reliance.output_context, &reliance.output_context_tokens),
    ];
    let mut text = String::new();
    for ((side, scores), marked) in sides.into_iter().zip(scores).zip(shown) {
        let (name, Some(context), Some(tokens)) = side else { continue };
        let Some(scores) = scores else { continue };
        let marked: Vec<(usize, f32)> = marked.into_iter().map(|at| (at, scores[at])).collect();
        let drawn = drawn(context, tokens, &marked, largest, CUE, pen);
        text += &format!("{} {drawn}\n", pen.style("1", &format!("{name} context (CCI ≥ {reached}):")));
    }
    text
}

/// Tokens as their text, some of them marked with their scores.
fn drawn(text: &str, tokens: &[String], marked: &[(usize, f32)], largest: f32, codes: &str, pen: Pen) -> String {
    let mut drawn = String::new();
    for (at, (gap, token)) in pieces(text, tokens).into_iter().enumerate() {
        drawn += &gap;
        match marked.iter().find(|(marked, _)| *marked == at) {
            None => drawn += &printable(&token),
            Some(&(_, score)) => {
                let label = label_of_surface(&token);
                let label = if pen.0 == Colors::None { format!("[{label}]") } else { label };
                drawn += &pen.style(codes, &format!("{label}({})", number(score, largest)));
            }
        }
    }
    drawn
}

/// Each token without the spaces around it, and what is before it in its text: spaces, where tokens don't have them.
pub(crate) fn pieces(text: &str, tokens: &[String]) -> Vec<(String, String)> {
    let mut rest = text;
    let piece = |token: &String| {
        let own = token.trim();
        let found = rest.find(own).filter(|&at| !own.is_empty() && rest[..at].trim().is_empty());
        match found {
            Some(at) => {
                let gap = rest[..at].to_owned();
                rest = &rest[at + own.len()..];
                (gap, own.to_owned())
            }
            None => (String::new(), token.clone()),
        }
    };
    tokens.iter().map(piece).collect()
}

/// A text on one line that moves no cursor.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => "⏎".to_owned(),
        c if is_invisible(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::reliance as sample;

    #[test]
    fn tokens_and_their_cues_are_marked() {
        let text = render(&sample(), Colors::None);
        assert!(text.contains("Context with contextual cues (std λ=1.00)"), "{text}");
        assert!(
            text.contains("\n#1.\nGenerated output (CTI ≥ 0.51): Où sont[-elles](1.36)?  (instead of -ils)\n"),
            "{text}"
        );
        assert!(text.contains("Input context (CCI ≥ 0.68): The [girls](0.90) <b>were\\u{1b} away.\n"), "{text}");
        // The same token is no other.
        assert!(text.contains("[Où](0.50) sont-elles?\n"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("Output context"));
        let colored = render(&sample(), Colors::Indexed);
        assert!(colored.contains("\u{1b}[1;34m-elles(1.36)\u{1b}[0m"), "{colored}");
    }

    #[test]
    fn nothing_may_depend_on_context() {
        let none = ContextReliance { cci_scores: Vec::new(), ..sample() };
        assert!(render(&none, Colors::None).ends_with("\nno token of the output depends on context so much\n"));
    }

    #[test]
    fn pieces_have_the_spaces_of_their_text() {
        let tokens = ["a", "b ", "\n", "c"].map(str::to_owned);
        let pieces = pieces("a  b \nc", &tokens);
        let joined: String = pieces.iter().map(|(gap, token)| format!("{gap}{token}|")).collect();
        assert_eq!(joined, "a|  b|\n| \nc|");
    }
}
