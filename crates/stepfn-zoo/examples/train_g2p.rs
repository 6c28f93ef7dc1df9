//! Trains `g2p`, spelling to pronunciation, on CMUdict. Prints the loss curve as CSV.
//!
//! ```sh
//! crates/stepfn-zoo/fetch.sh
//! RAYON_NUM_THREADS=1 cargo run --release -p stepfn-zoo --example train_g2p
//! ```
//!
//! The model card lists the commands that trained the published weights, and how long they took.
//!
//! Arguments, all optional:
//! `epochs=8 seed=1 batch=256 peak=0.001 data=target/g2p/cmudict.dict out=target/g2p/model state=target/g2p/state init=FOLDER` (the `state`
//! of another run, to start from its weights). After every epoch, `out` holds the current model, ready to use, and `state` everything
//! needed to resume: run the same command again to continue. The learning rate depends on the number of epochs, so don't change it halfway.

#![allow(clippy::print_stdout, reason = "the program prints its progress")]

mod pronunciation;
mod training;

use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use pronunciation::{Dictionary, END, PAD};
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::transformer::{Dropout, PaddingSide, Pass, TokenBatch};
use training::{Arguments, Outcome, Progress, Schedule, Shuffle, Task, Trainer, cross_entropy, pretty};

/// Held-out words that are evaluated after every epoch.
const PROBED: usize = 1000;

