//! Corpora: files of every format in and out, and shards that are the same however often the program was killed.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use stepfn_corpus::{Column, Content, Format, Reader, RowFile, RowOptions, Source, Type, failpoint};

use self::fixture::{Done, Scratch, program, stepfn, stepfn_reading};

const WORDS: [&str; 7] = ["cat", "dog", "house", "tree", "river", "stone", "light"];

/// Rows of a corpus, with a year to keep.
fn rows(count: usize) -> Vec<Value> {
    let row = |n: usize| json!({"id": format!("w{n}"), "sentence": WORDS[n % 7], "year": 1900 + n});
    (0..count).map(row).collect()
}

/// Writes the corpus in a format.
fn write(folder: &Scratch, name: &str, format: Format, rows: &[Value]) -> String {
    let columns = [("id", Type::Text), ("sentence", Type::Text), ("year", Type::Int64)];
    let columns = columns.map(|(name, kind)| Column::new(name, kind)).to_vec();
    let mut file = RowFile::new(columns.clone(), &RowOptions { group_rows: 4, ..RowOptions::new(format) }).unwrap();
    for row in rows {
        file.push(columns.iter().map(|column| row[&column.name].clone().into()).collect()).unwrap();
    }
    folder.write(&format!("{name}.{}", format.name()), file.finish().unwrap())
}

/// The rows of Parquet files.
fn parquet(paths: &[String]) -> Vec<Value> {
    let sources = paths.iter().map(|path| Source::new(Path::new(path), None)).collect();
    let row = |content| match content {
        Ok(Content::Fields(fields)) => Value::from(fields),
        other => panic!("{other:?}"),
    };
    Reader::new(sources, None).unwrap().map(|record| row(record.content)).collect()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is in a folder: names and bytes.
fn content(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| file(entry.unwrap())).collect()
}

fn fine(done: &Done) {
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
}

#[test]
fn every_format_is_read_to_the_same_scores() {
    let folder = Scratch::new();
    let paths = Format::ALL.map(|format| write(&folder, "a", format, &rows(5)));
    let score = |path: &str, more: &[&str]| {
        let named = ["--text-column", "sentence", "--keep", "year", "--format", "jsonl"];
        let done = stepfn(["score", "--input", path].into_iter().chain(named).chain(more.iter().copied()));
        // Of several files, the ids are there several times, which is a warning.
        assert_eq!(done.code, 0, "{done:?}");
        json_lines(&done.out)
    };
    let expected = score(&paths[0], &[]);
    assert_eq!(expected.len(), 5);
    assert_eq!((&expected[3]["id"], &expected[3]["fields"]["year"]), (&json!("w3"), &json!(1903)));
    assert_eq!(score(&paths[3], &[]), expected, "Parquet has types, too");
    for path in &paths[1..3] {
        let mut found = score(path, &[]);
        for (text, expected) in found.iter_mut().zip(&expected) {
            assert_eq!(text["fields"]["year"], expected["fields"]["year"].to_string(), "a table has texts only");
            text["fields"]["year"] = expected["fields"]["year"].clone();
        }
        assert_eq!(found, expected, "{path}");
    }
    let tables = stepfn(["score", "--input", &paths[3], "--text-column", "sentence", "--keep", "*", "--format", "csv"]);
    assert!(tables.out.lines().next().unwrap().ends_with(",year"), "{tables:?}");
    let all = score(folder.0.join("a.*").to_str().unwrap(), &[]);
    let ids: Vec<&Value> = all.iter().map(|text| &text["id"]).collect();
    assert_eq!((all.len(), ids[4], ids[5]), (20, &json!("w4"), &json!("w0")));
    // The id may have another name.
    let numbered = stepfn([
        "score",
        "--input",
        &paths[0],
        &paths[3],
        "--id-column",
        "year",
        "--text-column",
        "sentence",
        "--format",
        "jsonl",
    ]);
    assert_eq!(json_lines(&numbered.out)[9]["id"], 1904);
    let standard = stepfn_reading(
        fs::read(&paths[1]).unwrap(),
        &["score", "--input", "-", "--input-format", "csv", "--text-column", "sentence", "--format", "jsonl"],
    );
    fine(&standard);
    assert_eq!(json_lines(&standard.out)[2]["scores"], expected[2]["scores"]);
    for command in [&["attribute"][..], &["generate", "--max-new-tokens", "2"]] {
        let out = |path: &String| {
            let named = ["--input", path, "--text-column", "sentence", "--format", "csv", "-o", "-"];
            stepfn(command.iter().copied().chain(named))
        };
        fine(&out(&paths[3]));
        assert_eq!(out(&paths[1]), out(&paths[3]), "{command:?}");
    }
}

