//! What holds of every metric, on games whose answers are known.

use proptest::prelude::*;
use stepfn_models::random::SplitMix64;

use crate::games::{Pairs, orders, scores_of};
use crate::*;

fn settings() -> Settings {
    Settings { metrics: Metric::ALL.to_vec(), ranking: Ranking::Signed, log_prob_of: Some(1), sets: 24, seed: [5, 1] }
}

/// A figure of scores on a game.
fn figure(metric: Metric, scores: &[f64], game: &Pairs) -> f64 {
    measured(scores, game).figures[Metric::ALL.iter().position(|known| *known == metric).unwrap()]
}

fn measured(scores: &[f64], game: &Pairs) -> Measured {
    measure(scores, &settings(), &mut game.values()).unwrap()
}

fn games() -> impl Strategy<Value = (Pairs, Vec<f64>)> {
    (2_usize..14, any::<u64>()).prop_map(|(features, seed)| {
        let mut random = SplitMix64::stream(seed, 3);
        let scores = (0..features).map(|_| random.normal()).collect();
        (Pairs::random(features, seed), scores)
    })
}

/// The features by score, by choosing the greatest that is left.
fn greatest_first(scores: &[f64]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let best = left.iter().copied().reduce(|best, other| if scores[other] > scores[best] { other } else { best });
        left.retain(|feature| Some(*feature) != best);
        order.extend(best);
    }
    order
}

/// Shares of features from one half down, as whole percentages.
fn top_counts(features: usize) -> [usize; 5] {
    [1, 5, 10, 20, 50].map(|percent: usize| ((percent * features + 50) / 100).max(1))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn figures_are_those_of_their_definitions((game, scores) in games()) {
        let n = scores.len();
        let order = greatest_first(&scores);
        let (whole, tops) = (game.without(&[]), top_counts(n));
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let comprehensiveness = mean(tops.iter().map(|&k| whole - game.without(&order[..k])).collect());
        let sufficiency = mean(tops.iter().map(|&k| whole - game.with(&order[..k])).collect());
        // Points of the curve: how many features are hidden, from both ends.
        let mut counts: Vec<usize> = tops.iter().flat_map(|&k| [k, n - k]).chain([0, n]).collect();
        counts.sort_unstable();
        counts.dedup();
        let area = |value: &dyn Fn(usize) -> f64| {
            let trapezoid = |pair: &[usize]| {
                (pair[1] - pair[0]) as f64 / n as f64 * (value(pair[0]) + value(pair[1])) / 2.0
            };
            counts.windows(2).map(trapezoid).sum::<f64>()
        };
        let p = |value: f64| value.exp();
        let expected = [
            (Metric::Comprehensiveness, comprehensiveness),
            (Metric::Sufficiency, sufficiency),
            (Metric::Morf, area(&|k| whole - game.without(&order[..k]))),
            (Metric::Lerf, area(&|k| whole - game.without(&order[n - k..]))),
            (Metric::Deletion, area(&|k| p(game.without(&order[..k])))),
            (Metric::Insertion, area(&|k| p(game.with(&order[..k])))),
            (Metric::LogOdds, {
                let odds = |value: f64| p(value) / (1.0 - p(value));
                (odds(game.without(&order[..tops[3]])) / odds(whole)).ln()
            }),
        ];
        for (metric, expected) in expected {
            let found = figure(metric, &scores, &game);
            prop_assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-9), "{metric:?}: {found} instead of {expected}");
        }
    }

    #[test]
    fn fewer_metrics_have_the_same_figures_and_ask_less((game, scores) in games()) {
        let all = measured(&scores, &game);
        for (at, metric) in Metric::ALL.into_iter().enumerate().filter(|(_, metric)| !metric.is_soft() && !metric.is_of_noise()) {
            let mut asked = 0;
            let alone = measure(&scores, &Settings { metrics: vec![metric], ..settings() }, &mut |sets| {
                asked += sets.len();
                game.values()(sets)
            });
            prop_assert_eq!(alone.unwrap().figures[0].to_bits(), all.figures[at].to_bits());
            prop_assert!(asked <= 12 + 26, "{:?}: {}", metric, asked);
        }
    }

    #[test]
    fn infidelity_has_the_best_scale((game, scores) in games(), change in -0.5_f64..0.5) {
        let sets = random_sets(scores.len(), 24, 5, 1);
        let lost: Vec<f64> = sets.iter().map(|hidden| game.without(&[]) - game.value(hidden)).collect();
        let at = |scale: f64| {
            let error = |(hidden, lost): (&Vec<bool>, &f64)| {
                let sum: f64 = (0..scores.len()).filter(|&feature| hidden[feature]).map(|feature| scale * scores[feature]).sum();
                (sum - lost) * (sum - lost)
            };
            sets.iter().zip(&lost).map(error).sum::<f64>() / sets.len() as f64
        };
        let found = infidelity(&scores, &sets, &lost);
        // The error is a parabola in the scale, through three of its points.
        let (zero, plus, minus) = (at(0.0), at(1.0), at(-1.0));
        let (square, line) = ((plus + minus) / 2.0 - zero, (plus - minus) / 2.0);
        let best = -line / (2.0 * square);
        prop_assert!((found - at(best)).abs() <= 1e-7 * zero.max(1.0));
        prop_assert!(found <= at(best + change) + 1e-9 * zero.max(1.0));
        let scaled: Vec<f64> = scores.iter().map(|score| -300.0 * score).collect();
        prop_assert!((infidelity(&scaled, &sets, &lost) - found).abs() <= 1e-7 * zero.max(1.0), "the unit does not matter");
    }

    #[test]
    fn the_expected_share_is_as_asked(
        scores in prop::collection::vec(prop_oneof![3 => -50.0_f64..50.0, 1 => Just(0.0), 1 => -1e-9_f64..1e-9], 1..40),
        share in 0.0_f64..=1.0,
    ) {
        let found = inclusion(&scores, share);
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        prop_assert!((mean - share).abs() < 1e-9, "{mean} instead of {share}");
        prop_assert!(found.iter().all(|probability| (0.0..=1.0).contains(probability)));
        for (a, own) in scores.iter().zip(&found) {
            for (b, other) in scores.iter().zip(&found) {
                prop_assert!(a.abs() <= b.abs() || own + 1e-12 >= *other, "greater scores are not less likely");
            }
        }
    }
}

