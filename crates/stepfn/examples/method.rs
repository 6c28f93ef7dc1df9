//! An attribution method of your own, which replaces tokens.
//!
//! `cargo run -p stepfn --example method`

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn::extend::{AttributionError, AttributionMethod, InputScores, Named, Passes, ScoreTable, Side};
use stepfn::{LanguageModel, json};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stutter {}

impl Named for Stutter {
    const NAME: &'static str = "stutter";
    const SUMMARY: &'static str = "what the function loses when a token repeats its left neighbour";
}

impl<B: Backend> AttributionMethod<B> for Stutter {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let question = passes.question();
        let read = if question.attributes_target() { question.steps().width() } else { 0 };
        let perturbation = passes.perturb()?;
        let (mut replaced, mut variants) = (Vec::new(), Vec::new());
        for (side, tokens) in [(Side::Source, question.source_len()), (Side::Target, read)] {
            for token in 1..tokens {
                let mut variant = perturbation.text();
                let ids = variant.ids_mut(side);
                if !question.is_kept(ids[token]) {
                    ids[token] = ids[token - 1];
                    replaced.push((side, token));
                    variants.push(variant);
                }
            }
        }
        // The values of the text itself, and of each variant: a column for every step.
        let (clean, values) = perturbation.values(&variants)?;

        let mut table = ScoreTable::zeros(question);
        for ((side, token), values) in replaced.into_iter().zip(values) {
            for column in 0..clean.len() {
                table.set(side, token, column, clean[column] - values[column]);
            }
        }
        Ok(table.finish())
    }
}

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let mut model = LanguageModel::load("verse")?;
    println!("{}", model.ask("Let there be light").attribute(Stutter::default())?);
    model.registry_mut().register_method::<Stutter>()?;
    println!("{}", model.ask("Let there be light").attribute(model.method("stutter", json!({}))?)?);
    Ok(())
}
