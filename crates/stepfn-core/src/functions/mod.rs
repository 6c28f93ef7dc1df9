//! The step functions, one module each: formula, unit, range, when to use it, and source.

pub mod contrast_logits;
pub mod contrast_logits_diff;
pub mod contrast_prob;
pub mod contrast_prob_diff;
pub mod crossentropy;
pub mod entropy;
pub mod in_context_pvi;
pub mod js_divergence;
pub mod kl_divergence;
pub mod logit;
pub mod margin;
pub mod mc_dropout_entropy;
pub mod mc_dropout_mutual_information;
pub mod mc_dropout_prob_avg;
pub mod mc_dropout_variance;
pub mod pcxmi;
pub mod perplexity;
pub mod probability;
pub mod rank;
pub mod renyi_entropy;
pub mod surprisal;
pub mod top_p_size;
pub mod typicality;

pub use contrast_logits::*;
pub use contrast_logits_diff::*;
pub use contrast_prob::*;
pub use contrast_prob_diff::*;
pub use crossentropy::*;
pub use entropy::*;
pub use in_context_pvi::*;
pub use js_divergence::*;
pub use kl_divergence::*;
pub use logit::*;
pub use margin::*;
pub use mc_dropout_entropy::*;
pub use mc_dropout_mutual_information::*;
pub use mc_dropout_prob_avg::*;
pub use mc_dropout_variance::*;
pub use pcxmi::*;
pub use perplexity::*;
pub use probability::*;
pub use rank::*;
pub use renyi_entropy::*;
pub use surprisal::*;
pub use top_p_size::*;
pub use typicality::*;

use serde_json::{Map, Value};

use crate::catalog::{Count, Named};
use crate::{Join, StepScore};

/// Passes the types of all step functions of this crate to a macro.
macro_rules! for_each_builtin {
    ($macro:ident) => {
        $macro!(
            $crate::functions::ContrastLogits,
            $crate::functions::ContrastLogitsDiff,
            $crate::functions::ContrastProb,
            $crate::functions::ContrastProbDiff,
            $crate::functions::Crossentropy,
            $crate::functions::Entropy,
            $crate::functions::InContextPvi,
            $crate::functions::JsDivergence,
            $crate::functions::KlDivergence,
            $crate::functions::Logit,
            $crate::functions::Margin,
            $crate::functions::McDropoutEntropy,
            $crate::functions::McDropoutMutualInformation,
            $crate::functions::McDropoutProbAvg,
            $crate::functions::McDropoutVariance,
            $crate::functions::Pcxmi,
            $crate::functions::Perplexity,
            $crate::functions::Probability,
            $crate::functions::Rank,
            $crate::functions::RenyiEntropy,
            $crate::functions::Surprisal,
            $crate::functions::TopPSize,
            $crate::functions::Typicality,
        )
    };
}
pub(crate) use for_each_builtin;

/// The greatest number of noisy passes. The logits of all passes of a step are in memory together.
const MOST_NOISY_PASSES: usize = 10_000;
/// The greatest number of tokens that a parameter may count: the greatest vocabulary that a model may have.
const MOST_TOKENS: usize = 1 << 24;

/// The number of noisy passes that a spread is estimated from.
const SPREAD_PASSES: Count = Count::new("n_mcd_steps", 2, MOST_NOISY_PASSES);

/// How the scores of a function of this crate are joined, from its name and the parameters that it was made with; `None` for a name that is not
/// one of this crate's.
pub fn join(name: &str, parameters: &Map<String, Value>) -> Option<Join> {
    macro_rules! find {
        ($($function:ty),* $(,)?) => {
            $(
                if name == <$function>::NAME {
                    let function = serde_json::from_value::<$function>(Value::Object(parameters.clone()));
                    return Some(function.unwrap_or_default().join());
                }
            )*
        };
    }
    for_each_builtin!(find);
    None
}
