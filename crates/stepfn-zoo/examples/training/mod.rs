//! The training loop that both programs share.
//!
//! A step splits its batch between two threads. Each builds a [`Model`] from the current weights (handles, no copies), runs it with
//! dropout, and computes gradients with burn's automatic differentiation. Their sum is clipped to a norm of 1 and passed to burn's AdamW
//! (Loshchilov & Hutter 2019, arXiv:1711.05101). The learning rate rises linearly, then falls as a cosine. The split is fixed, so a seed
//! gives the same weights on any number of cores.

#![allow(dead_code, reason = "each example uses a part of this module")]

mod batches;
mod schedule;
mod weights;

pub(crate) use batches::Shuffle;
pub(crate) use schedule::Schedule;
pub(crate) use weights::Weights;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::{AutodiffModule, Module};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, Optimizer};
use burn::record::{DefaultRecorder, Recorder};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData, activation, backend::Backend};
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::config::DropoutRates;
use stepfn_models::transformer::{Dropout, NoisyPass};

/// The result type; any error message will do.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Two threads are enough: burn's elementwise operations on the CPU use one thread each.
const SHARDS: usize = 2;

/// Computes the summed loss over a part of a batch, given a model with the current weights.
pub(crate) trait Task<B: AutodiffBackend>: Sync {
    /// One training example.
    type Example: Sync;

    /// How many tokens of an example are predicted.
    fn tokens(example: &Self::Example) -> usize;

    /// Summed cross-entropy (nats) of the examples.
    ///
    /// # Shapes
    /// - result: `[1]`
    fn loss(&self, model: &Model<B>, examples: &[&Self::Example], dropout: &Dropout) -> Outcome<Tensor<B, 1>>;
}

/// A model in training.
pub(crate) struct Trainer<B: AutodiffBackend> {
    config_json: Value,
    weights: Weights<B>,
    optimizer: OptimizerAdaptor<AdamW, Weights<B>, B>,
    schedule: Schedule,
    rates: Option<DropoutRates>,
    seed: u64,
    step: usize,
    device: B::Device,
}

impl<B: AutodiffBackend> Trainer<B> {
    /// New weights for a configuration. For `is_stored`, see [`Model::outline`]; `rates` replaces the configuration's dropout rates.
    pub(crate) fn new(
        config_json: Value,
        is_stored: impl Fn(&str) -> bool,
        schedule: Schedule,
        rates: Option<DropoutRates>,
        seed: u64,
        device: &B::Device,
    ) -> Outcome<Self> {
        let shapes = Model::<B::InnerBackend>::outline(&config_json, is_stored, device)?;
        let optimizer = AdamWConfig::new().with_beta_2(0.98).with_epsilon(1e-9).with_weight_decay(0.01).init();
        let weights = Weights::initial(&shapes, seed, device);
        Ok(Self { config_json, weights, optimizer, schedule, rates, seed, step: 0, device: device.clone() })
    }

    /// Number of parameters.
    pub(crate) fn num_params(&self) -> usize {
        self.weights.num_params()
    }

    /// The current model, without gradients.
    pub(crate) fn model(&self) -> Outcome<Model<B::InnerBackend>> {
        Ok(Model::from_tensors(&self.config_json, &self.weights.valid().tensors(), &self.device)?)
    }

    /// Runs one step and returns the mean loss per token.
    pub(crate) fn step<T: Task<B>>(&mut self, task: &T, batch: &[&T::Example]) -> Outcome<f32> {
        let tokens: usize = batch.iter().map(|example| T::tokens(example)).sum();
        let part = batch.len().div_ceil(SHARDS);
        let shards: Vec<Outcome<_>> = std::thread::scope(|scope| {
            let started: Vec<_> = batch
                .chunks(part)
                .enumerate()
                .map(|(shard, examples)| {
                    let (this, first) = (&*self, shard * part);
                    scope.spawn(move || this.gradients(task, examples, first, tokens))
                })
                .collect();
            started.into_iter().map(|thread| thread.join().map_err(|_| "a training thread failed")?).collect()
        });
        let mut loss = 0.0;
        let mut sum: Option<Weights<B::InnerBackend>> = None;
        for shard in shards {
            let (part, gradients) = shard?;
            loss += part;
            sum = Some(match sum {
                None => gradients,
                Some(sum) => sum.plus(gradients),
            });
        }
        let gradients = sum.ok_or("the batch is empty")?.clipped(1.0);
        let rate = self.schedule.rate(self.step);
        let gradients = self.weights.gradients(gradients);
        self.weights = self.optimizer.step(rate, self.weights.clone(), gradients);
        self.step += 1;
        Ok(loss)
    }

