//! A custom step function: how much more likely the target is than under a uniform guess, in bits.
//!
//! `cargo run -p stepfn-core --example custom_step_function`

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Join, Named, ParameterError, Registry, StepBatch, StepError, StepFunction, StepScore};

/// `log₂(p_y · V)`, at most `ceiling`. 0 means no better than a uniform guess.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BitsAboveChance {
    /// Larger values are clipped to this.
    ceiling: f64,
}

impl Default for BitsAboveChance {
    fn default() -> Self {
        Self { ceiling: f64::MAX }
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

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        // Bits of the tokens of a word add up to those of the word.
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for BitsAboveChance {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let nats = steps.log_prob().add_scalar((steps.vocab() as f64).ln());
        Ok(nats.div_scalar(std::f64::consts::LN_2).clamp_max(self.ceiling))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    type B = stepfn_cpu::Backend;
    let device = stepfn_cpu::device("0")?;

    // Two steps over a vocabulary of four tokens; the targets are tokens 2 and 0.
    let logits = Tensor::<B, 2>::from_data([[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]], &device);
    let steps = StepBatch::new(logits, &[2, 0])?;

    let mut registry = Registry::<B>::default();
    registry.register::<BitsAboveChance>()?;
    for name in ["surprisal", "bits_above_chance"] {
        let scores = registry.make(name, &Default::default())?.score(&steps)?;
        #[allow(clippy::print_stdout, reason = "the example prints its result")]
        {
            println!("{name}: {:.3?}", scores.into_data().iter::<f32>().collect::<Vec<_>>());
        }
    }
    Ok(())
}
