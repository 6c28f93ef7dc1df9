//! How positions enter a stack: added to embeddings, rotated into queries and keys, or as a bias on attention scores. All tables are made
//! once per forward pass.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::rotary::Rotation;

use super::tokens::{TokenBatch, indices};
use crate::config::{Positions, QueryGrowth, RotaryConfig, RotaryScaling};

impl RotaryConfig {
    /// By which angles queries and keys at the last `places` of every text are rotated (Su et al. 2021). Some scalings depend on the length of the text.
    pub(crate) fn rotation<B: Backend>(
        &self,
        batch: &TokenBatch,
        places: usize,
        dtype: DType,
        device: &B::Device,
    ) -> Rotation<B> {
        let frequencies: Vec<Vec<f32>> = (0..batch.len()).map(|text| self.frequencies(batch.length(text))).collect();
        let factor = self.attention_factor as f32;
        let table = |f: fn(f32) -> f32| {
            let angles = |text: usize, place| {
                let position = batch.position(text, place).unwrap_or(0) as f32;
                let frequencies = &frequencies[text];
                // Both halves turn by the same angles.
                let angles =
                    frequencies.iter().chain(frequencies).map(move |frequency| factor * f(position * frequency));
                angles.collect::<Vec<f32>>()
            };
            let values: Vec<f32> = batch.map(places, angles).concat();
            let data = TensorData::new(values, [batch.len() * places, self.dim]).convert_dtype(dtype);
            Tensor::<B, 2>::from_data(data, (device, dtype))
        };
        Rotation { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// `θ^(−2i/dim)`, stretched, in a text of `tokens`.
    pub(crate) fn frequencies(&self, tokens: usize) -> Vec<f32> {
        let dim = self.dim as f64;
        let theta = match self.scaling {
            RotaryScaling::Dynamic { factor, original_positions } => {
                let stretched = factor * (tokens as f64).max(original_positions) / original_positions - (factor - 1.0);
                self.theta * stretched.powf(dim / (dim - 2.0).max(1.0))
            }
            _ => self.theta,
        };
        let frequency = |i: usize| {
            let frequency = 1.0 / (theta as f32).powf(2.0 * i as f32 / self.dim as f32);
            match &self.scaling {
                RotaryScaling::None | RotaryScaling::Dynamic { .. } => frequency,
                RotaryScaling::Linear { factor } => frequency / *factor as f32,
                RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
                    let frequency = f64::from(frequency);
                    let turns = original_positions * frequency / (2.0 * core::f64::consts::PI);
                    let stretched = if turns < *low_freq_factor {
                        frequency / factor
                    } else if turns > *high_freq_factor {
                        frequency
                    } else {
                        let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    };
                    stretched as f32
                }
                RotaryScaling::Yarn { factor, fast, slow, original_positions, truncate } => {
                    // The dimension whose wavelength turns so often within the original positions.
                    let turning = |turns: f64| {
                        let wavelength = original_positions / (turns * 2.0 * core::f64::consts::PI);
                        dim * wavelength.ln() / (2.0 * theta.ln())
                    };
                    let (low, high) = (turning(*fast), turning(*slow));
                    let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                    let (low, high) = (low.max(0.0), high.min(dim - 1.0));
                    let high = if low == high { high + 0.001 } else { high };
                    let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0) as f32;
                    frequency / *factor as f32 * stretched + frequency * (1.0 - stretched)
                }
                RotaryScaling::LongRope { short, long, original_positions } => {
                    let factors = if tokens as f64 > *original_positions { long } else { short };
                    factors.get(i).map_or(frequency, |factor| frequency / *factor as f32)
                }
            }
        };
        (0..self.dim / 2).map(frequency).collect()
    }
}