#[test]
fn parquet_has_a_list_of_the_units_of_each_text() {
    let folder = Scratch::new();
    let texts = ["And God said, Let there be light.", "And it was so."];
    let lines: String = texts.iter().map(|text| json!({ "text": text }).to_string() + "\n").collect();
    let input = folder.write("texts.jsonl", lines + "{\"text\": 3}\n");
    let out = folder.0.join("scores.parquet").display().to_string();
    for unit in [&["--by", "word", "--bow-correction"][..], &["--by", "text", "--uncertainty", "3", "--dropout", "0.1"]]
    {
        let common = ["score", "-m", "verse", "--input", &input, "--step-fn", "surprisal,entropy"];
        let written = |rest: &[&str]| stepfn(common.iter().chain(unit).chain(rest));
        assert_eq!(written(&["--format", "parquet", "-o", &out]).code, 1);
        let found = parquet(core::slice::from_ref(&out));
        let expected = json_lines(&written(&["--format", "jsonl"]).out);
        assert_eq!(found.len(), 3);
        for (row, expected) in found.iter().zip(&expected).take(2) {
            let units = row["units"].as_array().unwrap();
            assert_eq!(units.len(), expected["units"].as_array().unwrap().len());
            for (unit, expected) in units.iter().zip(expected["units"].as_array().unwrap()) {
                for name in ["text", "start", "end", "tokens"] {
                    assert_eq!(unit[name], expected[name], "{name}");
                }
                assert_eq!(unit["name"], Value::Null);
                for (name, score) in expected["scores"].as_object().unwrap() {
                    let (found, score) = (unit[name].as_f64(), score.as_f64());
                    // Decimal digits are read back to the last but one.
                    let is_same =
                        found.zip(score).is_none_or(|(found, score)| (found - score).abs() <= 1e-12 * score.abs());
                    assert!(is_same && found.is_some() == score.is_some(), "{name}: {found:?} {score:?}");
                }
                assert_eq!(unit.as_object().unwrap().len(), 5 + expected["scores"].as_object().unwrap().len());
            }
        }
        assert!(found[2]["units"].is_null() && found[2]["error"].as_str().unwrap().contains("`text`"), "{}", found[2]);
    }
}

#[test]
fn compressed_files_have_the_same_scores_and_shards() {
    let folder = Scratch::new();
    let rows = rows(30);
    let plain = write(&folder, "a", Format::Csv, &rows);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&fs::read(&plain).unwrap()).unwrap();
    let packed = folder.write("b.csv.gz", packer.finish().unwrap());
    let score = |input: &str, more: &[&str]| {
        let named = ["score", "--input", input, "--text-column", "sentence", "--keep", "year", "--format", "jsonl"];
        stepfn(named.iter().copied().chain(more.iter().copied()))
    };
    fine(&score(&packed, &[]));
    assert_eq!(score(&packed, &[]).out, score(&plain, &[]).out);
    let shards = [&plain, &packed].map(|input| {
        let out = format!("{input}-scores");
        fine(&score(input, &["-o", &out, "--shards", "4", "-q"]));
        content(&out).into_iter().filter(|(name, _)| name.starts_with("score-")).collect::<Vec<_>>()
    });
    assert_eq!(shards[0], shards[1]);
    assert_eq!(shards[0].len(), 4);
}

