//! Evaluates the models on held-out data. The model cards quote these numbers.
//!
//! ```sh
//! crates/stepfn-zoo/fetch.sh
//! cargo run --release -p stepfn-zoo --example measure
//! ```
//!
//! Arguments, all optional: `g2p=FOLDER verse=FOLDER` (evaluate these checkpoints instead of the compiled-in ones),
//! `dictionary=target/g2p/cmudict.dict`, `bible=target/verse/bible.txt`, `samples=FOLDER` (write a sample of the held-out data there, for
//! the crate's tests).

#![allow(clippy::print_stdout, reason = "the program prints its results")]

mod pronunciation;
mod training;
mod verses;

use std::fs;

use burn::tensor::DType;
use stepfn_models::Model;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_zoo::EmbeddedModel;
use training::{Arguments, Outcome};
use verses::trigram::Trigram;
use verses::windows;

type Backend = stepfn_cpu::Backend;

/// Words in the sample.
const SAMPLED_WORDS: usize = 200;
/// Chapters in the sample.
const SAMPLED_CHAPTERS: usize = 6;

fn main() -> Outcome<()> {
    let arguments = Arguments::read(&["g2p", "verse", "dictionary", "bible", "samples"])?;
    measure_g2p(&arguments)?;
    measure_verse(&arguments)
}

/// The checkpoint in the folder given as argument, or the compiled-in one.
fn load(arguments: &Arguments, embedded: &EmbeddedModel) -> Outcome<(Model<Backend>, Tokenizer)> {
    let folder: String = arguments.get(embedded.name, String::new())?;
    if folder.is_empty() {
        return Ok((embedded.model(DType::F32, &Default::default())?, embedded.tokenizer()?));
    }
    Ok((Model::load(&folder, DType::F32, &Default::default())?, Tokenizer::from_folder(&folder)?))
}

fn measure_g2p(arguments: &Arguments) -> Outcome<()> {
    let (model, tokenizer) = load(arguments, stepfn_zoo::g2p())?;
    let dictionary = pronunciation::dictionary(&arguments.path("dictionary", "target/g2p/cmudict.dict")?)?;
    let held_out: Vec<_> = dictionary.iter().filter(|(word, _)| pronunciation::is_held_out(word)).collect();
    let [stressed, bare] = pronunciation::error_rates(&model, &tokenizer, &held_out)?;
    let percent = |rate: f64| format!("{:.2} %", 100.0 * rate);
    println!("g2p, {} held-out words, greedy:", held_out.len());
    println!(
        "  with stress:    phonemes wrong {}, words wrong {}",
        percent(stressed.phonemes),
        percent(stressed.words)
    );
    println!("  without stress: phonemes wrong {}, words wrong {}", percent(bare.phonemes), percent(bare.words));
    let samples: String = arguments.get("samples", String::new())?;
    if !samples.is_empty() {
        let sampled = held_out.iter().step_by(held_out.len() / SAMPLED_WORDS).take(SAMPLED_WORDS);
        let line = |(word, pronunciations): &(&String, &Vec<String>)| {
            pronunciations.iter().map(|phonemes| format!("{word} {phonemes}\n")).collect::<String>()
        };
        fs::write(format!("{samples}/held_out.dict"), sampled.map(line).collect::<String>())?;
    }
    Ok(())
}

fn measure_verse(arguments: &Arguments) -> Outcome<()> {
    let (model, tokenizer) = load(arguments, stepfn_zoo::verse())?;
    let chapters = verses::chapters(&arguments.path("bible", "target/verse/bible.txt")?)?;
    let (held_out, learned): (Vec<_>, Vec<_>) = chapters.iter().partition(|chapter| verses::is_held_out(chapter));
    let tokens = |chapters: &[&verses::Chapter]| -> Outcome<Vec<Vec<Vec<u32>>>> {
        chapters.iter().map(|chapter| verses::tokens(&tokenizer, chapter)).collect()
    };
    let whole =
        |chapters: &[Vec<Vec<u32>>]| -> Vec<Vec<u32>> { chapters.iter().map(|verses| verses.concat()).collect() };
    let learned = whole(&tokens(&learned)?);
    let trigram = Trigram::new(learned.iter().map(Vec::as_slice), tokenizer.vocab_size());
    let report = |what: &str, chapters: &[&verses::Chapter]| -> Outcome<()> {
        let tokens = tokens(chapters)?;
        let baseline = trigram.mean_surprisal(whole(&tokens).iter().map(Vec::as_slice)).exp();
        let windows: Vec<_> = tokens.iter().flat_map(|verses| windows(verses, 0)).collect();
        let (surprisal, count) = verses::mean_surprisal(&model, &windows)?;
        println!("verse, {} {what} chapters, {count} tokens:", chapters.len());
        println!("  perplexity {:.2}; of a trigram model with Kneser-Ney smoothing {baseline:.2}", surprisal.exp());
        Ok(())
    };
    report("held-out", &held_out)?;
    let sampled = held_out.iter().step_by(held_out.len() / SAMPLED_CHAPTERS).take(SAMPLED_CHAPTERS).copied();
    let sampled: Vec<_> = sampled.collect();
    report("sampled", &sampled)?;
    let samples: String = arguments.get("samples", String::new())?;
    if !samples.is_empty() {
        let text = |chapter: &&verses::Chapter| {
            let verse = |(number, verse): (usize, &String)| format!("  {} {verse}\n", number + 1);
            let verses: String = chapter.verses.iter().enumerate().map(verse).collect();
            format!("\n{}\n\n{verses}", chapter.name)
        };
        fs::write(format!("{samples}/held_out.txt"), sampled.iter().map(text).collect::<String>())?;
    }
    Ok(())
}
