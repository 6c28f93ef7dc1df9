//! How sources are scored: games over subsets of them.

use core::ops::Range;

use serde_json::{Map, Value, json};
use stepfn_core::catalog::nearest;
use stepfn_core::{CatalogError, ParameterError};
use stepfn_models::random::SplitMix64;

use super::lasso::lasso;
use super::{ContextText, Values};
use crate::AttributionError;
use crate::methods::kernel_shap;

/// How sources are scored. `f(S)` is the log-probability of a statement, in nats, with the sources in `S`.
#[derive(Debug, Clone, PartialEq)]
pub enum ContextMethod {
    /// `f(all) − f(all but one)` of each source.
    LeaveOneOut,
    /// ContextCite (Cohen-Wang et al. 2024, arXiv:2409.00729): a sparse linear model of the statement's log-odds, `ln p − ln(1 − p)`, by its number of
    /// tokens, over random subsets that keep half of the sources.
    ContextCite {
        /// Random subsets.
        n_ablations: usize,
        /// The penalty of the Lasso.
        alpha: f64,
    },
    /// Leave-one-out of groups of sources, then of the sources in the groups without which the answer loses most (AttriBoT, Liu et al. 2025,
    /// arXiv:2411.15102). Other sources are not computed.
    Hierarchical {
        /// How many groups are looked into.
        expand: usize,
    },
    /// Input × gradient of a statement's log-probability, summed over each source: one backward pass for all.
    Gradient {
        /// Then leave-one-out of so many sources of the greatest sizes; others are not computed. `None`: the gradient alone.
        prefilter: Option<usize>,
    },
    /// Shapley values by weighted least squares over subsets (Lundberg & Lee 2017, arXiv:1705.07874).
    KernelShap {
        /// Subsets, besides all and none. With `2ⁿ − 2` of `n` sources or more, values are exact.
        n_samples: usize,
    },
}

impl ContextMethod {
    /// All of them, as they are by default.
    pub const ALL: [Self; 5] = [
        Self::ContextCite { n_ablations: 64, alpha: 0.01 },
        Self::LeaveOneOut,
        Self::Hierarchical { expand: 2 },
        Self::Gradient { prefilter: None },
        Self::KernelShap { n_samples: 256 },
    ];

    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LeaveOneOut => "leave_one_out",
            Self::ContextCite { .. } => "context_cite",
            Self::Hierarchical { .. } => "hierarchical",
            Self::Gradient { .. } => "gradient",
            Self::KernelShap { .. } => "kernel_shap",
        }
    }

    /// A method by its name, with these parameters in place of the defaults.
    ///
    /// # Errors
    /// [`CatalogError`] for a name that doesn't exist, a parameter that the method doesn't have, or a value of another type. Ranges are not checked.
    pub fn named(name: &str, parameters: &Map<String, Value>) -> Result<Self, CatalogError> {
        let unknown = || {
            let available: Vec<String> = Self::ALL.iter().map(|method| method.name().to_owned()).collect();
            let nearest = nearest(name, available.iter().map(String::as_str)).map(str::to_owned);
            CatalogError::UnknownName { kind: "method", name: name.to_owned(), nearest, available }
        };
        let mut method = Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(unknown)?;
        let (known_as, known) = (method.name(), method.parameters());
        for (parameter, value) in parameters {
            let wrong = |expected: &str| ParameterError::new(name, parameter, expected, value);
            let count = || value.as_u64().map(|count| count as usize).ok_or_else(|| wrong("a whole number from 0 on"));
            match (&mut method, parameter.as_str()) {
                (Self::ContextCite { n_ablations, .. }, "n_ablations") => *n_ablations = count()?,
                (Self::ContextCite { alpha, .. }, "alpha") => {
                    *alpha = value.as_f64().ok_or_else(|| wrong("a number"))?
                }
                (Self::Hierarchical { expand }, "expand") => *expand = count()?,
                (Self::Gradient { prefilter }, "prefilter") if value.is_null() => *prefilter = None,
                (Self::Gradient { prefilter }, "prefilter") => *prefilter = Some(count()?),
                (Self::KernelShap { n_samples }, "n_samples") => *n_samples = count()?,
                _ => {
                    let available: Vec<String> = known.keys().cloned().collect();
                    let nearest = nearest(parameter, available.iter().map(String::as_str)).map(str::to_owned);
                    let (owner, parameter) = (known_as, parameter.clone());
                    return Err(CatalogError::UnknownParameter { owner, parameter, nearest, available });
                }
            }
        }
        Ok(method)
    }

    /// The parameters, by name.
    pub fn parameters(&self) -> Map<String, Value> {
        let parameters = match self {
            Self::LeaveOneOut => json!({}),
            Self::ContextCite { n_ablations, alpha } => json!({ "n_ablations": n_ablations, "alpha": alpha }),
            Self::Hierarchical { expand } => json!({ "expand": expand }),
            Self::Gradient { prefilter } => json!({ "prefilter": prefilter }),
            Self::KernelShap { n_samples } => json!({ "n_samples": n_samples }),
        };
        parameters.as_object().cloned().unwrap_or_default()
    }

    pub(super) fn needs_gradient(&self) -> bool {
        matches!(self, Self::Gradient { .. })
    }

    /// For each source, a score for each statement.
    pub(super) fn scores(
        &self,
        text: &ContextText,
        gradient: Option<Vec<Vec<f64>>>,
        seed: u64,
        values: &mut Values<'_>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let n = text.sources.len();
        let tokens: Vec<usize> = text.statements.iter().map(Range::len).collect();
        match self {
            Self::LeaveOneOut => leave_out(n, &singles(n), values),
            Self::ContextCite { n_ablations, alpha } => context_cite(n, *n_ablations, *alpha, &tokens, seed, values),
            Self::Hierarchical { expand } => hierarchical(n, &text.groups, *expand, values),
            Self::Gradient { prefilter: None } => Ok(gradient.unwrap_or_default()),
            Self::Gradient { prefilter: Some(most) } => {
                let best =
                    by_size(&totals(&gradient.unwrap_or_default()).iter().map(|total| total.abs()).collect::<Vec<_>>());
                some_left_out(n, &best[..n.min(*most)], tokens.len(), values)
            }
            Self::KernelShap { n_samples } => shapley(n, *n_samples, tokens.len(), seed, values),
        }
    }
}

