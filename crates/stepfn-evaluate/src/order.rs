//! Orders of features, from scores.

/// How scores order features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ranking {
    /// From the greatest to the least: what speaks against the prediction comes last.
    #[default]
    Signed,
    /// From the greatest magnitude to the least.
    Magnitude,
}

impl Ranking {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Signed, Self::Magnitude];

    /// Its name: `signed` or `magnitude`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Magnitude => "magnitude",
        }
    }

    /// What a score is ordered by.
    pub(crate) fn key(self, score: f64) -> f64 {
        match self {
            Self::Signed => score,
            Self::Magnitude => score.abs(),
        }
    }
}

/// The features, the most important first. Those with equal scores stay in the order of the text.
pub fn ordered(scores: &[f64], ranking: Ranking) -> Vec<usize> {
    let key = |at: usize| ranking.key(scores[at]);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_ties_are_as_said() {
        let scores = [0.5, -2.0, 0.5, 1.0, 0.0];
        assert_eq!(ordered(&scores, Ranking::Signed), [3, 0, 2, 4, 1]);
        assert_eq!(ordered(&scores, Ranking::Magnitude), [1, 3, 0, 2, 4]);
    }
}
