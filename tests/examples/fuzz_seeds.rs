//! Writes the initial corpus of each fuzz target, the golden files: `cargo run -p stepfn-tests --example fuzz_seeds -- FOLDER`. The default
//! folder is `fuzz/corpus`, where cargo-fuzz looks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::fs;
use std::path::{Path, PathBuf};

use stepfn_tests::fuzz::TARGETS;

fn main() {
    let corpus = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let folder = std::env::args().nth(1).map_or_else(corpus, PathBuf::from);
    for (name, _, seeds) in TARGETS {
        let of_target = folder.join(name);
        fs::create_dir_all(&of_target).unwrap();
        let seeds = seeds();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(of_target.join(format!("golden-{number}")), seed).unwrap();
        }
        println!("{}: {} files", of_target.display(), seeds.len());
    }
}