/// Each source by itself.
fn singles(n: usize) -> Vec<Range<usize>> {
    (0..n).map(|source| source..source + 1).collect()
}

/// What statements lose without each of some sets of sources.
fn leave_out(n: usize, sets: &[Range<usize>], values: &mut Values<'_>) -> Result<Vec<Vec<f64>>, AttributionError> {
    let without = |set: &Range<usize>| (0..n).map(|source| !set.contains(&source)).collect();
    let subsets: Vec<Vec<bool>> = core::iter::once(vec![true; n]).chain(sets.iter().map(without)).collect();
    let found = values(&subsets)?;
    let lost = |without: &Vec<f64>| found[0].iter().zip(without).map(|(all, without)| all - without).collect();
    Ok(found[1..].iter().map(lost).collect())
}

/// Leave-one-out of these sources; the others are not computed.
fn some_left_out(
    n: usize,
    chosen: &[usize],
    statements: usize,
    values: &mut Values<'_>,
) -> Result<Vec<Vec<f64>>, AttributionError> {
    let sets: Vec<Range<usize>> = chosen.iter().map(|&source| source..source + 1).collect();
    let mut scores = vec![vec![f64::NAN; statements]; n];
    for (&source, found) in chosen.iter().zip(leave_out(n, &sets, values)?) {
        scores[source] = found;
    }
    Ok(scores)
}

fn hierarchical(
    n: usize,
    groups: &[Range<usize>],
    expand: usize,
    values: &mut Values<'_>,
) -> Result<Vec<Vec<f64>>, AttributionError> {
    let of_groups = leave_out(n, groups, values)?;
    let statements = of_groups.first().map_or(0, Vec::len);
    let best = by_size(&totals(&of_groups));
    let inside: Vec<&Range<usize>> = best.iter().take(expand).map(|&group| &groups[group]).collect();
    let several: Vec<usize> =
        inside.iter().filter(|group| group.len() > 1).flat_map(|group| (*group).clone()).collect();
    let mut scores = match several.is_empty() {
        true => vec![vec![f64::NAN; statements]; n],
        false => some_left_out(n, &several, statements, values)?,
    };
    // A group of one source is that source.
    for (group, found) in groups.iter().zip(of_groups).filter(|(group, _)| group.len() == 1) {
        scores[group.start] = found;
    }
    Ok(scores)
}

