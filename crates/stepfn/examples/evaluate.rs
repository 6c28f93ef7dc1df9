//! Which methods are faithful: what the model loses without the tokens that they name.
//!
//! `cargo run -p stepfn --example evaluate -- [PAGE.html]`

use stepfn::{EvaluateTask, LanguageModel, Measures, Metric, Value};

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    // It pronounces words.
    let model = LanguageModel::load("g2p")?;
    let methods = ["saliency", "deeplift", "occlusion"].map(|name| model.method(name, Value::Null));
    let methods = methods.into_iter().collect::<stepfn::Result<Vec<_>>>()?;

    // What is lost without the top tokens and with nothing else, and whether scores add up. Hidden by two operators, beside random orders.
    let metrics = vec![Metric::Comprehensiveness, Metric::Sufficiency, Metric::Lds];
    let measures = Measures { metrics, special: vec![false], ..Measures::default() };
    let task = EvaluateTask { measures, ..EvaluateTask::new(methods) };
    let found = model.evaluate(["phonetics", "daughter", "machine", "island"], &task)?;
    println!("{found}");

    match std::env::args().nth(1) {
        Some(path) => stepfn::destination::write(path.as_ref(), &found.html()),
        None => Ok(()),
    }
}
