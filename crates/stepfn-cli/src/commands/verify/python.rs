//! Asks the user's own Python, which may answer anything.

use core::time::Duration;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde::{Deserialize, Serialize};
use stepfn::writers::printable_lines;

use super::Ours;
use crate::failure::Failure;

/// What runs in the user's Python.
const SCRIPT: &str = include_str!("../verify.py");

/// Bytes of the longest answer: versions and reasons, and for each token some numbers of at most 25 digits.
fn most_said(texts: &[Ours]) -> u64 {
    const FIXED: u64 = 1 << 16;
    const PER_TOKEN: u64 = 128;
    let tokens: usize = texts.iter().map(|ours| ours.source.len() + ours.target.len() + ours.own.len()).sum();
    FIXED + PER_TOKEN * tokens as u64
}

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a Path,
    texts: Vec<AskedText<'a>>,
}

#[derive(Serialize)]
struct AskedText<'a> {
    text: &'a str,
    source: &'a [u32],
    target: &'a [u32],
}

/// What transformers says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Failed { error: String },
    Theirs(Theirs),
}

#[derive(Deserialize)]
pub(super) struct Theirs {
    pub(super) versions: Versions,
    /// Why there is no tokenizer.
    pub(super) tokenizer: Option<String>,
    pub(super) texts: Vec<TheirText>,
}

#[derive(Deserialize)]
pub(super) struct Versions {
    pub(super) transformers: String,
    pub(super) torch: String,
}

#[derive(Deserialize)]
pub(super) struct TheirText {
    pub(super) ids: Option<Vec<u32>>,
    pub(super) log_probs: Vec<f64>,
    pub(super) gradient: Vec<f64>,
}

/// Runs the script in the user's Python.
pub(super) fn ask(python: &str, folder: &Path, texts: &[&str], ours: &[Ours]) -> Result<Theirs, Failure> {
    let advice = "give a Python that has transformers and torch with --python";
    let failed = |what: String| Failure::work(what, advice);
    let most = most_said(ours);
    let texts = texts.iter().zip(ours);
    let texts = texts.map(|(&text, ours)| AskedText { text, source: &ours.source, target: &ours.target });
    let asked = Asked { model: folder, texts: texts.collect() };
    let asked = serde_json::to_string(&asked).map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{python}: {error}")))?;
    // A Python that ends early is reported below, and one that answers before it has read everything waits for nobody.
    let input = child.stdin.take();
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(asked.as_bytes())));
    let (done, is_done) = mpsc::channel();
    let errors = child.stderr.take();
    thread::spawn(move || {
        if let Some(errors) = errors {
            relay(errors);
        }
        done.send(())
    });
    let mut said = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |output| output.take(most + 1).read_to_end(&mut said));
    let is_endless = said.len() as u64 > most;
    if is_endless {
        // Nobody reads the rest.
        drop(child.kill());
    }
    let status = child.wait().and_then(|status| read.map(|_| status));
    let status = status.map_err(|error| failed(format!("{python}: {error}")))?;
    drop(writer.join());
    // Something that Python started may live on.
    is_done.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
    if is_endless {
        return Err(failed(format!(
            "{python} wrote more than {most} bytes, and no answer about these texts is as long"
        )));
    }
    match serde_json::from_slice(&said) {
        Ok(Said::Theirs(theirs)) => Ok(theirs),
        Ok(Said::Failed { error }) => Err(failed(format!("transformers can't read this model: {}", shortened(&error)))),
        Err(_) => Err(failed(format!("{python} ended without an answer ({status})"))),
    }
}

/// Passes on what Python reports while it runs. Nothing in it moves the cursor.
fn relay(errors: impl Read) {
    /// The rest of a longer line is passed on as if it were another.
    const LONGEST: u64 = 1 << 16;
    /// Bytes that are passed on; a Python that goes on and on has said what is wrong by then.
    const MOST: usize = 1 << 20;
    let mut errors = BufReader::new(errors);
    let (mut line, mut passed) = (Vec::new(), 0);
    while (&mut errors).take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        passed += line.len();
        // If standard error can't be written, there is nowhere left to report it.
        if passed > MOST {
            drop(writeln!(io::stderr(), "… (what else it reports is left out)"));
            break;
        }
        drop(write!(io::stderr(), "{}", printable_lines(&String::from_utf8_lossy(&line))));
        line.clear();
    }
    // It would wait for somebody to read the rest.
    drop(io::copy(&mut errors, &mut io::sink()));
}

/// The end of a text, which is where Python says what is wrong, short enough for a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 2000;
    let start = text.ceil_char_boundary(text.len().saturating_sub(LONGEST));
    if start == 0 { text.to_owned() } else { format!("…{}", &text[start..]) }
}
