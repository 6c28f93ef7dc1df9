//! Dropout as an argument of the forward pass, never a state of the model (Srivastava et al. 2014; as a Bayesian approximation, Gal &
//! Ghahramani 2016, arXiv:1506.02142). The masks are those of [`stepfn_kernels::dropout`]: functions of seed, text, sample and place alone.

use burn::tensor::{DType, Tensor, backend::Backend};
use stepfn_kernels::dropout::{DropRate, MaskRow, MaskStream, Site, Stack as MaskedStack};

use super::TokenBatch;
use crate::config::DropoutRates;

/// Whether neurons are dropped.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Dropout {
    /// None are.
    #[default]
    Off,
    /// Some are, at random.
    On {
        /// The seed of the random masks.
        seed: u64,
        /// Which pass each text of the batch is: one entry per text.
        passes: Vec<NoisyPass>,
        /// Rates to use instead of the checkpoint's, at whatever sites they are for.
        rates: Option<DropoutRates>,
    },
}

/// One noisy pass of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoisyPass {
    /// The text's number in the whole run, not in its batch.
    pub text: u32,
    /// The number of the pass.
    pub sample: u32,
}

/// The masks of one stack in one forward pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Masks<'a> {
    pub(crate) dropout: &'a Dropout,
    pub(crate) published: DropoutRates,
    pub(crate) stack: MaskedStack,
    pub(crate) batch: &'a TokenBatch,
    /// Places at the end of every text that are computed.
    pub(crate) places: usize,
    /// The element type of what is multiplied by them.
    pub(crate) dtype: DType,
}

impl Masks<'_> {
    /// The rates that apply.
    pub(crate) fn rates(&self) -> DropoutRates {
        match self.dropout {
            Dropout::On { rates: Some(rates), .. } => *rates,
            _ => self.published,
        }
    }

    /// What attention probabilities are multiplied by, `[texts, heads, places, keys]`.
    pub(crate) fn attention<B: Backend>(
        &self,
        layer: usize,
        site: Site,
        heads: usize,
        keys: &TokenBatch,
        device: &B::Device,
    ) -> Option<Tensor<B, 4>> {
        let (texts, width) = (self.batch.len(), keys.width());
        // Element `key position · heads + head`: the same whatever the padding.
        let mask = self.multipliers(layer, site, self.rates().attention, width * heads, device)?;
        let mask: Tensor<B, 4> = mask.reshape([texts, self.places, width, heads]).swap_dims(2, 3).swap_dims(1, 2);
        if (0..texts).all(|text| keys.start(text) == 0) {
            return Some(mask);
        }
        let shifted = |text: usize| {
            let start = keys.start(text);
            let of_text =
                |range: core::ops::Range<usize>| mask.clone().slice([text..text + 1, 0..heads, 0..self.places, range]);
            // Probabilities of keys in the padding are 0.
            Tensor::cat(vec![of_text(width - start..width), of_text(0..width - start)], 3)
        };
        Some(Tensor::cat((0..texts).map(shifted).collect(), 0))
    }

    /// What activations of one site are multiplied by, `[texts · places, width]`; `None` where nothing is dropped.
    pub(crate) fn multipliers<B: Backend>(
        &self,
        layer: usize,
        site: Site,
        rate: Option<f64>,
        width: usize,
        device: &B::Device,
    ) -> Option<Tensor<B, 2>> {
        let Dropout::On { seed, passes, .. } = self.dropout else { return None };
        let rate = DropRate::new(rate?).filter(|rate| rate.get() > 0.0)?;
        let row = |text: usize, place| {
            let NoisyPass { text: number, sample } = passes[text];
            let position = self.batch.position(text, place).unwrap_or(0) as u32;
            MaskRow { text: number, sample, position }
        };
        let stream = MaskStream::new(*seed, self.stack, layer as u32, site);
        let mask: Tensor<B, 2> = stream.mask(&self.batch.map(self.places, row), width, rate, device);
        Some(if mask.dtype() == self.dtype { mask } else { mask.cast(self.dtype) })
    }
}
