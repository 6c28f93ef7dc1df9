//! From scores of tokens to scores of words, and to a page for a browser.
//!
//! `cargo run -p stepfn --example aggregate -- [PAGE.html]`

use stepfn::{InputXGradient, LanguageModel};

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let page = std::env::args().nth(1);
    let model = LanguageModel::load("verse")?;
    // `raw` keeps the scores of hidden units, so that you can choose how they become one.
    let raw = model.ask("And God said, Let there be light").raw().attribute(InputXGradient::default())?;

    // Stages, one after another: sum the hidden units, merge the tokens of a word, and show the shares of each step.
    let words = raw.aggregate("sum,subwords,normalize")?;
    println!("{words}");
    // The same with the norm of the hidden units. What is left is how the two differ.
    let norms = raw.aggregate("vnorm,subwords,normalize")?;
    println!("\n{}", words.minus(&norms, "pair")?);

    match page {
        Some(path) => words.save(path), // the ending says which form: .html, .svg, .json, .csv, …
        None => {
            println!("\nThe page has {} bytes. Name a file to save it.", words.html().len());
            Ok(())
        }
    }
}
