//! Which words of two texts mean the same, by the hidden states of a model that read both.
//!
//! Pieces of words are aligned if each is likely for the other: the dot products of their hidden states, as a softmax over the pieces of the one
//! text and over those of the other, exceed a threshold. Words are aligned if any of their pieces are, and tokens if their words are. (Dou &
//! Neubig 2021, *Word alignment by fine-tuning embeddings on parallel corpora*, awesome-align.)

use std::collections::BTreeSet;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::widened;

/// What both shares of a pair have to exceed.
pub const THRESHOLD: f64 = 1e-3;

/// The pairs of pieces of two texts that are aligned, in order.
///
/// # Shapes
/// - `own`: `[pieces, hidden]`
/// - `other`: `[other pieces, hidden]`
pub fn aligned_pieces<B: Backend>(own: Tensor<B, 2>, other: Tensor<B, 2>) -> Vec<(usize, usize)> {
    let dots = widened(own).matmul(widened(other).transpose());
    let [rows, columns] = dots.dims();
    let dots: Vec<f64> = dots.into_data().iter::<f64>().collect();
    let at = |row: usize, column: usize| dots[row * columns + column];
    let log_sum = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<f64> = values.collect();
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
    };
    let of_rows: Vec<f64> = (0..rows).map(|row| log_sum(&mut (0..columns).map(|column| at(row, column)))).collect();
    let of_columns: Vec<f64> = (0..columns).map(|column| log_sum(&mut (0..rows).map(|row| at(row, column)))).collect();
    let is_aligned = |&(row, column): &(usize, usize)| {
        let share = |log_sum: f64| (at(row, column) - log_sum).exp();
        share(of_rows[row]) > THRESHOLD && share(of_columns[column]) > THRESHOLD
    };
    (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).filter(is_aligned).collect()
}

/// The pairs of words that have aligned pieces. `own` and `other` have the word of each piece; `None` for a piece of no word.
pub fn aligned_words(
    pieces: &[(usize, usize)],
    own: &[Option<usize>],
    other: &[Option<usize>],
) -> BTreeSet<(usize, usize)> {
    pieces.iter().filter_map(|&(piece, partner)| Some((own[piece]?, other[partner]?))).collect()
}

/// One partner for each token whose word is aligned: the first token of an aligned word that no token before has, or else the first. `own` and `other`
/// have the word of each token.
pub fn aligned_tokens(
    words: &BTreeSet<(usize, usize)>,
    own: &[Option<usize>],
    other: &[Option<usize>],
) -> Vec<(usize, usize)> {
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    for (token, word) in own.iter().enumerate() {
        let Some(word) = word else { continue };
        let is_partner = |&at: &usize| other[at].is_some_and(|other| words.contains(&(*word, other)));
        let partners: Vec<usize> = (0..other.len()).filter(is_partner).collect();
        let free = partners.iter().find(|partner| !taken.contains(*partner));
        if let Some(&partner) = free.or(partners.first()) {
            taken.insert(partner);
            pairs.push((token, partner));
        }
    }
    pairs
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde::Deserialize;

    use super::*;

    type B = stepfn_cpu::Backend;

    /// What inseq's `auto_align_sequences` makes of given hidden states (`tests/goldens/reliance/make.py`).
    #[derive(Deserialize)]
    struct Golden {
        /// Hidden states of the pieces of each text.
        states: [Vec<Vec<f32>>; 2],
        /// The word of each piece, and of each token.
        pieces: [Vec<usize>; 2],
        tokens: [Vec<usize>; 2],
        words: Vec<(usize, usize)>,
        alignment: Vec<(usize, usize)>,
    }

    fn tensor(rows: &[Vec<f32>]) -> Tensor<B, 2> {
        let data = burn::tensor::TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        Tensor::from_data(data, &Default::default())
    }

    #[test]
    fn words_and_tokens_are_aligned_as_in_the_reference() {
        let text = include_str!("../../../tests/goldens/reliance/alignments.json");
        let goldens: Vec<Golden> = serde_json::from_str(text).unwrap();
        assert!(goldens.len() >= 4);
        for golden in goldens {
            let [own, other] = golden.pieces.map(|pieces| pieces.into_iter().map(Some).collect::<Vec<_>>());
            let pieces = aligned_pieces(tensor(&golden.states[0]), tensor(&golden.states[1]));
            let words = aligned_words(&pieces, &own, &other);
            assert_eq!(words.iter().copied().collect::<Vec<_>>(), golden.words);
            let [own, other] = golden.tokens.map(|tokens| tokens.into_iter().map(Some).collect::<Vec<_>>());
            assert_eq!(aligned_tokens(&words, &own, &other), golden.alignment);
        }
    }

    #[test]
    fn both_shares_have_to_exceed_the_threshold() {
        // The second piece is likelier for the first of the other text than the first is, by far.
        let own = tensor(&[vec![1.0, 0.0], vec![20.0, 0.0]]);
        let other = tensor(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        // Shares over rows: e/(e+1), 1/(e+1) and all but 1; over columns: e^-19 and 1/2.
        assert_eq!(aligned_pieces(own, other), [(0, 1), (1, 0)]);
    }

    #[test]
    fn tokens_take_partners_that_are_free() {
        let words: BTreeSet<(usize, usize)> = [(0, 1), (1, 0), (1, 2)].into();
        let own = [Some(0), Some(0), Some(1), None, Some(2)];
        let other = [Some(0), Some(1), Some(2)];
        assert_eq!(aligned_tokens(&words, &own, &other), [(0, 1), (1, 1), (2, 0)]);
    }
}
