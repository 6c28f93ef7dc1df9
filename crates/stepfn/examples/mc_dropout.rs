//! How sure is a translation model of each token? Ten passes with dropout say what one pass doesn't.
//!
//! `cargo run -p stepfn --example mc_dropout -- [MODEL] [SOURCE]`. Without arguments it "translates" a word into phonemes.

use stepfn::functions::{McDropoutMutualInformation, McDropoutProbAvg, McDropoutVariance, Probability};
use stepfn::{LanguageModel, ScoreTask};

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> stepfn::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = LanguageModel::load(&arguments.next().unwrap_or_else(|| "g2p".to_owned()))?;
    let source = arguments.next().unwrap_or_else(|| "colonel".to_owned());

    let functions = (
        Probability::default(),
        McDropoutProbAvg { n_mcd_steps: 10, ..Default::default() },
        McDropoutVariance { n_mcd_steps: 10 },
        McDropoutMutualInformation { n_mcd_steps: 10 },
    );
    // Without a rate, the passes drop what the model dropped in training. A model that was trained without dropout needs one.
    let without_dropout = ScoreTask::new([McDropoutProbAvg::default()]).drops_nothing(&model).is_some();
    let ask = model.ask(&source).seed(1);
    let ask = if without_dropout { ask.dropout(0.1) } else { ask };
    println!("{source}\n\n{}", ask.score(functions)?);
    Ok(())
}
