//! A step function of your own: the advantage over a uniform guess, in bits.
//!
//! `cargo run -p stepfn --example step_function`

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn::extend::{Join, Named, ParameterError, StepBatch, StepError, StepFunction, StepScore, parameters};
use stepfn::{LanguageModel, Saliency, json};

/// `log₂(p_y · V)`, at most `ceiling`: the advantage over a uniform guess, in bits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BitsAboveChance {
    ceiling: f64,
}

impl Default for BitsAboveChance {
    fn default() -> Self {
        Self { ceiling: 64.0 }
    }
}

impl Named for BitsAboveChance {
    const NAME: &'static str = "bits_above_chance";
    const SUMMARY: &'static str = "log2(p_y V), the advantage over a uniform guess";
    const UNIT: &'static str = "bits";

    fn validate(&self) -> Result<(), ParameterError> {
        if self.ceiling > 0.0 { Ok(()) } else { Err(Self::out_of_range("ceiling", "a number above 0", self.ceiling)) }
    }
}

impl StepScore for BitsAboveChance {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Sum // the bits of the tokens of a word add up to those of the word
    }
}

impl<B: Backend> StepFunction<B> for BitsAboveChance {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let nats = steps.log_prob().add_scalar((steps.vocab() as f64).ln());
        Ok(nats.div_scalar(std::f64::consts::LN_2).clamp_max(self.ceiling))
    }
}

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let mut model = LanguageModel::load("verse")?;
    // Use the type …
    println!("{}", model.ask("Let there be light").score([BitsAboveChance::default()])?);
    // … attribute it …
    let ask = model.ask("Let there be light").function(BitsAboveChance::default());
    println!("{}", ask.attribute(Saliency::default())?);
    // … or register it and use its name.
    model.registry_mut().register_function::<BitsAboveChance>()?;
    let function = model.function("bits_above_chance", json!({ "ceiling": 8.0 }))?;
    println!("{}", model.ask("Let there be light").score([function])?);
    Ok(())
}
