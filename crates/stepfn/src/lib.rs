//! Step functions and feature attribution for generative language models.
//!
//! A language model writes token by token. A **step function** turns what it predicted at one step into a number: how likely was this token,
//! how unsure was the model. An **attribution** says which input tokens that number came from. This crate does both from strings:
//!
//! ```
//! use stepfn::functions::{ContrastProbDiff, Surprisal};
//! use stepfn::{IntegratedGradients, LanguageModel};
//!
//! // A small model that is compiled in: it continues verses. `load` also takes a folder, a hub's name or a GGUF file.
//! let model = LanguageModel::load("verse")?;
//!
//! // Which words make it "heaven" rather than "waters"?
//! let answer = model
//!     .ask("In the beginning God created the heaven")
//!     .contrast("In the beginning God created the waters")
//!     .from(9)
//!     .function(ContrastProbDiff::default())
//!     .attribute(IntegratedGradients::default())?;
//! println!("{answer}"); // a heat map
//! let page = answer.aggregate("subwords")?.html();
//! assert!(page.contains("heaven"));
//!
//! // How surprising is each token, in bits?
//! let scores = model.ask("And the earth was without form, and void.").score([Surprisal::default()])?;
//! assert!(scores.values("surprisal").is_some_and(|bits| bits.iter().all(|bits| *bits > 0.0)));
//! # Ok::<(), stepfn::Error>(())
//! ```
//!
//! | you have | you call |
//! |---|---|
//! | one text | [`LanguageModel::ask`], then [`score`](Ask::score), [`attribute`](Ask::attribute) or [`generate`](Ask::generate) |
//! | a chat | [`LanguageModel::chat`], with [`Message`]s |
//! | pairs of texts | [`LanguageModel::compare_all`]: which one is preferred; [`LanguageModel::similarity_all`]: how alike they are |
//! | many texts | [`LanguageModel::score_all`], [`attribute_all`](LanguageModel::attribute_all), [`generate_all`](LanguageModel::generate_all): iterators in, iterators out |
//! | methods to compare | [`LanguageModel::evaluate`] says how faithful each is |
//! | names and JSON | [`LanguageModel::method`] and [`LanguageModel::function`] make methods and functions that are used like the types |
//! | a function or method of your own | [`extend`] has the traits; register it in [`LanguageModel::registry_mut`] to find it by name |
//! | a text and its context | [`LanguageModel::attribute_context`]: which tokens depend on it, and on what in it |
//! | a file of attributions | [`read`] |
//!
//! Models run on the CPU unless [`LanguageModel::load_on`] names another backend of [`backend`].

pub mod backend;
pub mod destination;
pub mod writers;

mod align;
mod answer;
mod ask;
mod attribute;
mod attribute_context;
mod bow;
mod chat;
mod compare;
mod context;
mod error;
mod evaluate;
mod files;
mod generate;
mod input;
mod languages;
mod long_texts;
mod model;
mod once;
mod overlap;
mod record;
mod registry;
mod room;
mod score;
mod score_task;
mod similarity;
mod step_functions;
mod texts;
mod uncertainty;
mod unit;
mod units;
mod warnings;

pub use answer::{Answer, pipeline, read};
pub use ask::Ask;
pub use attribute::{AttributeTask, DOCUMENT_MARK};
pub use attribute_context::{AttributeContextTask, OutputContext, RelianceAnswer};
pub use bow::BowCorrection;
pub use compare::{Accuracy, CompareTask, Compared, Comparison, Criterion, Formula, Variant, comparison};
pub use context::{ContextTask, Split, context_method};
pub use error::{Error, ErrorKind, Result};
pub use evaluate::{EvaluateTask, Evaluated, EvaluatedText};
pub use files::{Download, is_there, model_files, model_folder};
pub use generate::{GenerateTask, Written};
pub use input::{Input, IntoInput, Mark};
pub use long_texts::LongTexts;
pub use model::{LanguageModel, LoadOptions, families, models};
pub use once::Once;
pub use record::{RECORD_FIELDS, RecordFields, RecordText, record};
pub use registry::Registry;
pub use score::ScoredText;
pub use score_task::ScoreTask;
pub use similarity::{SimilarText, Similarity, SimilarityDirection, SimilarityMeasure, SimilarityTask};
pub use step_functions::StepFunctions;
pub use texts::{Outcome, Outcomes, RunOptions};
pub use unit::{TargetUnit, Unit};
pub use units::{Place, Region, ScoreUnit, ScoredUnit, WordSplit};

