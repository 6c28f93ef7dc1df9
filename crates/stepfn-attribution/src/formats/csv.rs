//! Comma-separated values in long form, one number a line, for spreadsheets and data frames.
//!
//! | column | meaning |
//! |---|---|
//! | `id` | what its user calls the text: a string as it is, anything else as JSON; the number of the text in this table, from 0, if it has no name |
//! | `kind` | `source`, `target` (scores of input tokens), `step_score`, `delta` |
//! | `index` | position of the input token; empty for step scores |
//! | `token` | the input token; for step scores the name of the step function |
//! | `step` | position of the predicted token in the target |
//! | `predicted` | the predicted token |
//! | `layer`, `head`, `hidden` | position on these axes; the columns are there if any text has the axis |
//! | `score` | the number; empty where there is none (NaN) |
//! | the user's fields | those asked for, under their own names, with the text's values |

use core::fmt::Write;

use serde_json::Value;

use crate::{Attribution, Axis, Scores};

const EXTRA: [Axis; 3] = [Axis::Layer, Axis::Head, Axis::Hidden];

/// All numbers of some texts, with a header line.
pub fn write(attributions: &[Attribution]) -> String {
    write_part(attributions, &[], true)
}

/// All numbers of some texts, with columns for these fields of their user's, and with a header line if asked for.
pub fn write_part(attributions: &[Attribution], fields: &[String], with_header: bool) -> String {
    let has = |axis: &Axis| {
        attributions.iter().any(|attribution| both(attribution).any(|(_, scores, _)| scores.axes().contains(axis)))
    };
    let extra: Vec<Axis> = EXTRA.into_iter().filter(has).collect();
    let mut table = String::new();
    if with_header {
        table.push_str("id,kind,index,token,step,predicted,");
        for axis in &extra {
            table.extend([axis.name(), ","]);
        }
        table.push_str("score");
        for name in fields {
            table.extend([",", &cell(name)]);
        }
        table.push('\n');
    }
    for (number, attribution) in attributions.iter().enumerate() {
        let text = match &attribution.id {
            Value::Null => number.to_string(),
            id => cell(&plain(id)),
        };
        let value = |name| attribution.fields.get(name).map_or_else(String::new, plain);
        let own: String = fields.iter().map(|name| format!(",{}", cell(&value(name)))).collect();
        for (kind, scores, tokens) in both(attribution) {
            for (index, token) in tokens.iter().enumerate().take(scores.tokens()) {
                for step in 0..scores.steps() {
                    for (position, &value) in scores.at(index, step).iter().enumerate() {
                        let what = format!("{text},{kind},{index},{}", cell(&token.surface));
                        let place = place(scores, position, &extra);
                        line(&mut table, &what, attribution, step, &place, value, &own);
                    }
                }
            }
        }
        let deltas = attribution.deltas.iter().map(|deltas| ("delta", "", deltas));
        let columns = attribution.step_scores.iter().map(|(name, values)| ("step_score", name.as_str(), values));
        for (kind, name, values) in columns.chain(deltas) {
            for (step, &value) in values.iter().enumerate() {
                let what = format!("{text},{kind},,{}", cell(name));
                line(&mut table, &what, attribution, step, &",".repeat(extra.len()), value, &own);
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

fn line(table: &mut String, what: &str, attribution: &Attribution, step: usize, place: &str, value: f32, own: &str) {
    let at = attribution.column(step).start;
    let predicted = attribution.column_text(step);
    let score = if value.is_nan() { String::new() } else { value.to_string() };
    writeln!(table, "{what},{at},{},{place}{score}{own}", cell(&predicted))
        .expect("a string takes all that is written to it");
}

/// A value in a cell: a string as it is, nothing for `null`, and anything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text as a cell: quoted where RFC 4180 wants it, and where a reader would trim spaces.
pub fn cell(text: &str) -> String {
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
        assert_eq!(lines[0], "id,kind,index,token,step,predicted,score");
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
        assert_eq!(lines[0], "id,kind,index,token,step,predicted,hidden,score");
        assert_eq!(lines[2], "0,target,0,The,2,nager,1,-0.5");
        assert!(lines.contains(&"1,source,0,Hi,1,Hallo,,0.5"));
        assert!(lines.iter().all(|line| line.matches(',').count() >= 7));
    }

    #[test]
    fn a_text_is_known_by_what_its_user_calls_it() {
        let mut sample = samples::translation();
        sample.id = serde_json::json!({"doc": 3});
        sample.fields.insert("item, or line".to_owned(), "7 \"b\"".into());
        let table = write_part(&[sample], &["item, or line".to_owned(), "none".to_owned()], true);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "id,kind,index,token,step,predicted,score,\"item, or line\",none");
        assert_eq!(lines[1], r#""{""doc"":3}",source,0,Hi,1,Hallo,0.5,"7 ""b""","#);
    }
}