#[test]
fn equal_texts_are_scored_once_if_asked() {
    let folder = Scratch::new();
    let input = write(&folder, "a", Format::JsonLines, &rows(30));
    let named = ["score", "--verbose", "--input", &input, "--text-column", "sentence", "--format", "jsonl"];
    let run = |more: &[&str]| stepfn(named.iter().copied().chain(more.iter().copied()));
    let once = run(&["--once"]);
    assert!(once.code == 0 && once.err.contains("23 texts had the scores of an equal one before"), "{once:?}");
    let (once, each) = (json_lines(&once.out), json_lines(&run(&[]).out));
    assert_eq!(once.len(), 30);
    for (number, (one, other)) in once.iter().zip(&each).enumerate() {
        assert_eq!([&one["id"], &one["tokens"]], [&other["id"], &other["tokens"]]);
        assert_eq!(one["scores"], once[number % 7]["scores"], "those of the first");
    }
    let out = folder.0.join("scores").display().to_string();
    let done = run(&["--once", "-o", &out, "--shards", "2"]);
    assert!(done.err.contains("16 texts had the scores of an equal one before"), "7 in each shard: {done:?}");
    run(&["-o", &out, "--shards", "2"]).fails(2, "run.options.once was true, and is false", "new folder");
    run(&["--once", "--step-fn", "mc_dropout_prob_avg"]).fails(2, "noise of their own", "leave it out");
}

#[test]
fn parquet_has_a_row_for_each_text_with_a_list_for_each_function() {
    let folder = Scratch::new();
    let mut corpus = rows(4);
    corpus[1]["sentence"] = json!(null);
    corpus[2]["year"] = json!("unknown");
    let input = folder.write("a.jsonl", corpus.iter().map(|row| format!("{row}\n")).collect::<String>());
    let out = folder.0.join("scores.parquet").display().to_string();
    let common = ["score", "--input", &input, "--text-column", "sentence", "--step-fn", "surprisal,rank", "--top", "2"];
    let done =
        stepfn(common.into_iter().chain(["--keep", "year", "--format", "parquet", "-o", &out, "--group-rows", "2"]));
    assert!(done.code == 1 && done.err.contains("1 of 4 texts failed"), "{done:?}");
    let expected = json_lines(&stepfn(common.into_iter().chain(["--keep", "year", "--format", "jsonl"])).out);
    let found = parquet(&[out]);
    for (row, text) in found.iter().zip(&expected) {
        assert_eq!(row["id"], text["id"]);
        if let Some(error) = text.get("error") {
            assert_eq!((&row["error"], &row["surprisal"], &row["tokens"]), (error, &Value::Null, &Value::Null));
            assert_eq!(
                (&row["year"], &text["fields"]["year"]),
                (&json!("1901"), &json!(1901)),
                "what travels along does"
            );
            continue;
        }
        let first = text["first"].as_u64().unwrap() as usize;
        assert_eq!(row["first"], first);
        let tokens = &text["tokens"].as_array().unwrap()[first..];
        let of = |name: &str| tokens.iter().map(|token| token[name].clone()).collect::<Value>();
        assert_eq!([&row["tokens"], &row["token_ids"]], [&of("token"), &of("id")]);
        let spans: Value = tokens.iter().map(|token| json!({"start": token["start"], "end": token["end"]})).collect();
        assert_eq!(row["spans"], spans);
        for function in ["surprisal", "rank"] {
            let (found, expected) = (row[function].as_array().unwrap(), text["scores"][function].as_array().unwrap());
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6));
        }
        assert_eq!(row["expected"][0].as_array().unwrap().len(), 2);
        assert!((row["logprob"].as_f64().unwrap() - text["sequence"]["logprob"].as_f64().unwrap()).abs() < 1e-9);
    }
    // The years are those of the first records: whole numbers and a text are texts.
    assert_eq!([&found[0]["year"], &found[2]["year"]], [&json!("1900"), &json!("unknown")]);
}