fn context_cite(
    n: usize,
    n_ablations: usize,
    alpha: f64,
    tokens: &[usize],
    seed: u64,
    values: &mut Values<'_>,
) -> Result<Vec<Vec<f64>>, AttributionError> {
    let mut random = SplitMix64::stream(seed, 0);
    let kept: Vec<Vec<bool>> = (0..n_ablations).map(|_| (0..n).map(|_| random.uniform() < 0.5).collect()).collect();
    let found = values(&kept)?;
    let of_statement = |(statement, &tokens): (usize, &usize)| {
        let per_token: Vec<f64> =
            found.iter().map(|values| log_odds(values[statement], tokens) / tokens as f64).collect();
        lasso(&kept, &per_token, alpha).into_iter().map(move |weight| weight * tokens as f64).collect::<Vec<f64>>()
    };
    let by_statement: Vec<Vec<f64>> = tokens.iter().enumerate().map(of_statement).collect();
    Ok((0..n).map(|source| by_statement.iter().map(|scores| scores[source]).collect()).collect())
}

fn shapley(
    n: usize,
    n_samples: usize,
    statements: usize,
    seed: u64,
    values: &mut Values<'_>,
) -> Result<Vec<Vec<f64>>, AttributionError> {
    let (subsets, chance) = kernel_shap::coalitions(n, n_samples, seed);
    let ends = [vec![false; n], vec![true; n]];
    let found = values(&ends.iter().chain(&subsets).cloned().collect::<Vec<_>>())?;
    let of_statement = |statement: usize| {
        let empty = found[0][statement];
        let samples = subsets.iter().zip(&found[2..]);
        let samples = samples.map(|(present, values)| (&present[..], values[statement] - empty));
        kernel_shap::regress(samples, n, found[1][statement] - empty, chance)
    };
    let by_statement: Vec<Vec<f64>> = (0..statements).map(of_statement).collect();
    Ok((0..n).map(|source| by_statement.iter().map(|scores| scores[source]).collect()).collect())
}

/// `ln p − ln(1 − p)` of a probability whose logarithm is given, accurate at both ends. Single precision can't tell a probability from 1 beyond its
/// rounding: that of `tokens` of them is the least distance.
pub fn log_odds(log_prob: f64, tokens: usize) -> f64 {
    let log_prob = log_prob.min(-f64::from(f32::EPSILON) * tokens.max(1) as f64);
    let log_rest = match log_prob > -core::f64::consts::LN_2 {
        true => (-log_prob.exp_m1()).ln(),
        false => (-log_prob.exp()).ln_1p(),
    };
    log_prob - log_rest
}

/// The score of each source for the whole answer; NaN where it was not computed.
pub(super) fn totals(scores: &[Vec<f64>]) -> Vec<f64> {
    scores.iter().map(|scores| scores.iter().sum()).collect()
}

