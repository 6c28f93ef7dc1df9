//! The King James Bible as training examples, and a model's surprisal on it.

#![allow(dead_code, reason = "each example uses a part of this module")]

pub(crate) mod trigram;

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData, activation, backend::Backend};
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::transformer::{Dropout, PaddingSide, Pass, TokenBatch};
use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Begins a window.
pub(crate) const BEGIN: u32 = 0;
/// Ends a chapter.
pub(crate) const END: u32 = 1;
/// Context length in training.
pub(crate) const WINDOW: usize = 128;

/// A chapter: its name, such as `Genesis 1`, and its verses.
#[derive(Debug, PartialEq)]
pub(crate) struct Chapter {
    pub(crate) name: String,
    pub(crate) verses: Vec<String>,
}

/// Reads the output of `bible gen1:1-rev22:21`: chapter names, and indented verses that start with their numbers.
pub(crate) fn chapters(path: &Path) -> Outcome<Vec<Chapter>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; crates/stepfn-zoo/fetch.sh fetches it", path.display()))?;
    let mut chapters: Vec<Chapter> = vec![];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match (line.strip_prefix(' ').and_then(|verse| verse.trim_start().split_once(' ')), chapters.last_mut()) {
            (Some((_number, verse)), Some(chapter)) => chapter.verses.push(verse.trim().to_owned()),
            (Some(_), None) => return Err(format!("{}: found a verse before the first chapter", path.display()).into()),
            (None, _) => chapters.push(Chapter { name: line.trim().to_owned(), verses: vec![] }),
        }
    }
    Ok(chapters)
}

/// Whether a chapter is held out: FNV-1a of its name's bytes is a multiple of 20.
pub(crate) fn is_held_out(chapter: &Chapter) -> bool {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    chapter.name.bytes().fold(0xcbf2_9ce4_8422_2325, hash).is_multiple_of(20)
}

/// Learns byte pairs (Sennrich et al. 2016, arXiv:1508.07909) from chapters; returns a `tokenizer.json`.
pub(crate) fn tokenizer_json<'a>(chapters: impl Iterator<Item = &'a Chapter>, vocab_size: usize) -> Outcome<Value> {
    let special = ["<s>", "</s>"].map(|token| AddedToken::from(token, true)).to_vec();
    let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
    let builder = BpeTrainer::builder().vocab_size(vocab_size).show_progress(false).special_tokens(special);
    let mut trainer = TrainerWrapper::from(builder.initial_alphabet(alphabet).build());
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let verses: Vec<&str> = chapters.flat_map(|chapter| chapter.verses.iter().map(String::as_str)).collect();
    tokenizer.train(&mut trainer, verses.into_iter())?;
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false)?)?;
    let begin = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    let text = |which: &str| json!({ "Sequence": { "id": which, "type_id": 0 } });
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [begin, text("A")],
        "pair": [begin, text("A"), text("B")],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [BEGIN], "tokens": ["<s>"] } }
    });
    Ok(json)
}

/// A chapter's verses as tokens, each with its line break; the last one ends with the end token.
pub(crate) fn tokens(tokenizer: &Tokenizer, chapter: &Chapter) -> Outcome<Vec<Vec<u32>>> {
    let encode = |verse: &String| -> Outcome<Vec<u32>> {
        let tokens = tokenizer.encode(&format!("{verse}\n"), false)?;
        Ok(tokens.into_iter().map(|token| token.id).collect())
    };
    let mut verses: Vec<Vec<u32>> = chapter.verses.iter().map(encode).collect::<Outcome<_>>()?;
    if let Some(last) = verses.last_mut() {
        last.push(END);
    }
    Ok(verses)
}

/// Splits a chapter into windows of whole verses, as many as fit: a begin token, then up to [`WINDOW`] tokens to predict. The first window
/// holds at most `first` verses, so that windows start at different places in each epoch; 0 for no such limit.
pub(crate) fn windows(verses: &[Vec<u32>], first: usize) -> Vec<Vec<u32>> {
    let mut windows: Vec<Vec<u32>> = vec![];
    for (number, verse) in verses.iter().enumerate() {
        for part in verse.chunks(WINDOW) {
            match windows.last_mut() {
                Some(window) if window.len() + part.len() <= WINDOW + 1 && (first == 0 || number != first) => {
                    window.extend(part);
                }
                _ => windows.push([&[BEGIN], part].concat()),
            }
        }
    }
    windows
}

/// Logits for every token of the windows except the begin tokens, and these tokens' ids.
///
/// # Shapes
/// - result: `[tokens, vocab]`, `[tokens]`
pub(crate) fn predictions<B: Backend>(
    model: &Model<B>,
    windows: &[&Vec<u32>],
    dropout: &Dropout,
) -> Outcome<(Tensor<B, 2>, Vec<u32>)> {
    let inputs = windows.iter().map(|window| window[..window.len() - 1].to_vec()).collect();
    let batch = TokenBatch::new(inputs, model.config().vocab_size, PaddingSide::Right)?;
    let decoder = model.decoder();
    let hidden = decoder.forward(decoder.embed(&batch), Pass::new(&batch).with_dropout(dropout))?.last;
    let width = batch.width();
    let place =
        |(row, window): (usize, &&Vec<u32>)| (0..window.len() - 1).map(move |place| (row * width + place) as i32);
    let places: Vec<i32> = windows.iter().enumerate().flat_map(place).collect();
    let rows = if places.len() == windows.len() * width {
        hidden
    } else {
        let len = places.len();
        let places: Tensor<B, 1, Int> = Tensor::from_data(TensorData::new(places, [len]), &hidden.device());
        hidden.select(0, places)
    };
    Ok((model.logits(rows), windows.iter().flat_map(|window| window[1..].iter().copied()).collect()))
}

/// Mean surprisal (nats) over the tokens of the windows, and the number of tokens.
pub(crate) fn mean_surprisal<B: Backend>(model: &Model<B>, windows: &[Vec<u32>]) -> Outcome<(f64, usize)> {
    let mut order: Vec<&Vec<u32>> = windows.iter().collect();
    order.sort_by_key(|window| window.len());
    let (mut sum, mut count) = (0.0, 0);
    for windows in order.chunks(16) {
        let (logits, targets) = predictions(model, windows, &Dropout::Off)?;
        let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [targets.len(), 1]), &logits.device());
        let logprobs = activation::log_softmax(logits, 1).gather(1, ids).into_data();
        sum -= logprobs.iter::<f64>().sum::<f64>();
        count += targets.len();
    }
    Ok((sum / count as f64, count))
}