/// The exact Shapley values of a linear model are its worths, and no order of the features is more faithful.
#[test]
fn shapley_values_of_a_linear_model_are_the_most_faithful_of_all_orders() {
    for own in [vec![0.3, 2.0, -1.0, 0.7, 0.1], vec![1.0, 3.0, 0.0, -2.0], vec![-0.5, -0.1, -3.0]] {
        let game = Pairs::additive(own.clone());
        let shapley = game.shapley();
        assert!(shapley.iter().zip(&own).all(|(found, worth)| (found - worth).abs() < 1e-9), "{shapley:?}");
        use Metric::{Comprehensiveness, Deletion, Insertion, Lerf, LogOdds, Morf, Sufficiency};
        for metric in [Comprehensiveness, Sufficiency, Morf, Lerf, Deletion, Insertion, LogOdds] {
            let best = figure(metric, &shapley, &game);
            for order in orders(own.len()) {
                let other = figure(metric, &scores_of(&order), &game);
                let (more, less) = if metric.more_is_better() { (best, other) } else { (other, best) };
                assert!(more >= less - 1e-9, "{metric:?}: {order:?} has {other}, the truth {best}");
            }
        }
        assert!(figure(Metric::Infidelity, &shapley, &game) < 1e-18);
        // Equal sums may differ by rounding.
        assert!(figure(Metric::Lds, &shapley, &game) > 0.99);
    }
}

/// Without `k` of `n` features by chance, a linear model loses `k / n` of all that it can lose.
#[test]
fn random_orders_average_to_the_closed_form() {
    let game = Pairs::additive(vec![0.4, 2.0, -1.5, 0.7, 0.2]);
    let all: f64 = game.own.iter().sum();
    let n = game.own.len();
    let share = |counts: [usize; 5]| counts.iter().map(|&k| k as f64 / n as f64).sum::<f64>() / 5.0;
    let kept = top_counts(n);
    let expected = [
        (Metric::Comprehensiveness, all * share(kept)),
        (Metric::Sufficiency, all * share(kept.map(|k| n - k))),
        (Metric::Morf, all / 2.0),
        (Metric::Lerf, all / 2.0),
    ];
    let orders = orders(n);
    for (metric, expected) in expected {
        let mean =
            orders.iter().map(|order| figure(metric, &scores_of(order), &game)).sum::<f64>() / orders.len() as f64;
        assert!((mean - expected).abs() < 1e-9, "{metric:?}: {mean} instead of {expected}");
    }
}

/// Figures over many games, with the scores that `of` makes.
fn over_games(metric: Metric, of: impl Fn(&Pairs, &mut SplitMix64) -> Vec<f64>) -> Vec<f64> {
    let figure_of = |seed: u64| {
        let game = Pairs::random(9, seed);
        figure(metric, &of(&game, &mut SplitMix64::stream(seed, 99)), &game)
    };
    (0..300).map(figure_of).collect()
}

