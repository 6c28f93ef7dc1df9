//! The command that `docs/src/recipes/command.md` adds, so that what it shows compiles and works.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use clap::{Args, Parser};
use stepfn::backend::{Devices, OnBackend};
use stepfn::writers::{Record, WriterOptions, aligned, csv_lines, records};
use stepfn::{Map, Outcome, json};

use super::loading::{dispatch, load};
use crate::args::{GenerationArgs, ModelArgs, OutputArgs};
use crate::failure::Failure;
use crate::input::Watch;
use crate::output::{self, Results};
use crate::progress::{Extent, Teller};

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    /// Texts to split
    #[arg(required = true)]
    pub(crate) text: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The tokens of one text: id and surface.
struct Tokens(Vec<(u32, String)>);

impl Tokens {
    fn rows(&self) -> Vec<Vec<String>> {
        self.0.iter().map(|(id, surface)| vec![id.to_string(), surface.clone()]).collect()
    }
}

impl Record for Tokens {
    fn json(&self) -> serde_json::Result<String> {
        let tokens: Vec<_> = self.0.iter().map(|(id, surface)| json!({ "id": id, "token": surface })).collect();
        serde_json::to_string(&tokens)
    }

    fn table(&self) -> String {
        aligned(&["id", "token"].map(str::to_owned), &self.rows())
    }

    fn csv(&self, _fields: &[String], with_header: bool) -> String {
        let header = with_header.then(|| ["id", "token"].map(str::to_owned).to_vec());
        csv_lines(header.into_iter().chain(self.rows()))
    }
}

pub(super) fn run(args: &TokensArgs) -> Result<(), Failure> {
    dispatch(&args.model, Tokenize(args))
}

struct Tokenize<'a>(&'a TokensArgs);

impl OnBackend for Tokenize<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let Self(args) = self;
        let single = args.text.len() == 1;
        let writer = records(&args.output.format, &WriterOptions { single, ..WriterOptions::default() })?;
        let mut places = output::places(&[], &args.model);
        let destination = output::open(&args.output.to, writer.way(), &mut places)?;
        let model = load::<D>(&args.model, &GenerationArgs::default(), args.output.to.quiet)?;
        let teller = Teller::new(&args.output.to, Extent::Texts(args.text.len()));
        let watch = Watch::default();
        let results =
            Results { destination, writer: Box::new(writer), extras: Vec::new(), places, teller, single, watch };
        results.write_all(args.text.iter().enumerate().map(|(number, text)| {
            let tokens = model.tokenizer().encode(text, true).map_err(stepfn::Error::from);
            let result = tokens.map(|all| Tokens(all.into_iter().map(|token| (token.id, token.surface)).collect()));
            Outcome { id: (number + 1).into(), number, fields: Map::new(), result }
        }))
    }
}

#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    tokens: TokensArgs,
}

#[test]
fn the_command_of_the_recipe_splits_texts() {
    let file = std::env::temp_dir().join(format!("stepfn-recipe-{}", std::process::id()));
    let path = file.display().to_string();
    let args = ["tokens", "a", "be", "--model", "verse", "--format", "json", "-o", &path];
    run(&Alone::parse_from(args).tokens).unwrap();
    let written: stepfn::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    std::fs::remove_file(file).unwrap();
    let surface = |text: usize| -> String {
        written[text].as_array().unwrap().iter().map(|token| token["token"].as_str().unwrap()).collect()
    };
    assert!(surface(0).contains('a') && surface(1).contains("be"), "{written}");
}

/// Every line of the recipe's Rust code is in this file, apart from those that connect it.
#[test]
fn the_recipe_shows_this_command() {
    let ours: Vec<&str> = include_str!("recipe.rs").lines().map(str::trim).collect();
    let recipe = include_str!("../../../../docs/src/recipes/command.md");
    let blocks = recipe.split("```").filter(|block| block.starts_with("text\n") || block.starts_with("rust\n"));
    let mut compared = 0;
    for (start, end) in
        [("#[derive(Debug, Args)]", "\0"), ("/// The tokens of", "fn main"), ("pub(super) fn run", "\0")]
    {
        let shown = blocks.clone().find_map(|block| Some(&block[block.find(start)?..])).unwrap();
        for line in shown.split(end).next().unwrap().lines().map(str::trim) {
            assert!(ours.contains(&line), "`{line}` is not in recipe.rs");
            compared += 1;
        }
    }
    assert!(compared > 50, "only {compared} lines were compared");
}
