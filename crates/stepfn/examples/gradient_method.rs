//! An attribution method of your own, which uses gradients.
//!
//! `cargo run -p stepfn --example gradient_method`

use burn::tensor::backend::Backend;
use stepfn::LanguageModel;
use stepfn::extend::gradient::{by_chunks, gradients};
use stepfn::extend::{AttributionError, AttributionMethod, InputScores, Passes, Rule};

/// The gradient, without its negative parts.
struct PositiveGradient;

impl<B: Backend> AttributionMethod<B> for PositiveGradient {
    fn name(&self) -> &str {
        "positive_gradient"
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let rows = gradients(passes, &passes.input(steps), Rule::Gradient, steps)?;
            Ok(rows.map(|gradient| gradient.clamp_min(0.0)))
        })
    }
}

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let model = LanguageModel::load("g2p")?;
    println!("{}", model.ask("phonetics").attribute(PositiveGradient)?);
    Ok(())
}