    /// The loss of part of a batch and its gradients, both divided by the whole batch's number of `tokens`.
    fn gradients<T: Task<B>>(
        &self,
        task: &T,
        examples: &[&T::Example],
        first: usize,
        tokens: usize,
    ) -> Outcome<(f32, Weights<B::InnerBackend>)> {
        let weights = self.weights.leaves();
        let model = Model::from_tensors(&self.config_json, &weights.tensors(), &self.device)?;
        let pass = |row| NoisyPass { text: (first + row) as u32, sample: self.step as u32 };
        let passes = (0..examples.len()).map(pass).collect();
        let dropout = Dropout::On { seed: self.seed, passes, rates: self.rates };
        let loss = task.loss(&model, examples, &dropout)?.div_scalar(tokens as f64);
        let value = loss.clone().inner().into_data().iter::<f32>().next().ok_or("no loss")?;
        if !value.is_finite() {
            return Err(format!("step {}: the loss is {value}", self.step).into());
        }
        let gradients = loss.backward();
        Ok((value, weights.taken(&gradients)))
    }

    /// Saves everything needed to resume to `folder`, atomically.
    pub(crate) fn save(&self, folder: &Path, epoch: usize) -> Outcome<()> {
        let new = folder.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        let recorder = DefaultRecorder::new();
        recorder.record(self.weights.clone().into_record(), new.join("weights"))?;
        recorder.record(self.optimizer.to_record(), new.join("optimizer"))?;
        fs::write(new.join("progress.json"), json!({ "epoch": epoch, "step": self.step }).to_string())?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        Ok(fs::rename(new, folder)?)
    }

    /// Loads the weights that another run saved in `folder`.
    pub(crate) fn begin_with(&mut self, folder: &Path) -> Outcome<()> {
        let weights = DefaultRecorder::new().load(folder.join("weights"), &self.device)?;
        self.weights = self.weights.clone().load_record(weights);
        Ok(())
    }

    /// Resumes from `folder` if it has a saved state; returns the number of finished epochs.
    pub(crate) fn resume(&mut self, folder: &Path) -> Outcome<usize> {
        if !folder.exists() {
            return Ok(0);
        }
        let progress: Value = serde_json::from_slice(&fs::read(folder.join("progress.json"))?)?;
        let count = |field: &str| progress[field].as_u64().ok_or(format!("progress.json: no `{field}`"));
        let recorder = DefaultRecorder::new();
        let weights = recorder.load(folder.join("weights"), &self.device)?;
        self.weights = self.weights.clone().load_record(weights);
        let optimizer = recorder.load(folder.join("optimizer"), &self.device)?;
        self.optimizer = self.optimizer.clone().load_record(optimizer);
        self.step = count("step")? as usize;
        Ok(count("epoch")? as usize)
    }

    /// Writes `config.json` and `model.safetensors` (f16); the latter atomically.
    pub(crate) fn export(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("config.json"), pretty(&self.config_json)?)?;
        let new = folder.join("model.safetensors.new");
        self.weights.valid().write(&new)?;
        Ok(fs::rename(new, folder.join("model.safetensors"))?)
    }
}

/// Summed cross-entropy (nats) of target tokens.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - result: `[1]`
pub(crate) fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: &[u32]) -> Tensor<B, 1> {
    let rows = targets.len();
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [rows, 1]), &logits.device());
    activation::log_softmax(logits, 1).gather(1, ids).sum().neg()
}

/// Indented JSON.
pub(crate) fn pretty(value: &Value) -> Outcome<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Command line: `NAME=VALUE` arguments.
pub(crate) struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// Reads the program's arguments, each with one of `names`.
    pub(crate) fn read(names: &[&str]) -> Outcome<Self> {
        let pair = |argument: String| match argument.split_once('=') {
            Some((name, value)) if names.contains(&name) => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("`{argument}`: expected NAME=VALUE with one of the names {}", names.join(", ")).into()),
        };
        std::env::args().skip(1).map(pair).collect::<Outcome<_>>().map(Self)
    }

    /// The value of a name, or the default.
    pub(crate) fn get<T: std::str::FromStr>(&self, name: &str, default: T) -> Outcome<T> {
        match self.0.iter().find(|(given, _)| given == name) {
            None => Ok(default),
            Some((_, value)) => value.parse().map_err(|_| format!("`{name}`: can't read `{value}`").into()),
        }
    }

    /// A folder or file.
    pub(crate) fn path(&self, name: &str, default: &str) -> Outcome<PathBuf> {
        Ok(PathBuf::from(self.get(name, default.to_owned())?))
    }
}

/// Prints the loss curve as CSV, with the training speed.
pub(crate) struct Progress {
    started: Instant,
    tokens: usize,
    loss: f64,
    steps: usize,
}

impl Progress {
    /// Steps per line of output.
    const EVERY: usize = 50;

    /// Prints the CSV header.
    pub(crate) fn start() -> Self {
        println!("epoch,step,steps_per_epoch,loss,seconds,tokens_per_second");
        Self { started: Instant::now(), tokens: 0, loss: 0.0, steps: 0 }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Called after each step.
    pub(crate) fn step(&mut self, epoch: usize, step: usize, of: usize, loss: f32, tokens: usize) {
        self.tokens += tokens;
        self.loss += f64::from(loss);
        self.steps += 1;
        if self.steps == Self::EVERY || step + 1 == of {
            let seconds = self.seconds();
            let speed = self.tokens as f64 / seconds;
            println!("{epoch},{},{of},{:.4},{seconds:.0},{speed:.0}", step + 1, self.loss / self.steps as f64);
            (self.loss, self.steps) = (0.0, 0);
        }
    }
}
