//! A peer process that does the same work with another library and reports its time, so that both are timed alternately in one run.
//!
//! Both sides send one JSON object per line; see the scripts in `benches/peers/`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running peer process, which ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// What it reports about itself: library, version, threads.
    pub about: Value,
}

impl Peer {
    /// Starts `benches/peers/{script}` with the interpreter named by `STEPFN_PYTHON` (default `python3`).
    ///
    /// # Errors
    /// If it does not start; the message says what is missing.
    pub fn start(script: &str) -> Result<Self, String> {
        let python = std::env::var("STEPFN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        // Cargo runs benchmarks in their package's folder, but a path is relative to the workspace.
        let program = match python.contains('/') {
            true => Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&python),
            false => PathBuf::from(&python),
        };
        let path = format!("{}/peers/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(program)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python} does not start: {error}"))?;
        let requests = child.stdin.take();
        let mut replies = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        replies.read_line(&mut line).map_err(|error| error.to_string())?;
        let about = serde_json::from_str(&line).map_err(|_| {
            format!(
                "{script} replied {line:?} under {python}; set STEPFN_PYTHON to an interpreter that has its packages"
            )
        })?;
        Ok(Self { child, requests, replies, about })
    }

    /// Prepares work with the given shape.
    ///
    /// # Errors
    /// The peer's reason if it can't; then there is nothing to time.
    pub fn setup(&mut self, shape: &Value) -> Result<(), String> {
        self.ask(&json!({ "setup": shape })).map(drop)
    }

    /// Whether it supports `work`; call this after [`setup`](Self::setup).
    pub fn can(&mut self, work: &str) -> bool {
        self.ask(&json!({ "time": work, "repeats": 0 })).is_ok()
    }

    /// Seconds of each of `repeats` runs of `work`.
    pub fn time(&mut self, work: &str, repeats: usize) -> Vec<f64> {
        let reply = self.ask(&json!({ "time": work, "repeats": repeats }));
        let reply = reply.unwrap_or_else(|error| panic!("{work}: {error}"));
        serde_json::from_value(reply["seconds"].clone()).unwrap()
    }

    /// Seconds of one run of `work`, and its result.
    pub fn result(&mut self, work: &str) -> (f64, Value) {
        let reply = self.ask(&json!({ "result": work }));
        let mut reply = reply.unwrap_or_else(|error| panic!("{work}: {error}"));
        (reply["seconds"][0].as_f64().unwrap_or(f64::NAN), reply["result"].take())
    }

    /// Peak memory in bytes.
    pub fn peak_memory(&mut self) -> f64 {
        let reply = self.ask(&json!({ "peak_memory": true }));
        reply.ok().and_then(|reply| reply["bytes"].as_f64()).unwrap_or(f64::NAN)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let requests = self.requests.as_mut().unwrap();
        let sent = writeln!(requests, "{request}").and_then(|()| requests.flush());
        let mut line = String::new();
        sent.and_then(|()| self.replies.read_line(&mut line))
            .map_err(|error| format!("the peer has ended: {error}"))?;
        let reply: Value = serde_json::from_str(&line).map_err(|_| format!("{request}: the peer replied {line:?}"))?;
        match reply.get("error") {
            None => Ok(reply),
            Some(error) => Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
