//! The book's pages on step functions are generated from doc comments; this test checks that they are up to date.
//!
//! `STEPFN_UPDATE_DOCS=1 cargo test -p stepfn-tests --test docs` regenerates them.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use stepfn_attribution::Methods;
use stepfn_core::{Description, Registry};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The `//!` comment at the start of a source file.
fn head_comment(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The value in a row of the comment's table.
fn table_row<'a>(comment: &'a str, left: &str) -> &'a str {
    let row = comment.lines().find_map(|line| line.strip_prefix(&format!("| {left} | ")));
    row.unwrap_or_else(|| panic!("no row `{left}` in:\n{comment}")).trim_end_matches(" |")
}

fn page(about: &Description) -> String {
    let path = workspace().join(format!("crates/stepfn-core/src/functions/{}.rs", about.name));
    let comment = head_comment(&fs::read_to_string(path).unwrap());
    let (title, rest) = comment.split_once('\n').unwrap();
    let title = title.strip_prefix(&format!("`{}`: ", about.name)).unwrap_or_else(|| panic!("title: {title}"));
    for row in ["value", "unit", "range", "passes", "gradient"] {
        assert!(!table_row(&comment, row).is_empty());
    }
    assert!(table_row(&comment, "unit").starts_with(&about.unit), "{}: unit {}", about.name, about.unit);
    for part in ["**When to use it.**", "**Source.**"] {
        assert!(comment.contains(part), "{}: no {part}", about.name);
    }
    let mut page = format!("# {}\n\n{}\n{rest}\n", about.name, capitalized(title));
    if !about.parameters.is_empty() {
        page.push_str("\n## Parameters\n\n| name | default |\n|---|---|\n");
        for (name, default) in &about.parameters {
            writeln!(page, "| `{name}` | `{default}` |").unwrap();
        }
    }
    page
}

fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn index(functions: &[Description]) -> String {
    let mut page = String::from("# Step functions\n\n| name | value | unit |\n|---|---|---|\n");
    for Description { name, summary, unit, .. } in functions {
        let summary = summary.replace('|', "\\|");
        writeln!(page, "| [`{name}`]({name}.md) | {summary} | {unit} |").unwrap();
    }
    page
}

#[test]
fn the_book_matches_the_doc_comments() {
    let registry = Registry::<stepfn_cpu::Backend>::default();
    let functions: Vec<Description> = registry.iter().cloned().collect();
    let mut pages: Vec<(String, String)> =
        functions.iter().map(|about| (format!("{}.md", about.name), page(about))).collect();
    pages.push(("index.md".to_owned(), index(&functions)));

    let folder = workspace().join("docs/src/step-functions");
    if std::env::var_os("STEPFN_UPDATE_DOCS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let summary = fs::read_to_string(workspace().join("docs/src/SUMMARY.md")).unwrap();
    for (name, page) in &pages {
        let written = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            written == *page,
            "{name} is out of date; run `STEPFN_UPDATE_DOCS=1 cargo test -p stepfn-tests --test docs`"
        );
        assert!(summary.contains(&format!("(step-functions/{name})")), "SUMMARY.md lacks {name}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), pages.len(), "a page has no function");
}

#[test]
fn the_book_has_every_method() {
    let page = fs::read_to_string(workspace().join("docs/src/attribution.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let options = fs::read_to_string(workspace().join("docs/src/cli.md")).unwrap();
    let hiding = options.lines().find(|line| line.starts_with("**Words and spans.**")).unwrap();
    let methods = Methods::<stepfn_cpu::Backend>::default();
    for Description { name, .. } in methods.iter() {
        let method = format!("`{name}`");
        assert!(
            rows.iter().any(|row| row.contains(&method)),
            "docs/src/attribution.md: no row of a table has {method}"
        );
        let hides = methods.make(name, &Default::default()).unwrap().hides_tokens();
        assert_eq!(hiding.contains(&method), hides, "docs/src/cli.md, words and spans: {method}");
    }
}

#[test]
fn the_book_has_every_family() {
    let page = fs::read_to_string(workspace().join("docs/src/models.md")).unwrap();
    for family in stepfn_models::families::all() {
        assert!(page.contains(&format!("`{}`", family.name)), "docs/src/models.md says nothing of `{}`", family.name);
    }
}

/// `cargo test` builds benchmarks, but doesn't run them.
#[test]
fn every_step_function_is_measured() {
    let [ours, theirs] = ["benches/benches/step_functions.rs", "benches/peers/step_functions.py"]
        .map(|file| fs::read_to_string(workspace().join(file)).unwrap());
    for Description { name, .. } in Registry::<stepfn_cpu::Backend>::default().iter() {
        assert!(ours.contains(&format!("\"{name}\" ")), "benches/benches/step_functions.rs has no arm for {name}");
        let has_peer = theirs.contains(&format!("def {name}(b)")) && theirs.contains(&format!("        {name},\n"));
        assert!(has_peer, "benches/peers/step_functions.py has no {name}, or not in FUNCTIONS");
    }
}

#[test]
fn readmes_give_the_numbers_of_step_functions_and_methods() {
    let functions = Registry::<stepfn_cpu::Backend>::default().iter().count();
    let methods = Methods::<stepfn_cpu::Backend>::default().iter().count();
    let said = [
        ("README.md", format!("[{functions} of them](docs/src/step-functions/index.md)")),
        ("crates/stepfn-core/README.md", format!("{functions} functions")),
        ("crates/stepfn/README.md", format!("{functions} step functions and {methods} attribution")),
    ];
    for (file, words) in said {
        let text = fs::read_to_string(workspace().join(file)).unwrap();
        assert!(text.contains(&words), "{file} should say `{words}`");
    }
}