#[test]
fn what_can_not_be_read_or_written_is_said() {
    let folder = Scratch::new();
    let csv = write(&folder, "a", Format::Csv, &rows(3));
    let out = folder.0.join("out").display().to_string();
    let shards = ["--format", "jsonl", "-o", &out, "--shards", "2"];
    for (call, what, help) in [
        (&["--input", &csv][..], "there is no column `text`", "--text-column NAME; its columns are id, sentence, year"),
        (&["--input", &csv, "--text-column", "sentense"], "there is no column `sentense`", "its columns are id"),
        (
            &["--input", &csv, "--text-column", "sentence", "--keep", "yaer"],
            "there is no column `yaer`",
            "id, sentence",
        ),
        (&["--input", "no*such"], "there is no such file", "quote it"),
        (&["--input", &csv, "--text-column", "sentence", "--keep", "id"], "--keep id", "leave it out"),
        (&["--input", "-", "--input-format", "parquet"], "Parquet can't be read from standard input", "name of a file"),
        (&["--input", "-", "--format", "jsonl", "-o", &out, "--shards", "2"], "how many texts", "--shard-rows N"),
        (&["--input", &csv, "--format", "json", "-o", &out, "--shards", "2"], "no shards in the format json", "jsonl"),
        (&["--input", &csv, "--format", "jsonl", "--group-rows", "2"], "--group-rows", "--format parquet"),
        (
            &["--input", &csv, "--text-column", "sentence", "--format", "jsonl", "-o", &csv, "--shards", "2"],
            "written to a folder",
            "folder",
        ),
    ] {
        stepfn(["score"].iter().chain(call)).fails(2, what, help);
    }
    let named = ["score", "--input", &csv, "--text-column", "sentence", "--keep", "year"];
    stepfn(named.iter().copied().chain(["--format", "parquet", "-o", &out, "--shards", "2", "--shard", "2/2"])).fails(
        2,
        "expected I/N",
        "",
    );
    folder.write("thesis.tex", "");
    let other = ["--format", "jsonl", "--shards", "2", "-o", folder.path()];
    stepfn(named.iter().copied().chain(other)).fails(2, "such as", "new folder");
    fine(&stepfn(named.iter().copied().chain(shards)));
    let changed = ["--step-fn", "rank", "--batch-tokens", "64"];
    let done = stepfn(named.iter().copied().chain(shards).chain(changed));
    done.fails(2, "run.options.batch_tokens was 4096, and is 64", "write to a new folder");
    assert!(
        done.err.contains("run.options.step_fn was [\"probability\",\"surprisal\",\"entropy\"], and is [\"rank\"]"),
        "{done:?}"
    );
    let mut more = fs::read(&csv).unwrap();
    more.extend(b"w3,stone,1903\n");
    fs::write(&csv, more).unwrap();
    stepfn(named.iter().copied().chain(shards)).fails(2, "input.0.bytes was", "write to a new folder");
}

/// A run over shards of a corpus.
struct Run {
    input: String,
    format: &'static str,
}

