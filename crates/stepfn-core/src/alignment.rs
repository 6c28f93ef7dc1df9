//! Pairs each scored step with the step of a contrast that it is compared with.

use serde::{Deserialize, Serialize};

use crate::StepError;

/// The alignment `a(t)` of scored steps with contrast steps. Both are counted from 0 at the first scored step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Alignment {
    /// Step `t` with step `t`, up to the end of the shorter text.
    #[default]
    OneToOne,
    /// The given pairs `(scored step, contrast step)`. A step in several pairs takes the earliest contrast step; a step in no pair has no
    /// partner.
    Pairs(Vec<(usize, usize)>),
    /// Tokens of words that mean the same, as hidden states say. Whoever has the texts makes pairs of it before steps are compared.
    Auto,
}

impl Alignment {
    /// The contrast step of each of `rows` scored steps; `None` if it has no partner.
    ///
    /// # Errors
    /// [`StepError::PairOutside`] if a pair points outside either text, [`StepError::PairTwice`] if a step has two partners;
    /// [`StepError::NotAligned`] for [`Auto`](Self::Auto), of which no pairs were made.
    pub fn partners(&self, rows: usize, contrast_rows: usize) -> Result<Vec<Option<usize>>, StepError> {
        match self {
            Alignment::OneToOne => Ok((0..rows).map(|row| (row < contrast_rows).then_some(row)).collect()),
            Alignment::Pairs(pairs) => {
                let mut partners: Vec<Option<usize>> = vec![None; rows];
                for &(original, contrast) in pairs {
                    if original >= rows || contrast >= contrast_rows {
                        return Err(StepError::PairOutside { original, contrast, rows, contrast_rows });
                    }
                    if partners[original].replace(contrast).is_some() {
                        return Err(StepError::PairTwice { original });
                    }
                }
                Ok(partners)
            }
            Alignment::Auto => Err(StepError::NotAligned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_one_stops_at_the_end_of_the_shorter_text() {
        assert_eq!(Alignment::OneToOne.partners(3, 2), Ok(vec![Some(0), Some(1), None]));
        assert_eq!(Alignment::OneToOne.partners(2, 5), Ok(vec![Some(0), Some(1)]));
    }

    #[test]
    fn a_step_has_one_partner_or_none() {
        let pairs = Alignment::Pairs(vec![(2, 0), (0, 3)]);
        assert_eq!(pairs.partners(4, 4), Ok(vec![Some(3), None, Some(0), None]));
        let twice = Alignment::Pairs(vec![(2, 1), (0, 3), (2, 0)]);
        assert_eq!(twice.partners(4, 4), Err(StepError::PairTwice { original: 2 }));
    }

    #[test]
    fn automatic_pairs_have_to_be_made_first() {
        assert_eq!(Alignment::Auto.partners(2, 2), Err(StepError::NotAligned));
    }

    #[test]
    fn a_pair_outside_either_text_is_an_error_with_both_indexes() {
        for (original, contrast) in [(4, 0), (0, 2)] {
            let error = Alignment::Pairs(vec![(original, contrast)]).partners(4, 2).unwrap_err();
            assert_eq!(error, StepError::PairOutside { original, contrast, rows: 4, contrast_rows: 2 });
        }
    }
}
