//! Scores as the page stores them: whole numbers of 8 or 16 bits, relative to the largest score of their step, in base64.
//!
//! Code 0 is no score (NaN), the middle code is zero, and the ends are plus and minus the largest score. Special tokens have a largest score
//! of their own, because they are often so large that nothing would be left of the others. Columns end at their last score, so that what a step
//! of a causal model can't see takes no room.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use stepfn_attribution::Scores;
use stepfn_models::tokenizer::Token;

use super::views::short;

/// How many bits a score takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    /// 127 sizes of each sign.
    Eight,
    /// 32,767 sizes of each sign.
    Sixteen,
}

impl Bits {
    pub(super) const fn count(self) -> u8 {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }

    /// Characters of base64 that a number of scores takes.
    pub(super) const fn characters(self, scores: usize) -> usize {
        (scores * self.count() as usize / 8).div_ceil(3) * 4
    }

    fn put(self, bytes: &mut Vec<u8>, value: f32, largest: f32) {
        let sizes: f32 = match self {
            Self::Eight => 127.0,
            Self::Sixteen => 32_767.0,
        };
        let code = if value.is_nan() {
            0
        } else {
            let share = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
            (sizes + 1.0 + share * sizes).round() as u16
        };
        match self {
            Self::Eight => bytes.push(code as u8),
            Self::Sixteen => bytes.extend(code.to_le_bytes()),
        }
    }
}

/// The scores of one side, step after step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Packed {
    /// For each step, how many tokens have a code: those after it have no score.
    pub(super) lengths: Vec<usize>,
    /// The largest absolute score of each step among ordinary tokens.
    largest: Vec<Option<f64>>,
    /// The largest absolute score of each step among special tokens.
    special: Vec<Option<f64>>,
    /// The codes in base64; those of 16 bits have their low byte first.
    data: String,
}

impl Packed {
    /// Packs scores with one number per token and step. Infinite scores are not scores.
    pub(super) fn new(scores: &Scores, tokens: &[Token], bits: Bits) -> Self {
        let mut packed = Self { lengths: Vec::new(), largest: Vec::new(), special: Vec::new(), data: String::new() };
        let mut bytes = Vec::new();
        for step in 0..scores.steps() {
            let column: Vec<f32> = (0..scores.tokens()).map(|token| finite(scores.at(token, step)[0])).collect();
            let length = column.iter().rposition(|value| !value.is_nan()).map_or(0, |last| last + 1);
            let largest = |special: bool| {
                let own = column.iter().zip(tokens).filter(|(_, token)| token.special == special);
                own.fold(0f32, |largest, (value, _)| largest.max(value.abs()))
            };
            let [ordinary, special] = [largest(false), largest(true)];
            for (&value, token) in column[..length].iter().zip(tokens) {
                bits.put(&mut bytes, value, if token.special { special } else { ordinary });
            }
            packed.lengths.push(length);
            packed.largest.push(short(ordinary));
            packed.special.push(short(special));
        }
        packed.data = STANDARD.encode(bytes);
        packed
    }
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(special: bool) -> Token {
        Token { id: 0, surface: "a".to_owned(), span: 0..1, special }
    }

    fn codes(packed: &Packed, bits: Bits) -> Vec<u16> {
        let bytes = STANDARD.decode(&packed.data).unwrap();
        match bits {
            Bits::Eight => bytes.into_iter().map(u16::from).collect(),
            Bits::Sixteen => bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        }
    }

    #[test]
    fn scores_are_relative_to_the_largest_of_their_step_and_kind() {
        let nan = f32::NAN;
        // A special token, then three others; at the first step only two are seen.
        let tokens = [token(true), token(false), token(false), token(false)];
        let scores = Scores::per_token(4, 2, vec![900.0, 0.0, 0.5, -2.0, nan, 1.0, nan, f32::INFINITY]).unwrap();
        for (bits, zero, sizes) in [(Bits::Eight, 128, 127), (Bits::Sixteen, 32_768, 32_767)] {
            let packed = Packed::new(&scores, &tokens, bits);
            assert_eq!(packed.lengths, [2, 3]);
            assert_eq!((packed.largest[0], packed.largest[1]), (Some(0.5), Some(2.0)));
            assert_eq!((packed.special[0], packed.special[1]), (Some(900.0), Some(0.0)));
            let half = zero + (f32::from(sizes) / 2.0).round() as u16;
            assert_eq!(codes(&packed, bits), [zero + sizes, zero + sizes, zero, zero - sizes, half]);
            assert_eq!(packed.data.len(), bits.characters(5));
        }
    }
}