impl Run {
    fn call(&self, out: &str) -> Vec<String> {
        let call = [
            "score",
            "-q",
            "--input",
            &self.input,
            "--text-column",
            "sentence",
            "--keep",
            "year",
            "--step-fn",
            "surprisal,mc_dropout_prob_avg",
            "--set",
            "n_mcd_steps=2",
            "--dropout",
            "0.1",
            "--format",
            self.format,
            "--shards",
            "4",
            "-o",
            out,
        ];
        call.map(str::to_owned).to_vec()
    }
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_bytes() {
    let folder = Scratch::new();
    let run = Run { input: write(&folder, "a", Format::Parquet, &rows(30)), format: "parquet" };
    let at = |name: &str| folder.0.join(name).display().to_string();
    let whole = at("whole");
    fine(&stepfn(run.call(&whole)));
    let expected = content(&whole);
    assert_eq!(expected.len(), 6, "{:?}", expected.keys());
    // Places, and how often a run comes to each.
    let times = |place: &str| match place {
        "manifest-written" | "manifest-renamed" => 1,
        "read" => 30,
        "score" | "length" => 4,
        "write" => 9,
        "count" => 0,
        _ => 5,
    };
    let all = failpoint::PLACES.iter().flat_map(|place| (1..=times(place)).map(move |time| format!("{place}:{time}")));
    let all: Vec<String> = all.filter(|place| !place.starts_with("read") || place.ends_with(['1', '5', '0'])).collect();
    let run_to =
        |out: &str, place: &str| program().args(run.call(out)).env("STEPFN_FAILPOINT", place).output().unwrap();
    let mut kills = 0;
    for (number, place) in all.iter().enumerate() {
        let out = at(&format!("killed-{number}"));
        let done = run_to(&out, place);
        assert_eq!(done.status.code(), None, "not killed at {place}: {done:?}");
        kills += 1;
        // Some are killed again.
        kills += usize::from(number % 3 == 0 && !run_to(&out, &all[(number * 7) % all.len()]).status.success());
        fine(&stepfn(run.call(&out)));
        assert_eq!(content(&out), expected, "{place}");
    }
    assert!(kills >= 50, "{kills}");
    // While it counts lines, too.
    let lines = Run { input: write(&folder, "a", Format::JsonLines, &rows(9)), format: "jsonl" };
    let done = program().args(lines.call(&at("lines"))).env("STEPFN_FAILPOINT", "count:1").output().unwrap();
    assert_eq!(done.status.code(), None);
    [at("lines"), at("lines-whole")].iter().for_each(|out| fine(&stepfn(lines.call(out))));
    assert_eq!(content(&at("lines")), content(&at("lines-whole")));
}

#[test]
fn a_run_that_is_killed_at_random_goes_on_to_the_same_bytes() {
    let folder = Scratch::new();
    let run = Run { input: write(&folder, "a", Format::Csv, &rows(40)), format: "jsonl" };
    let at = |name: &str| folder.0.join(name).display().to_string();
    let started = std::time::Instant::now();
    fine(&stepfn(run.call(&at("whole"))));
    let took = started.elapsed().as_micros() as u64;
    let expected = content(&at("whole"));
    let (mut seed, mut kills, mut rounds) = (0x9E37_79B9_7F4A_7C15_u64, 0, 0);
    let mut out = at("0");
    while kills < 20 && rounds < 200 {
        rounds += 1;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = program().args(run.call(&out)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros((seed >> 33) % took.max(1)));
        // SIGKILL.
        drop(child.kill());
        if child.wait().unwrap().success() {
            assert_eq!(content(&out), expected);
            out = at(&rounds.to_string());
            continue;
        }
        kills += 1;
        // What was not synced is lost when the power is.
        for entry in fs::read_dir(&out).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".part") {
                let length = entry.metadata().unwrap().len();
                fs::File::options().write(true).open(entry.path()).unwrap().set_len(length / 2).unwrap();
            }
        }
    }
    fine(&stepfn(run.call(&out)));
    assert_eq!((content(&out), kills), (expected, 20));
}