pub use serde_json::{Map, Value, json};
pub use stepfn_attribution::aggregation::{Pipeline, Stage};
pub use stepfn_attribution::contexts::{ContextMethod, Operator};
pub use stepfn_attribution::methods::*;
pub use stepfn_attribution::reliance::{ContextReliance, Cues, RelianceInfo, Selection};
pub use stepfn_attribution::{
    Alternative, AttributedFn, Attribution, Axis, Baseline, MOST_ALTERNATIVES, Masking, Positions, Progress,
    Provenance, Scores,
};
pub use stepfn_core::catalog::nearest;
pub use stepfn_core::functions;
pub use stepfn_core::{Alignment, Description};
pub use stepfn_evaluate::{Evaluation, Interval, Metric, Ranking, Row, Task as Measures, TextRow};
pub use stepfn_models::chat::{Content, Json, Message, MessageSpan};
pub use stepfn_models::checkpoint::MemoryTensor;
pub use stepfn_models::tokenizer::Token;
pub use stepfn_models::{Model, interruptible};

pub mod extend {
    //! What you need to write a step function or an attribution method.
    //!
    //! `examples/step_function.rs` and `examples/method.rs` of this crate show one each.

    pub use burn;
    pub use serde;
    pub use stepfn_attribution::methods::gradient;
    pub use stepfn_attribution::{
        AttributionError, AttributionMethod, Completeness, InputScores, Passes, Perturbation, Perturbed, PullBack,
        Question, ScoreTable, Side, StepRows, Steps, Variants,
    };
    pub use stepfn_core::catalog::parameters;
    pub use stepfn_core::{Join, Named, Need, Needs, ParameterError, StepBatch, StepError, StepFunction, StepScore};
    pub use stepfn_models::transformer::Rule;
}

/// Compiles and runs the programs in the READMEs and the book as doc tests.
#[cfg(all(doctest, feature = "cpu", feature = "zoo"))]
mod documents {
    macro_rules! documents {
        ($($name:ident = $path:literal),* $(,)?) => { $(#[doc = include_str!($path)] struct $name;)* };
    }
    documents!(
        Readme = "../../../README.md",
        CrateReadme = "../README.md",
        Introduction = "../../../docs/src/introduction.md",
        Attribution = "../../../docs/src/attribution.md",
        Reliance = "../../../docs/src/reliance.md",
        Contexts = "../../../docs/src/contexts.md",
        Evaluation = "../../../docs/src/evaluation.md",
        Backends = "../../../docs/src/backends.md",
        Cli = "../../../docs/src/cli.md",
        Dropout = "../../../docs/src/dropout.md",
        Models = "../../../docs/src/models.md",
        Output = "../../../docs/src/output.md",
        Scoring = "../../../docs/src/scoring.md",
        Words = "../../../docs/src/words.md",
        Similarity = "../../../docs/src/similarity.md",
        RecipeStepFunction = "../../../docs/src/recipes/step-function.md",
        RecipeMethod = "../../../docs/src/recipes/method.md",
        RecipeCommand = "../../../docs/src/recipes/command.md",
        RecipeFormat = "../../../docs/src/recipes/format.md",
        RecipeBackend = "../../../docs/src/recipes/backend.md",
    );
}
