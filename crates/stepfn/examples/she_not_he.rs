//! Why "she" and not "he"? Compares two continuations of a text, and shows which words speak for the first.
//!
//! `cargo run -p stepfn --example she_not_he -- [MODEL]`, where MODEL is a folder, a GGUF file or a compiled-in causal model.

use stepfn::functions::ContrastProbDiff;
use stepfn::{IntegratedGradients, LanguageModel};

const SHE: &str = "And the woman conceived, and bare a son: and she";
const HE: &str = "And the woman conceived, and bare a son: and he";

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let model = LanguageModel::load(&std::env::args().nth(1).unwrap_or_else(|| "verse".to_owned()))?;
    let ask = || model.ask(SHE).contrast(HE).function(ContrastProbDiff::default());

    // The texts agree up to their last tokens. Ask about the first that differs.
    let scores = ask().score([ContrastProbDiff::default()])?;
    let differences = scores.values("contrast_prob_diff").unwrap_or_default();
    let different = differences.iter().position(|difference| *difference != 0.0).unwrap_or_default();
    let from = scores.scores.first + different;
    println!("p(she …) − p(he …) = {:.4}\n", differences[different]);

    // Integrated gradients are signed, and add up to the difference from a text that says nothing. Letters of a word are merged.
    let answer = ask().from(from).attribute(IntegratedGradients::default())?.aggregate("subwords")?;
    println!("{answer}");
    // An answer knows how it was made.
    println!("\n{} of {}, {}", answer.about.method, answer.about.attributed_fn, answer.about.model);
    Ok(())
}
