//! Comma-separated values in long form, one number a line, for spreadsheets and data frames.
//!
//! | column | meaning |
//! |---|---|
//! | `text` | number of the text, from 0 |
//! | `kind` | `source`, `target` (scores of input tokens), `step_score`, `delta` |
//! | `index` | position of the input token; empty for step scores |
//! | `token` | the input token; for step scores the name of the step function |
//! | `step` | position of the predicted token in the target |
//! | `predicted` | the predicted token |
//! | `layer`, `head`, `hidden` | position on these axes; the columns are there if any text has the axis |
//! | `score` | the number; empty where there is none (NaN) |

use core::fmt::Write;

use crate::{Attribution, Axis, Scores};

const EXTRA: [Axis; 3] = [Axis::Layer, Axis::Head, Axis::Hidden];

/// All numbers of some texts, with a header line.
pub fn write(attributions: &[Attribution]) -> String {
    write_part(attributions, 0, true)
}

/// All numbers of some texts, the first of which has number `first`; with a header line if asked for.
pub fn write_part(attributions: &[Attribution], first: usize, with_header: bool) -> String {
    let has = |axis: &Axis| {
        attributions.iter().any(|attribution| both(attribution).any(|(_, scores, _)| scores.axes().contains(axis)))
    };
    let extra: Vec<Axis> = EXTRA.into_iter().filter(has).collect();
    let mut table = String::new();
    if with_header {
        table.push_str("text,kind,index,token,step,predicted,");
        for axis in &extra {
            table.extend([axis.name(), ","]);
        }
        table.push_str("score\r\n");
    }
    for (text, attribution) in (first..).zip(attributions) {
        for (kind, scores, tokens) in both(attribution) {
            for (index, token) in tokens.iter().enumerate().take(scores.tokens()) {
                for step in 0..scores.steps() {
                    for (position, &value) in scores.at(index, step).iter().enumerate() {
                        let what = format!("{text},{kind},{index},{}", field(&token.surface));
                        let place = place(scores, position, &extra);
                        line(&mut table, &what, attribution, step, &place, value);
                    }
                }
            }
        }
        let deltas = attribution.deltas.iter().map(|deltas| ("delta", "", deltas));
        let columns = attribution.step_scores.iter().map(|(name, values)| ("step_score", name.as_str(), values));
        for (kind, name, values) in columns.chain(deltas) {
            for (step, &value) in values.iter().enumerate() {
                let what = format!("{text},{kind},,{}", field(name));
                line(&mut table, &what, attribution, step, &",".repeat(extra.len()), value);
            }
        }
    }
    table
}

fn both(
    attribution: &Attribution,
) -> impl Iterator<Item = (&'static str, &Scores, &Vec<stepfn_models::tokenizer::Token>)> {
    let source = attribution.source_scores.as_ref().map(|scores| ("source", scores, &attribution.source));
    let target = attribution.target_scores.as_ref().map(|scores| ("target", scores, &attribution.target));
    source.into_iter().chain(target)
}

/// The position on each extra axis, each followed by a comma; nothing for an axis that these scores don't have.
fn place(scores: &Scores, position: usize, extra: &[Axis]) -> String {
    let mut rest = position;
    let mut positions = Vec::new();
    for (axis, size) in scores.inner().into_iter().rev() {
        positions.push((axis, rest % size));
        rest /= size;
    }
    let of = |axis: &Axis| positions.iter().find(|(own, _)| own == axis).map(|(_, at)| at.to_string());
    extra.iter().map(|axis| of(axis).unwrap_or_default() + ",").collect()
}

fn line(table: &mut String, what: &str, attribution: &Attribution, step: usize, place: &str, value: f32) {
    let at = attribution.steps.start + step;
    let predicted = attribution.target.get(at).map_or("", |token| token.surface.as_str());
    let score = if value.is_nan() { String::new() } else { value.to_string() };
    write!(table, "{what},{at},{},{place}{score}\r\n", field(predicted))
        .expect("a string takes all that is written to it");
}

/// Quoted where RFC 4180 wants it, and where a reader would trim spaces.
fn field(text: &str) -> String {
    let needs = text.contains([',', '"', '\n', '\r']) || text.trim() != text;
    if needs { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn one_number_a_line() {
        let table = write(&[samples::translation()]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "text,kind,index,token,step,predicted,score");
        assert_eq!(lines.len(), 1 + 3 * 3 + 4 * 3 + 3 + 3);
        assert_eq!(lines[2], r#"0,source,0,Hi,2," ""du""",-0.25"#);
        assert_eq!(lines[13], r#"0,target,1,Hallo,1,Hallo,"#);
        assert_eq!(lines[22], "0,step_score,,probability,1,Hallo,0.75");
        assert_eq!(lines[27], "0,delta,,,3,</s>,-0.02");
    }

    #[test]
    fn axes_have_columns() {
        let table = write(&[samples::causal(), samples::translation()]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "text,kind,index,token,step,predicted,hidden,score");
        assert_eq!(lines[2], "0,target,0,The,2,nager,1,-0.5");
        assert!(lines.contains(&"1,source,0,Hi,1,Hallo,,0.5"));
        assert!(lines.iter().all(|line| line.matches(',').count() >= 7));
    }
}
