//! How positions are encoded.

/// How positions are encoded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Positions {
    /// A learned vector per position is added to the embeddings; position `p` takes row `p + offset` of a table of `rows` rows.
    Learned {
        /// Rows before the row of position 0.
        offset: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// The same, but only the embeddings are normalized, and positions are added after that (the decoder of Blenderbot Small).
    LearnedAfterNorm {
        /// Rows before the row of position 0.
        offset: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// Sines, then cosines, of `p · 10000^(−2i/d)` are added (Marian), for at most `max` positions.
    SinusoidalHalves {
        /// Positions that the model was made for.
        max: usize,
    },
    /// Sines, then cosines, of `(p + offset) · 10000^(−i/(d/2 − 1))` are added (fairseq, M2M-100).
    SinusoidalFairseq {
        /// Rows before the row of position 0.
        offset: usize,
        /// Positions that the model was made for, if that is known.
        made_for: Option<usize>,
    },
    /// Queries and keys are rotated (Su et al. 2021).
    Rotary(RotaryConfig),
    /// The same, but not alike in all layers: some have other wavelengths (Gemma 3), or no positions at all (SmolLM 3).
    RotaryByLayer {
        /// The different rotations.
        rotations: Vec<RotaryConfig>,
        /// For each layer, which of them it has.
        layers: Vec<Option<usize>>,
    },
    /// A learned bias per head and distance bucket is added to the scores of self-attention (Raffel et al. 2020).
    RelativeBias {
        /// Number of distance buckets.
        buckets: usize,
        /// Distances from this on share the last bucket.
        max_distance: usize,
        /// Whether every layer has a bias of its own (UMT5), or all of a stack have the same.
        by_layer: bool,
        /// Positions that the model was made for, if that is known.
        made_for: Option<usize>,
    },
    /// A bias proportional to the distance is added to the scores (ALiBi; Press et al. 2022).
    Alibi {
        /// Positions that the model was made for, if that is known.
        made_for: Option<usize>,
    },
}

impl Positions {
    /// The maximum number of tokens in a text; `None` if positions have no end (beyond its training length a model gets worse, but stays
    /// defined).
    pub fn most(&self) -> Option<usize> {
        match self {
            Positions::Learned { offset, rows } | Positions::LearnedAfterNorm { offset, rows } => {
                Some(rows.saturating_sub(*offset))
            }
            Positions::SinusoidalHalves { max } => Some(*max),
            _ => None,
        }
    }

    /// The rows of the table of learned positions, and how many of them are before that of position 0.
    pub(crate) fn learned(&self) -> Option<[usize; 2]> {
        match *self {
            Positions::Learned { offset, rows } | Positions::LearnedAfterNorm { offset, rows } => Some([rows, offset]),
            _ => None,
        }
    }
}

impl Positions {
    /// The number of tokens in the longest texts that the model was made for, if that is known; of longer ones it may say anything.
    pub fn made_for(&self) -> Option<usize> {
        match self {
            Positions::Rotary(rotary) => Some(rotary.max_positions),
            Positions::RotaryByLayer { rotations, .. } => rotations.iter().map(|rotary| rotary.max_positions).max(),
            Positions::SinusoidalFairseq { made_for, .. }
            | Positions::RelativeBias { made_for, .. }
            | Positions::Alibi { made_for } => *made_for,
            Positions::Learned { .. } | Positions::LearnedAfterNorm { .. } | Positions::SinusoidalHalves { .. } => {
                self.most()
            }
        }
    }
}

impl Positions {
    /// Whether the first places of texts of these lengths, in tokens, have the same positions. Some scalings of rotations depend on the length.
    pub fn same_in(&self, length: usize, other: usize) -> bool {
        self.rotations().iter().all(|rotary| rotary.frequencies(length) == rotary.frequencies(other))
    }

    /// The rotations of queries and keys.
    pub(crate) fn rotations(&self) -> &[RotaryConfig] {
        match self {
            Positions::Rotary(rotary) => core::slice::from_ref(rotary),
            Positions::RotaryByLayer { rotations, .. } => rotations,
            _ => &[],
        }
    }

    /// Which of the [`rotations`](Self::rotations) a layer has.
    pub(crate) fn rotation_of(&self, layer: usize) -> Option<usize> {
        match self {
            Positions::Rotary(_) => Some(0),
            Positions::RotaryByLayer { layers, .. } => layers.get(layer).copied().flatten(),
            _ => None,
        }
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryConfig {
    /// Number of leading dimensions of each head that are rotated; even.
    pub dim: usize,
    /// Base of the wavelengths, θ.
    pub theta: f64,
    /// Whether neighbouring dimensions are rotated together (GPT-J); else dimension `i` and `i + dim / 2` (GPT-NeoX).
    pub interleaved: bool,
    /// How wavelengths are stretched for texts longer than in training.
    pub scaling: RotaryScaling,
    /// Queries and keys are multiplied by this as they are rotated, so that attention stays as peaked as in training.
    pub attention_factor: f64,
    /// Positions that the model was made for.
    pub max_positions: usize,
}

/// How rotary wavelengths are stretched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RotaryScaling {
    /// Not stretched.
    None,
    /// All stretched by the same factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths are stretched by the factor, short ones are not, with a smooth transition (Llama 3.1).
    Llama3 {
        /// The factor of long wavelengths.
        factor: f64,
        /// The factor applies to wavelengths above `original_positions / low_freq_factor`.
        low_freq_factor: f64,
        /// Wavelengths below `original_positions / high_freq_factor` stay unchanged.
        high_freq_factor: f64,
        /// Positions before stretching.
        original_positions: f64,
    },
    /// In texts longer than `original_positions`, the base grows with the length of the text ("dynamic NTK").
    Dynamic {
        /// How much the base grows.
        factor: f64,
        /// Positions without stretching.
        original_positions: f64,
    },
    /// Wavelengths that turn seldom within the original positions are stretched, those that turn often are not, with a ramp between them
    /// (YaRN; Peng et al. 2023).
    Yarn {
        /// The factor of long wavelengths.
        factor: f64,
        /// From so many turns on, a wavelength is not stretched.
        fast: f64,
        /// Up to so many turns, a wavelength is stretched by the whole factor.
        slow: f64,
        /// Positions before stretching.
        original_positions: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
    },
    /// Each wavelength has a factor of its own: one in texts of up to `original_positions`, another in longer ones (LongRoPE; Ding et al. 2024).
    LongRope {
        /// Factors in texts of up to `original_positions` tokens, half as many as rotated dimensions.
        short: Vec<f64>,
        /// Factors in longer texts.
        long: Vec<f64>,
        /// Positions before stretching.
        original_positions: f64,
    },
}
