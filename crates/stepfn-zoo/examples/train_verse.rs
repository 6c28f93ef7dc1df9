//! Trains `verse`, a small Llama, on the King James Bible. Prints the loss curve as CSV.
//!
//! ```sh
//! crates/stepfn-zoo/fetch.sh
//! RAYON_NUM_THREADS=1 cargo run --release -p stepfn-zoo --example train_verse
//! ```
//!
//! Arguments, all optional:
//! `epochs=8 seed=1 batch=16 peak=0.003 data=target/verse/bible.txt out=target/verse/model state=target/verse/state`. After every epoch,
//! `out` holds the current model, ready to use, and `state` everything needed to resume: run the same command again to continue. The
//! learning rate depends on the number of epochs, so don't change it halfway.

#![allow(clippy::print_stdout, reason = "the program prints its progress")]

mod training;
mod verses;

use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::config::DropoutRates;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::transformer::Dropout;
use training::{Arguments, Outcome, Progress, Schedule, Shuffle, Task, Trainer, cross_entropy, pretty};
use verses::trigram::Trigram;
use verses::{BEGIN, Chapter, END, WINDOW, windows};

const VOCAB_SIZE: usize = 2048;

fn main() -> Outcome<()> {
    let arguments = Arguments::read(&["epochs", "seed", "batch", "peak", "data", "out", "state", "stop_after"])?;
    let settings = Settings {
        epochs: arguments.get("epochs", 8)?,
        seed: arguments.get("seed", 1)?,
        batch: arguments.get("batch", 16)?,
        peak: arguments.get("peak", 3e-3)?,
        data: arguments.path("data", "target/verse/bible.txt")?,
        out: arguments.path("out", "target/verse/model")?,
        state: arguments.path("state", "target/verse/state")?,
        stop_after: arguments.get("stop_after", usize::MAX)?,
    };
    train::<Autodiff<stepfn_cpu::Backend>>(&settings, &Default::default())
}

struct Settings {
    epochs: usize,
    seed: u64,
    batch: usize,
    peak: f64,
    data: PathBuf,
    out: PathBuf,
    state: PathBuf,
    /// Stop after this many steps, to measure speed.
    stop_after: usize,
}

fn config_json() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": WINDOW,
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.1,
        "tie_word_embeddings": true,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "torch_dtype": "float16"
    })
}

fn generation_config() -> Value {
    json!({ "bos_token_id": BEGIN, "eos_token_id": END, "max_length": WINDOW })
}

struct Verse;

impl<B: AutodiffBackend> Task<B> for Verse {
    type Example = Vec<u32>;

    fn tokens(window: &Vec<u32>) -> usize {
        window.len() - 1
    }

    fn loss(&self, model: &Model<B>, windows: &[&Vec<u32>], dropout: &Dropout) -> Outcome<Tensor<B, 1>> {
        let (logits, targets) = verses::predictions(model, windows, dropout)?;
        Ok(cross_entropy(logits, &targets))
    }
}

fn train<B: AutodiffBackend>(settings: &Settings, device: &B::Device) -> Outcome<()> {
    let chapters = verses::chapters(&settings.data)?;
    let (held_out, learned): (Vec<&Chapter>, Vec<&Chapter>) =
        chapters.iter().partition(|chapter| verses::is_held_out(chapter));
    let tokenizer_json = pretty(&verses::tokenizer_json(learned.iter().copied(), VOCAB_SIZE)?)?;
    let tokenizer = Tokenizer::from_bytes(tokenizer_json.as_bytes())?;
    let tokens = |chapters: &[&Chapter]| -> Outcome<Vec<Vec<Vec<u32>>>> {
        chapters.iter().map(|chapter| verses::tokens(&tokenizer, chapter)).collect()
    };
    let (held_out, learned) = (tokens(&held_out)?, tokens(&learned)?);
    let whole =
        |chapters: &[Vec<Vec<u32>>]| -> Vec<Vec<u32>> { chapters.iter().map(|verses| verses.concat()).collect() };
    let trigram = Trigram::new(whole(&learned).iter().map(Vec::as_slice), VOCAB_SIZE);
    let baseline = trigram.mean_surprisal(whole(&held_out).iter().map(Vec::as_slice)).exp();
    let held_out: Vec<Vec<u32>> = held_out.iter().flat_map(|verses| windows(verses, 0)).collect();

    let steps = learned.iter().flatten().map(Vec::len).sum::<usize>().div_ceil(settings.batch * (WINDOW - WINDOW / 8));
    let schedule = Schedule { peak: settings.peak, warmup: 200, steps: steps * settings.epochs };
    let is_stored = |name: &str| name != "lm_head.weight";
    // No dropout on attention: masks for all pairs of positions would take a third of the time.
    let rates = DropoutRates { embedding: Some(0.05), residual: Some(0.05), ..DropoutRates::default() };
    let mut trainer = Trainer::<B>::new(config_json(), is_stored, schedule, Some(rates), settings.seed, device)?;
    println!(
        "# {} parameters, {} tokens in {} chapters; {} windows held out, trigram perplexity {baseline:.2}; {schedule:?}",
        trainer.num_params(),
        learned.iter().flatten().map(Vec::len).sum::<usize>(),
        learned.len(),
        held_out.len(),
    );
    std::fs::create_dir_all(&settings.out)?;
    std::fs::write(settings.out.join("tokenizer.json"), tokenizer_json)?;
    std::fs::write(settings.out.join("generation_config.json"), pretty(&generation_config())?)?;
    let done = trainer.resume(&settings.state)?;
    let mut progress = Progress::start();
    for epoch in done..settings.epochs {
        let mut random = Shuffle::new(settings.seed, epoch);
        let mut examples: Vec<Vec<u32>> = learned.iter().flat_map(|verses| windows(verses, random.below(4))).collect();
        random.shuffle(&mut examples);
        let batches = batches(&examples, settings.batch, &mut random);
        for (step, batch) in batches.iter().enumerate() {
            let tokens = batch.iter().map(|window| window.len() - 1).sum();
            let loss = trainer.step(&Verse, batch)?;
            progress.step(epoch, step, batches.len(), loss, tokens);
            if step + 1 == settings.stop_after {
                return Ok(());
            }
        }
        trainer.export(&settings.out)?;
        trainer.save(&settings.state, epoch + 1)?;
        let (surprisal, count) = verses::mean_surprisal(&trainer.model()?, &held_out)?;
        println!(
            "# epoch {epoch}, {:.0} s: perplexity {:.2} on {count} held-out tokens",
            progress.seconds(),
            surprisal.exp()
        );
    }
    Ok(())
}

/// Groups windows of similar length, so that little is padding.
fn batches<'a>(windows: &'a [Vec<u32>], size: usize, random: &mut Shuffle) -> Vec<Vec<&'a Vec<u32>>> {
    let mut order: Vec<&Vec<u32>> = windows.iter().collect();
    order.sort_by_key(|window| window.len());
    let mut batches: Vec<_> = order.chunks(size).map(<[_]>::to_vec).collect();
    random.shuffle(&mut batches);
    batches
}