fn main() -> Outcome<()> {
    let arguments =
        Arguments::read(&["epochs", "seed", "batch", "peak", "data", "out", "state", "init", "stop_after"])?;
    let settings = Settings {
        epochs: arguments.get("epochs", 8)?,
        seed: arguments.get("seed", 1)?,
        batch: arguments.get("batch", 256)?,
        peak: arguments.get("peak", 1e-3)?,
        data: arguments.path("data", "target/g2p/cmudict.dict")?,
        out: arguments.path("out", "target/g2p/model")?,
        state: arguments.path("state", "target/g2p/state")?,
        init: arguments.path("init", "")?,
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
    /// State folder of another run whose weights to start from; empty to start from random weights.
    init: PathBuf,
    /// Stop after this many steps, to measure speed.
    stop_after: usize,
}

fn config_json(vocab_size: usize) -> Value {
    json!({
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": true,
        "vocab_size": vocab_size,
        "decoder_vocab_size": vocab_size,
        "share_encoder_decoder_embeddings": true,
        "tie_word_embeddings": true,
        "d_model": 128,
        "encoder_layers": 3,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 512,
        "decoder_ffn_dim": 512,
        "activation_function": "relu",
        "scale_embedding": true,
        "max_position_embeddings": 64,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "eos_token_id": END,
        "forced_eos_token_id": END,
        "pad_token_id": PAD,
        "bos_token_id": null,
        "decoder_start_token_id": PAD,
        "torch_dtype": "float16"
    })
}

fn generation_config() -> Value {
    json!({
        "decoder_start_token_id": PAD,
        "eos_token_id": END,
        "pad_token_id": PAD,
        "bad_words_ids": [[PAD]],
        "max_length": 40,
        "num_beams": 1
    })
}

/// Letters and phonemes of one word, each including the end token.
struct Pair {
    source: Vec<u32>,
    target: Vec<u32>,
}

struct Spelling;

impl<B: AutodiffBackend> Task<B> for Spelling {
    type Example = Pair;

    fn tokens(pair: &Pair) -> usize {
        pair.target.len()
    }

    fn loss(&self, model: &Model<B>, pairs: &[&Pair], dropout: &Dropout) -> Outcome<Tensor<B, 1>> {
        let vocab = model.config().vocab_size;
        let encoder = model.encoder().ok_or("the model has no encoder")?;
        let source =
            TokenBatch::new(pairs.iter().map(|pair| pair.source.clone()).collect(), vocab, PaddingSide::Right)?;
        let memory = encoder.forward(encoder.embed(&source), Pass::new(&source).with_dropout(dropout))?.last;
        let shifted = |pair: &&Pair| [&[PAD], &pair.target[..pair.target.len() - 1]].concat();
        let inputs = TokenBatch::new(pairs.iter().map(shifted).collect(), vocab, PaddingSide::Right)?;
        let pass = Pass::new(&inputs).with_memory(&memory, &source).with_dropout(dropout);
        let hidden = model.decoder().forward(model.decoder().embed(&inputs), pass)?.last;
        let width = inputs.width();
        let place =
            |(row, pair): (usize, &&Pair)| (0..pair.target.len()).map(move |place| (row * width + place) as i32);
        let places: Vec<i32> = pairs.iter().enumerate().flat_map(place).collect();
        let rows = if places.len() == pairs.len() * width {
            hidden
        } else {
            let places = Tensor::from_data(places.as_slice(), &hidden.device());
            hidden.select(0, places)
        };
        let targets: Vec<u32> = pairs.iter().flat_map(|pair| pair.target.iter().copied()).collect();
        Ok(cross_entropy(model.logits(rows), &targets))
    }
}

fn train<B: AutodiffBackend>(settings: &Settings, device: &B::Device) -> Outcome<()> {
    let tokenizer_json = pretty(&pronunciation::tokenizer_json())?;
    let tokenizer = Tokenizer::from_bytes(tokenizer_json.as_bytes())?;
    let dictionary = pronunciation::dictionary(&settings.data)?;
    let pairs = pairs(&tokenizer, &dictionary)?;
    let held_out: Vec<_> = dictionary.iter().filter(|(word, _)| pronunciation::is_held_out(word)).collect();
    let probed: Vec<_> = held_out.iter().step_by(held_out.len().div_ceil(PROBED)).copied().collect();
    let steps = batches(&pairs, settings, 0).len();
    let schedule = Schedule { peak: settings.peak, warmup: 500, steps: steps * settings.epochs };
    // One embedding table, shared with the head. The head's bias has the name that files of this family use.
    let is_stored = |name: &str| !name.contains("embed_tokens.") && !name.starts_with("lm_head.");
    let config = config_json(tokenizer.vocab_size());
    let mut trainer = Trainer::<B>::new(config, is_stored, schedule, None, settings.seed, device)?;
    println!(
        "# {} parameters, {} pairs, {} words held out, {:?}",
        trainer.num_params(),
        pairs.len(),
        held_out.len(),
        schedule
    );
    std::fs::create_dir_all(&settings.out)?;
    std::fs::write(settings.out.join("tokenizer.json"), tokenizer_json)?;
    std::fs::write(settings.out.join("generation_config.json"), pretty(&generation_config())?)?;
    if !settings.init.as_os_str().is_empty() {
        trainer.begin_with(&settings.init)?;
    }
    let done = trainer.resume(&settings.state)?;
    let mut progress = Progress::start();
    for epoch in done..settings.epochs {
        for (step, batch) in batches(&pairs, settings, epoch).iter().enumerate() {
            let tokens = batch.iter().map(|pair| pair.source.len() + pair.target.len()).sum();
            let loss = trainer.step(&Spelling, batch)?;
            progress.step(epoch, step, steps, loss, tokens);
            if step + 1 == settings.stop_after {
                return Ok(());
            }
        }
        trainer.export(&settings.out)?;
        trainer.save(&settings.state, epoch + 1)?;
        let [stressed, bare] = pronunciation::error_rates(&trainer.model()?, &tokenizer, &probed)?;
        println!(
            "# epoch {epoch}, {:.0} s, {} held-out words: {stressed:?}; without stress {bare:?}",
            progress.seconds(),
            probed.len()
        );
    }
    Ok(())
}

/// The training pairs.
fn pairs(tokenizer: &Tokenizer, dictionary: &Dictionary) -> Outcome<Vec<Pair>> {
    let mut pairs = vec![];
    for (word, pronunciations) in dictionary.iter().filter(|(word, _)| !pronunciation::is_held_out(word)) {
        let source = pronunciation::ids(tokenizer, word)?;
        for phonemes in pronunciations {
            pairs.push(Pair { source: source.clone(), target: pronunciation::ids(tokenizer, phonemes)? });
        }
    }
    Ok(pairs)
}

/// The batches of an epoch: spellings of equal length, with pronunciations of similar length, so that little is padding.
fn batches<'a>(pairs: &'a [Pair], settings: &Settings, epoch: usize) -> Vec<Vec<&'a Pair>> {
    let mut random = Shuffle::new(settings.seed, epoch);
    let mut order: Vec<&Pair> = pairs.iter().collect();
    random.shuffle(&mut order);
    order.sort_by_key(|pair| (pair.source.len(), pair.target.len()));
    let mut batches: Vec<Vec<&Pair>> = order
        .chunk_by(|a, b| a.source.len() == b.source.len())
        .flat_map(|group| group.chunks(settings.batch).map(<[&Pair]>::to_vec))
        .collect();
    random.shuffle(&mut batches);
    batches
}