#[test]
fn shuffled_scores_are_as_good_as_chance_and_true_ones_are_better() {
    use Metric::{Comprehensiveness, Infidelity, Lds, Lerf, LogOdds, Morf, Sufficiency};
    let shuffled = |game: &Pairs, random: &mut SplitMix64| {
        let mut scores = game.shapley();
        random.shuffle(&mut scores);
        scores
    };
    for metric in [Comprehensiveness, Sufficiency, Morf, Lerf, LogOdds, Infidelity, Lds] {
        let chance = over_games(metric, |game, random| {
            // As spread as true scores, and drawn anew.
            let mut scores = game.shapley();
            random.bits();
            random.shuffle(&mut scores);
            scores
        });
        let (shuffled, truth) = (over_games(metric, shuffled), over_games(metric, |game, _| game.shapley()));
        let sign = if metric.more_is_better() { 1.0 } else { -1.0 };
        let over = |ours: &[f64]| ours.iter().zip(&chance).map(|(ours, chance)| sign * (ours - chance)).collect();
        let [no, yes] = <[Interval; 2]>::try_from(intervals(&[over(&shuffled), over(&truth)], 2)).unwrap();
        assert!(no.low < 0.0 && 0.0 < no.high, "{metric:?}: shuffled scores differ from chance, {no:?}");
        assert!(yes.low > 0.0, "{metric:?}: true scores are no better than chance, {yes:?}");
    }
}

/// The prediction hangs on two of the features; a method that reads that wins against every other choice of two.
#[test]
fn planted_features_are_found() {
    let mut own = vec![0.0; 10];
    (own[3], own[8]) = (1.0, 1.5);
    let game = Pairs { pairs: vec![(3, 8, 2.0)], ..Pairs::additive(own) };
    let marked = |a: usize, b: usize| {
        let mut scores = vec![0.0; 10];
        (scores[a], scores[b]) = (1.0, 1.0);
        scores
    };
    use Metric::{Comprehensiveness, Deletion, Infidelity, Insertion, Lds, Lerf, LogOdds, Morf, Sufficiency};
    for metric in [Comprehensiveness, Sufficiency, Morf, Lerf, Deletion, Insertion, LogOdds, Infidelity, Lds] {
        let planted = figure(metric, &marked(8, 3), &game);
        for a in 0..10 {
            for b in (0..a).filter(|&b| (a, b) != (8, 3)) {
                let other = figure(metric, &marked(a, b), &game);
                let (more, less) = if metric.more_is_better() { (planted, other) } else { (other, planted) };
                // Scores that never change have no correlation.
                assert!(
                    more >= less - 1e-9 || other.is_nan(),
                    "{metric:?}: {a}, {b} have {other}, the truth {planted}"
                );
            }
        }
    }
}

/// Distances that add up have means that are known.
#[test]
fn soft_metrics_are_expectations() {
    let apart = [0.1, 0.5, 0.05, 0.2, 0.15];
    let scores = [0.2, -0.9, 0.0, 0.4, 0.1];
    let mut distances = |sets: &[Vec<bool>]| {
        let of = |hidden: &Vec<bool>| hidden.iter().zip(apart).filter(|(hidden, _)| **hidden).map(|(_, d)| d).sum();
        Ok(sets.iter().map(of).collect())
    };
    let settings = SoftSettings { share: 0.3, draws: 40_000, seed: [1, 2] };
    let [nc, ns] = soft(&scores, &settings, &mut distances).unwrap();
    let expected: f64 = inclusion(&scores, 0.3).iter().zip(apart).map(|(probability, d)| probability * d).sum();
    assert!((nc - expected).abs() < 0.01 && (ns - expected).abs() < 0.01, "{nc}, {ns}: {expected}");
    let same = soft(&scores.map(|score| -7.0 * score), &settings, &mut distances).unwrap();
    assert!((same[0] - nc).abs() < 1e-9, "neither sign nor unit matters");
    assert!(soft(&scores, &settings, &mut |sets| Ok(vec![0.0; sets.len()])).unwrap()[0].is_nan());
}

/// Scores that are linear in the input move by the noise; those that never change by nothing.
#[test]
fn sensitivity_is_of_the_size_of_the_scores() {
    assert_eq!(max_sensitivity(&[3.0, -4.0], &[vec![3.0, -4.0]]), 0.0);
    assert!((max_sensitivity(&[3.0, -4.0], &[vec![3.0, -4.5], vec![4.0, -4.0]]) - 0.2).abs() < 1e-12);
    assert!((max_sensitivity(&[30.0, -40.0], &[vec![30.0, -45.0], vec![40.0, -40.0]]) - 0.2).abs() < 1e-12);
    assert!(max_sensitivity(&[3.0, -4.0], &[]).is_nan() && max_sensitivity(&[0.0], &[vec![0.0]]).is_nan());
}
