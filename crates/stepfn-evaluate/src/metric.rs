//! The metrics by name, and all of them on one game.

use stepfn_attribution::AttributionError;
use stepfn_attribution::contexts::log_odds;

use crate::Values;
use crate::curves::{Curves, Points, SHARES};
use crate::linear::{infidelity, linear_score, random_sets};
use crate::order::{Ranking, ordered};

/// A metric of faithfulness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// [`Curves::comprehensiveness`].
    Comprehensiveness,
    /// [`Curves::sufficiency`].
    Sufficiency,
    /// The area under what is lost, the most important features hidden first (Samek et al. 2017, arXiv:1509.06321).
    Morf,
    /// The same, the least important first.
    Lerf,
    /// The area under the probability, the most important features hidden first (Petsiuk et al. 2018, arXiv:1806.07421).
    Deletion,
    /// The area under the probability, the most important features shown first.
    Insertion,
    /// How the log-odds `ln p − ln(1 − p)` change without the top 20 % of the features (Shrikumar et al. 2017, arXiv:1704.02685).
    LogOdds,
    /// [`infidelity`].
    Infidelity,
    /// [`linear_score`].
    Lds,
    /// [`max_sensitivity`](crate::max_sensitivity).
    MaxSensitivity,
    /// π-Soft-NC, the first of [`soft`](crate::soft).
    SoftNc,
    /// π-Soft-NS, the second of [`soft`](crate::soft).
    SoftNs,
    /// [`Plausibility::auprc`](crate::Plausibility::auprc).
    Auprc,
    /// [`Plausibility::token_f1`](crate::Plausibility::token_f1).
    TokenF1,
    /// [`Plausibility::iou`](crate::Plausibility::iou).
    Iou,
    /// [`Plausibility::reciprocal_rank`](crate::Plausibility::reciprocal_rank), whose mean is the mean reciprocal rank.
    Mrr,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Comprehensiveness,
        Self::Sufficiency,
        Self::Morf,
        Self::Lerf,
        Self::Deletion,
        Self::Insertion,
        Self::LogOdds,
        Self::Infidelity,
        Self::Lds,
        Self::MaxSensitivity,
        Self::SoftNc,
        Self::SoftNs,
        Self::Auprc,
        Self::TokenF1,
        Self::Iou,
        Self::Mrr,
    ];

    /// Those that are computed unless others are asked for: all that are read off the two curves.
    pub const DEFAULT: [Self; 4] = [Self::Comprehensiveness, Self::Sufficiency, Self::Morf, Self::Lerf];

    /// The name, in `snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comprehensiveness => "comprehensiveness",
            Self::Sufficiency => "sufficiency",
            Self::Morf => "morf",
            Self::Lerf => "lerf",
            Self::Deletion => "deletion",
            Self::Insertion => "insertion",
            Self::LogOdds => "log_odds",
            Self::Infidelity => "infidelity",
            Self::Lds => "lds",
            Self::MaxSensitivity => "max_sensitivity",
            Self::SoftNc => "soft_nc",
            Self::SoftNs => "soft_ns",
            Self::Auprc => "auprc",
            Self::TokenF1 => "token_f1",
            Self::Iou => "iou",
            Self::Mrr => "mrr",
        }
    }

    /// What it says, in a few words.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Comprehensiveness => "what is lost without the top 1, 5, 10, 20 and 50 % of the tokens, in the mean",
            Self::Sufficiency => "what is lost with nothing but the top 1, 5, 10, 20 and 50 %, in the mean",
            Self::Morf => "the area under what is lost, the most important tokens hidden first",
            Self::Lerf => "the area under what is lost, the least important tokens hidden first",
            Self::Deletion => "the area under the probability, the most important tokens hidden first",
            Self::Insertion => "the area under the probability, the most important tokens shown first",
            Self::LogOdds => "how the log-odds change without the top 20 % of the tokens",
            Self::Infidelity => "the squared error of the scores of random sets as what is lost without them",
            Self::Lds => "the rank correlation of the scores of random sets and of what is lost without them",
            Self::MaxSensitivity => "how far scores move with a little noise on the embeddings, of their size",
            Self::SoftNc => "how far the prediction moves without tokens drawn by their scores, of how far it can",
            Self::SoftNs => "how near the prediction stays with nothing but tokens drawn by their scores",
            Self::Auprc => "the area under precision over recall of the tokens that people marked",
            Self::TokenF1 => "F1 of the top tokens, as many as people marked, and the marked ones",
            Self::Iou => "intersection over union of the same",
            Self::Mrr => "one over the rank of the first token that people marked",
        }
    }

    /// The metric of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether faithful scores make it great. If not, they make it small.
    pub fn more_is_better(self) -> bool {
        use Metric::{Comprehensiveness, Insertion, Lds, Morf, SoftNc, SoftNs};
        matches!(self, Comprehensiveness | Morf | Insertion | Lds | SoftNc | SoftNs) || self.is_of_marks()
    }

    /// Whether it needs `f` to be a log-probability.
    pub fn is_of_log_prob(self) -> bool {
        matches!(self, Self::Deletion | Self::Insertion | Self::LogOdds)
    }

    /// Whether it hides embeddings at random, instead of tokens by an operator.
    pub fn is_soft(self) -> bool {
        matches!(self, Self::SoftNc | Self::SoftNs)
    }

    /// Whether it reads the scores of the same text with noise, and hides nothing.
    pub fn is_of_noise(self) -> bool {
        self == Self::MaxSensitivity
    }

    /// Whether it compares scores with what people marked, and hides nothing.
    pub fn is_of_marks(self) -> bool {
        matches!(self, Self::Auprc | Self::TokenF1 | Self::Iou | Self::Mrr)
    }

    /// Whether it needs values without tokens.
    pub(crate) fn is_of_values(self) -> bool {
        !self.is_soft() && !self.is_of_noise() && !self.is_of_marks()
    }

    /// What of the two curves these metrics need.
    fn points(metrics: &[Self]) -> Points {
        let has = |any: &[Self]| metrics.iter().any(|metric| any.contains(metric));
        Points {
            top: has(&[Self::Comprehensiveness, Self::LogOdds]),
            rest: has(&[Self::Sufficiency]),
            most: has(&[Self::Morf, Self::Deletion]),
            least: has(&[Self::Lerf, Self::Insertion]),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The metrics. Those that [are soft](Metric::is_soft), [of noise](Metric::is_of_noise) or [of marks](Metric::is_of_marks) are not measured here and
    /// are NaN.
    pub metrics: Vec<Metric>,
    /// How scores order features.
    pub ranking: Ranking,
    /// If `f` is the log-probability of tokens: of how many.
    pub log_prob_of: Option<usize>,
    /// Random sets for infidelity and LDS.
    pub sets: usize,
    /// Seed and stream of these sets: the same for all methods.
    pub seed: [u64; 2],
}

/// The metrics of one step, or one span of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// One figure for each metric, in order; NaN where there is none.
    pub figures: Vec<f64>,
    /// What is lost at each of [`SHARES`] with the most important features hidden first; NaN where it was not computed.
    pub most: Vec<f64>,
    /// The same with the least important features hidden first.
    pub least: Vec<f64>,
}