#[test]
fn parts_of_a_run_are_the_whole_and_damaged_shards_are_done_again() {
    let folder = Scratch::new();
    let run = Run { input: write(&folder, "a", Format::JsonLines, &rows(30)), format: "parquet" };
    let at = |name: &str| folder.0.join(name).display().to_string();
    let (whole, parts) = (at("whole"), at("parts"));
    fine(&stepfn(run.call(&whole)));
    // At once, as an array of jobs starts them.
    let jobs: Vec<_> = (0..3)
        .map(|job| {
            let part = ["--shard".to_owned(), format!("{job}/3")];
            program().args(run.call(&parts)).args(part).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for job in jobs {
        let done = job.wait_with_output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    assert_eq!(content(&parts), content(&whole));
    let shards: Vec<String> = (0..4).map(|n| format!("{whole}/score-{n:05}-of-00004.parquet")).collect();
    let all = parquet(&shards);
    assert_eq!(
        all.iter().map(|row| row["year"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1900..1930).collect::<Vec<_>>()
    );
    // The same numbers as a run without shards has: random ones belong to a text's number.
    let one = at("one.parquet");
    let call = run.call(&one);
    let shards_at = call.iter().position(|part| part == "--shards").unwrap();
    fine(&stepfn(call[..shards_at].iter().chain(&call[shards_at + 2..])));
    let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4;
    for (row, other) in all.iter().zip(parquet(&[one])) {
        let pairs =
            row["mc_dropout_prob_avg"].as_array().unwrap().iter().zip(other["mc_dropout_prob_avg"].as_array().unwrap());
        assert!(row["id"] == other["id"] && pairs.clone().all(|(a, b)| close(a, b)));
    }
    let damaged = Path::new(&parts).join("score-00002-of-00004.parquet");
    let bytes = fs::read(&damaged).unwrap();
    for half in [&bytes[..bytes.len() / 2], &[]] {
        fs::write(&damaged, half).unwrap();
        fine(&stepfn(run.call(&parts)));
        assert_eq!(content(&parts), content(&whole));
    }
    fs::remove_file(Path::new(&parts).join("_lengths.txt")).unwrap();
    fine(&stepfn(run.call(&parts)));
    assert_eq!(content(&parts), content(&whole));
}

#[test]
fn texts_that_fail_are_errors_in_their_shards() {
    let folder = Scratch::new();
    let input =
        folder.write("a.jsonl", "{\"source\": \"cat\"}\nno\n{\"source\": \"\"}\n{\"source\": \"dog\", \"id\": 7}\n");
    for format in ["jsonl", "parquet", "csv", "tsv"] {
        let out = folder.0.join(format).display().to_string();
        let done = stepfn(["score", "--input", &input, "--format", format, "--shard-rows", "3", "-o", &out]);
        assert!(done.code == 0 && done.err.contains("warning: 2 of 4 texts failed; their shards say why"), "{done:?}");
        let names: Vec<String> = (0..2).map(|shard| format!("{out}/score-{shard:05}-of-00002.{format}")).collect();
        let rows = match format {
            "parquet" => parquet(&names),
            "csv" | "tsv" => {
                let mut texts = parquet(&names);
                texts.dedup_by_key(|row| row["id"].clone());
                let ids = texts.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
                assert_eq!(ids, ["1", "2", "3", "7"]);
                let errors = texts.iter().map(|row| row["error"] != "").collect::<Vec<_>>();
                assert_eq!(errors, [false, true, true, false], "{format}");
                continue;
            }
            _ => names.iter().flat_map(|name| json_lines(&fs::read_to_string(name).unwrap())).collect(),
        };
        assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Value>(), json!([1, 2, 3, 7]));
        let failed: Vec<bool> = rows.iter().map(|row| row["error"].is_string()).collect();
        assert_eq!(failed, [false, true, true, false], "{format}");
    }
}

#[test]
fn standard_input_and_attributions_have_shards() {
    let folder = Scratch::new();
    let text: String = WORDS.iter().map(|word| format!("{{\"source\": \"{word}\"}}\n")).collect();
    let at = |name: &str| folder.0.join(name).display().to_string();
    let call =
        |out: &str| ["score", "--input", "-", "--format", "jsonl", "--shard-rows", "3", "-o", out].map(str::to_owned);
    let run = |out: &str| stepfn_reading(&text, &call(out).each_ref().map(String::as_str));
    fine(&run(&at("whole")));
    let names: Vec<String> = content(&at("whole")).into_keys().collect();
    assert_eq!(
        names,
        ["_lengths.txt", "_manifest.json", "score-00000.jsonl", "score-00001.jsonl", "score-00002.jsonl"]
    );
    fine(&run(&at("again")));
    fs::remove_file(folder.0.join("again/score-00001.jsonl")).unwrap();
    fine(&run(&at("again")));
    assert_eq!(content(&at("again")), content(&at("whole")));
    let input = folder.write("a.jsonl", &text);
    let attribute =
        |out: &str| stepfn(["attribute", "--input", &input, "--format", "jsonl", "--shards", "3", "-o", out]);
    ["one", "two"].iter().for_each(|out| fine(&attribute(&at(out))));
    assert_eq!(content(&at("one")), content(&at("two")));
    let attributed =
        json_lines(&String::from_utf8(content(&at("one"))["attribute-00001-of-00003.jsonl"].clone()).unwrap());
    assert_eq!(attributed.len(), 3);
    assert_eq!(attributed[0]["id"], 4);
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = Scratch::new();
    let run = Run { input: write(&folder, "a", Format::JsonLines, &rows(60)), format: "jsonl" };
    let [whole, full] = ["whole", "full"].map(|name| folder.0.join(name).display().to_string());
    fine(&stepfn(run.call(&whole)));
    let largest = content(&whole).values().map(Vec::len).max().unwrap();
    // A limit on the size of files stands for a disk that is full.
    let blocks = (largest / 2 / 1024).max(5);
    let limited = std::process::Command::new("bash")
        .arg("-c")
        .arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_stepfn"))
        .args(run.call(&full))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert!(limited.status.code() == Some(1) && said.contains("make room and start again"), "{said}");
    assert!(!content(&full).keys().any(|name| name.ends_with(".part")), "room is given back");
    fine(&stepfn(run.call(&full)));
    assert_eq!(content(&full), content(&whole));
}
