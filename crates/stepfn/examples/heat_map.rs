//! Which letters does each phoneme of a word come from? Prints a heat map.
//!
//! `cargo run -p stepfn --example heat_map -- phonetics`

use stepfn::{LanguageModel, Saliency};

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let word = std::env::args().nth(1).unwrap_or_else(|| "phonetics".to_owned());
    // A small model that is compiled in. It reads letters and writes phonemes.
    let model = LanguageModel::load("g2p")?;
    // There is no target, so the model writes it first.
    println!("{}", model.ask(word).attribute(Saliency::default())?);
    Ok(())
}
