//! Runs the fuzz targets on mutated golden files, without coverage:
//! `cargo run -p stepfn-tests --example mutate -- SECONDS [TARGET] [SEED]`.
//!
//! Inputs that make a target panic are saved in `target/tmp`, and their names printed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use stepfn_tests::fuzz::TARGETS;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % most.max(1) as u64) as usize
    }
}

/// Numbers that often break parsers.
const NUMBERS: [u64; 8] = [0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, i64::MAX as u64, u64::MAX];
const TEXTS: [&[u8]; 12] = [
    b"null",
    b"-1",
    b"1e308",
    b"18446744073709551615",
    b"\"\"",
    b"[]",
    b"{}",
    b"true",
    b"0",
    b"1000000000",
    b"\\u0000",
    b"[[",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    // The structure is at the start of a file; tensor data may be anything.
    let front = if random.below(4) == 0 { bytes.len() } else { bytes.len().min(6000) };
    let at = random.below(front);
    let len = random.below(16).min(bytes.len() - at);
    match random.below(8) {
        0 | 1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        3 => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        4 => drop(bytes.drain(at..at + len)),
        5 => {
            let copy = bytes[at..at + len].to_vec();
            let to = random.below(front);
            bytes.splice(to..to, copy);
        }
        6 => bytes.truncate(random.below(bytes.len() + 1)),
        // Replaces a value of a JSON object by another one.
        _ => {
            let Some(start) = bytes[at..].iter().position(|&byte| byte == b':').map(|start| at + start + 1) else {
                return;
            };
            let value = bytes[start..].iter().position(|byte| matches!(byte, b',' | b'}'));
            let end = value.map_or(bytes.len(), |value| start + value);
            bytes.splice(start..end, TEXTS[random.below(TEXTS.len())].to_vec());
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.first().map_or(60, |seconds| seconds.parse().unwrap());
    let only = arguments.get(1).map(String::as_str).filter(|only| *only != "all");
    let mut random = Random(arguments.get(2).map_or(1, |seed| seed.parse().unwrap()));
    let folder = std::env::temp_dir().join("stepfn-fuzz");
    fs::create_dir_all(&folder).unwrap();
    let mut failures = 0;
    for (name, target, seeds) in TARGETS.iter().filter(|target| only.is_none_or(|only| only == target.0)) {
        let seeds = seeds();
        let (start, mut runs, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
        while start.elapsed() < Duration::from_secs(seconds) {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(4) {
                mutate(&mut bytes, &mut random);
            }
            // Saved first, so that an input that kills the process can be found too.
            fs::write(folder.join("last"), &bytes).unwrap();
            let run = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                failures += 1;
                let path = folder.join(format!("{name}-{runs}"));
                fs::write(&path, &bytes).unwrap();
                println!("{name}: panicked on {}", path.display());
            }
            if run.elapsed() > slowest {
                slowest = run.elapsed();
                fs::write(folder.join(format!("{name}-slowest")), &bytes).unwrap();
            }
            runs += 1;
        }
        println!("{name}: {runs} runs, slowest {slowest:.1?}");
    }
    assert_eq!(failures, 0, "inputs that caused panics are in {}", folder.display());
}