impl Positions {
    /// Sinusoids to add to the embeddings of the last `places` of every text, `[texts · places, hidden]`; `None` for other kinds of positions.
    pub(crate) fn sinusoids<B: Backend>(
        &self,
        batch: &TokenBatch,
        places: usize,
        hidden: usize,
        dtype: DType,
        device: &B::Device,
    ) -> Option<Tensor<B, 2>> {
        let (offset, steepness) = match *self {
            Positions::SinusoidalHalves { .. } => (0, hidden as f64 / 2.0),
            Positions::SinusoidalFairseq { offset, .. } => (offset, hidden as f64 / 2.0 - 1.0),
            _ => return None,
        };
        let half = hidden / 2;
        let row = |text, place| {
            let position = batch.position(text, place).map_or(0, |position| position + offset) as f64;
            let angle = |i: usize| position * (-(10_000f64.ln()) * i as f64 / steepness).exp();
            let value = |i: usize| if i < half { angle(i).sin() } else { angle(i - half).cos() };
            (0..hidden).map(|i| value(i) as f32).collect::<Vec<f32>>()
        };
        let values: Vec<f32> = batch.map(places, row).concat();
        let data = TensorData::new(values, [batch.len() * places, hidden]).convert_dtype(dtype);
        Some(Tensor::from_data(data, (device, dtype)))
    }
}

/// What queries at the last `places` of every text are multiplied by, `[texts · places, 1]`.
pub(crate) fn growth<B: Backend>(
    QueryGrowth { rate, positions }: QueryGrowth,
    batch: &TokenBatch,
    (places, dtype, device): (usize, DType, &B::Device),
) -> Tensor<B, 2> {
    let factor = |text, place| {
        let position = batch.position(text, place).unwrap_or(0) as f64;
        (1.0 + rate * (position / positions).floor().ln_1p()) as f32
    };
    let data = TensorData::new(batch.map(places, factor), [batch.len() * places, 1]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// Rows of a table of learned positions for the last `places` of every text, `[texts · places]`.
pub(crate) fn learned_rows<B: Backend>(
    batch: &TokenBatch,
    places: usize,
    offset: usize,
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    let row = |text, place| batch.position(text, place).map_or(0, |position| position + offset) as i32;
    indices(batch.map(places, row), device)
}

/// The buckets of the distances between all places (Raffel et al. 2020): near ones exactly, far ones logarithmically.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    pub(crate) buckets: usize,
    pub(crate) max_distance: usize,
    /// Whether keys after the query have their own buckets; else they share that of distance 0.
    pub(crate) bidirectional: bool,
}

impl Buckets {
    /// The buckets of the last `places` of `width` as queries and of `keys` places as keys, `[queries, keys]`.
    pub(crate) fn table<B: Backend>(
        self,
        places: usize,
        [width, keys]: [usize; 2],
        device: &B::Device,
    ) -> Tensor<B, 2, Int> {
        let pairs = (width - places..width).flat_map(|query| (0..keys).map(move |key| (query, key)));
        let buckets = pairs.map(|(query, key)| self.bucket(query, key) as i32).collect();
        indices(buckets, device).reshape([places, keys])
    }

    fn bucket(self, query: usize, key: usize) -> usize {
        let (buckets, first) = match self.bidirectional {
            true => (self.buckets / 2, if key > query { self.buckets / 2 } else { 0 }),
            false => (self.buckets, 0),
        };
        let distance = if self.bidirectional { query.abs_diff(key) } else { query.saturating_sub(key) };
        let exact = buckets / 2;
        if distance < exact {
            return first + distance;
        }
        let logarithm = (distance as f64 / exact as f64).ln() / (self.max_distance as f64 / exact as f64).ln();
        first + (exact + (logarithm * (buckets - exact) as f64) as usize).min(buckets - 1)
    }
}

/// The slopes of ALiBi (Press et al. 2022): powers of `2^(−8/n)` for n heads, n a power of two; others take every other slope of twice as many.
pub(crate) fn alibi_slopes(heads: usize) -> Vec<f32> {
    let power = 1usize << heads.ilog2();
    let slope = |i: usize, n: usize| 2f64.powf(-8.0 * i as f64 / n as f64) as f32;
    let first = (1..=power).map(|i| slope(i, power));
    let rest = (0..heads - power).map(|i| slope(2 * i + 1, 2 * power));
    first.chain(rest).collect()
}