/// Measures scores on a game. Which sets are asked for depends on the scores and not on the values.
///
/// # Errors
/// Those of the game.
pub fn measure(scores: &[f64], settings: &Settings, values: &mut Values<'_>) -> Result<Measured, AttributionError> {
    let metrics = &settings.metrics;
    let order = ordered(scores, settings.ranking);
    let curves = Curves::at(&order, Metric::points(metrics), values)?;
    let (mut sets, mut lost) = (Vec::new(), Vec::new());
    if metrics.iter().any(|metric| matches!(metric, Metric::Infidelity | Metric::Lds)) {
        sets = random_sets(scores.len(), settings.sets, settings.seed[0], settings.seed[1]);
        lost = values(&sets)?.into_iter().map(|value| curves.whole() - value).collect();
    }
    let of_log_prob = |of: &dyn Fn(usize) -> f64| settings.log_prob_of.map_or(f64::NAN, of);
    let figure = |metric: &Metric| match metric {
        Metric::Comprehensiveness => curves.comprehensiveness(),
        Metric::Sufficiency => curves.sufficiency(),
        Metric::Morf => curves.area_without_most(|value| curves.whole() - value),
        Metric::Lerf => curves.area_without_least(|value| curves.whole() - value),
        Metric::Deletion => of_log_prob(&|_| curves.area_without_most(f64::exp)),
        // Showing the most important first is hiding the least important last: the same curve from its other end.
        Metric::Insertion => of_log_prob(&|_| curves.area_without_least(f64::exp)),
        Metric::LogOdds => of_log_prob(&|tokens| {
            let whole = curves.whole();
            log_odds(whole - curves.lost_without_most(0.2), tokens) - log_odds(whole, tokens)
        }),
        Metric::Infidelity => infidelity(scores, &sets, &lost),
        Metric::Lds => linear_score(scores, &sets, &lost),
        Metric::MaxSensitivity
        | Metric::SoftNc
        | Metric::SoftNs
        | Metric::Auprc
        | Metric::TokenF1
        | Metric::Iou
        | Metric::Mrr => f64::NAN,
    };
    Ok(Measured {
        figures: metrics.iter().map(figure).collect(),
        most: SHARES.iter().map(|&share| curves.lost_without_most(share)).collect(),
        least: SHARES.iter().map(|&share| curves.lost_without_least(share)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_name() {
        for metric in Metric::ALL {
            assert_eq!(Metric::named(metric.name()), Some(metric));
        }
        assert_eq!(Metric::named("faithfulness"), None);
    }
}