/// From the greatest on; what was not computed comes last.
pub(super) fn by_size(totals: &[f64]) -> Vec<usize> {
    let known = |at: usize| if totals[at].is_nan() { f64::NEG_INFINITY } else { totals[at] };
    let mut order: Vec<usize> = (0..totals.len()).collect();
    order.sort_by(|&a, &b| known(b).total_cmp(&known(a)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Side, Text};

    /// Six sources in three documents, two statements of 3 and 5 tokens.
    fn text() -> ContextText {
        ContextText {
            text: Text::causal((0..20).collect(), 12),
            side: Side::Target,
            sources: (0..6).map(|source| 2 * source..2 * source + 2).collect(),
            groups: vec![0..3, 3..5, 5..6],
            statements: vec![12..15, 15..20],
        }
    }

    const WORTHS: [[f64; 2]; 6] = [[0.0, 0.3], [2.0, 0.0], [0.0, 0.0], [0.1, 0.0], [0.0, 4.0], [0.5, 0.5]];

    fn worth(kept: &[bool], statement: usize) -> f64 {
        kept.iter().zip(WORTHS).map(|(&kept, worth)| f64::from(u8::from(kept)) * worth[statement]).sum()
    }

    fn additive(kept: &[Vec<bool>]) -> Result<Vec<Vec<f64>>, AttributionError> {
        Ok(kept.iter().map(|kept| vec![-9.0 + worth(kept, 0), -12.0 + worth(kept, 1)]).collect())
    }

    fn scores(method: &ContextMethod) -> Vec<Vec<f64>> {
        method.scores(&text(), None, 5, &mut additive).unwrap()
    }

    fn assert_worths(scores: &[Vec<f64>], tolerance: f64) {
        for (source, (scores, worths)) in scores.iter().zip(WORTHS).enumerate() {
            for (score, worth) in scores.iter().zip(worths) {
                assert!((score - worth).abs() < tolerance, "source {source}: {score} instead of {worth}");
            }
        }
    }

    #[test]
    fn independent_sources_have_their_worths() {
        assert_worths(&scores(&ContextMethod::LeaveOneOut), 1e-12);
        assert_worths(&scores(&ContextMethod::KernelShap { n_samples: 100 }), 1e-6);
        // Improbable statements: log-odds are log-probabilities. The penalty takes a little.
        assert_worths(&scores(&ContextMethod::ContextCite { n_ablations: 64, alpha: 1e-6 }), 0.05);
        let sparse = scores(&ContextMethod::ContextCite { n_ablations: 64, alpha: 0.05 });
        assert_eq!(sparse[2], [0.0, 0.0], "what doesn't matter has no weight");
        assert!(sparse[1][0] > 1.0 && sparse[4][1] > 3.0, "{sparse:?}");
    }

    #[test]
    fn a_hierarchy_looks_into_the_groups_that_matter() {
        let found = scores(&ContextMethod::Hierarchical { expand: 1 });
        assert!(found[..3].iter().flatten().all(|score| score.is_nan()), "the first document is not looked into");
        for source in [3, 4, 5] {
            let close = found[source].iter().zip(WORTHS[source]).all(|(score, worth)| (score - worth).abs() < 1e-12);
            assert!(close, "{source}: {:?}", found[source]);
        }
        assert_worths(&scores(&ContextMethod::Hierarchical { expand: 9 }), 1e-12);
    }

    #[test]
    fn gradients_choose_what_is_left_out() {
        let gradient =
            vec![vec![0.1, 0.0], vec![-3.0, 0.0], vec![0.0, 0.2], vec![0.0, 0.0], vec![2.0, 0.0], vec![0.0, 0.0]];
        let of =
            |prefilter| ContextMethod::Gradient { prefilter }.scores(&text(), Some(gradient.clone()), 0, &mut additive);
        assert_eq!(of(None).unwrap(), gradient);
        let found = of(Some(2)).unwrap();
        let known: Vec<usize> = (0..6).filter(|&source| !found[source][0].is_nan()).collect();
        assert_eq!(known, [1, 4]);
        assert!((found[1][0] - 2.0).abs() < 1e-12 && (found[4][1] - 4.0).abs() < 1e-12);
    }

    #[test]
    fn methods_are_found_by_name_with_their_parameters() {
        for method in ContextMethod::ALL {
            assert_eq!(ContextMethod::named(method.name(), &method.parameters()).unwrap(), method);
        }
        let named = |name: &str, parameters: Value| ContextMethod::named(name, parameters.as_object().unwrap());
        let found = named("context_cite", json!({ "n_ablations": 8 })).unwrap();
        assert_eq!(found, ContextMethod::ContextCite { n_ablations: 8, alpha: 0.01 });
        for (name, parameters, says) in [
            ("contextcite", json!({}), "context_cite"),
            ("leave_one_out", json!({ "expand": 1 }), "expand"),
            ("gradient", json!({ "prefilter": 1.5 }), "a whole number"),
        ] {
            let error = named(name, parameters).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn log_odds_are_accurate_at_both_ends() {
        for p in [1e-300_f64, 1e-9, 0.3, 0.5, 0.7, 0.999] {
            let expected = (p / (1.0 - p)).ln();
            assert!((log_odds(p.ln(), 1) - expected).abs() < 1e-9 * expected.abs().max(1.0), "{p}");
        }
        assert!((log_odds(-800.0, 1) + 800.0).abs() < 1e-12 && log_odds(0.0, 3).is_finite());
    }
}
