//! The numbers of panels, in single or in half precision.

use core::ops::Range;

use burn::tensor::{DType, bf16, f16};

#[cfg(all(feature = "flex", target_arch = "x86_64"))]
use super::tiles::{Instructions, PanelRows};

/// Numbers as they are stored.
#[derive(Debug)]
pub(super) enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    /// So many zeros in an element type. What isn't half precision is stored in single precision.
    pub(super) fn zeros(element: DType, count: usize) -> Self {
        match element {
            DType::F16 => Self::F16(vec![f16::ZERO; count]),
            DType::BF16 => Self::Bf16(vec![bf16::ZERO; count]),
            _ => Self::F32(vec![0.0; count]),
        }
    }

    pub(super) fn element(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::BF16,
        }
    }

    /// Of some numbers, the one with index `first` and then every `step`th.
    pub(super) fn every(&self, range: Range<usize>, (first, step): (usize, usize), values: &mut [f32]) {
        let values = values.iter_mut();
        match self {
            Self::F32(all) => values.zip(all[range][first..].iter().step_by(step)).for_each(|(to, from)| *to = *from),
            Self::F16(all) => {
                values.zip(all[range][first..].iter().step_by(step)).for_each(|(to, from)| *to = from.to_f32());
            }
            Self::Bf16(all) => {
                values.zip(all[range][first..].iter().step_by(step)).for_each(|(to, from)| *to = from.to_f32());
            }
        }
    }

    /// Some rows of a panel: as they are, or, if they are to be read `often`, widened into `near`. The pointer is
    /// valid until `near` changes, and to as many numbers as the range has.
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    pub(super) fn rows(&self, with: Instructions, range: Range<usize>, often: bool, near: &mut Vec<f32>) -> PanelRows {
        match self {
            Self::F32(numbers) => PanelRows::F32(numbers[range].as_ptr()),
            Self::F16(numbers) if !often => PanelRows::F16(numbers[range].as_ptr()),
            Self::Bf16(numbers) if !often => PanelRows::Bf16(numbers[range].as_ptr()),
            Self::F16(_) | Self::Bf16(_) => {
                near.resize(near.len().max(range.len()), 0.0);
                let near = &mut near[..range.len()];
                self.widen(with, range, near);
                PanelRows::F32(near.as_ptr())
            }
        }
    }

    /// Pieces of `length` numbers that start `stride` after each other, in single precision: as they are, or widened into `near`, with their distance.
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    pub(super) fn pieces<'n>(
        &'n self,
        with: Instructions,
        start: usize,
        (pieces, length, stride): (usize, usize, usize),
        near: &'n mut Vec<f32>,
    ) -> (&'n [f32], usize) {
        if let Self::F32(numbers) = self {
            return (&numbers[start..start + pieces.saturating_sub(1) * stride + length], stride);
        }
        if near.len() < pieces * length {
            near.resize(pieces * length, 0.0);
        }
        for (piece, near) in near.chunks_exact_mut(length.max(1)).enumerate().take(pieces) {
            let start = start + piece * stride;
            self.widen(with, start..start + length, near);
        }
        (&near[..pieces * length], length)
    }

    /// Writes some numbers in single precision, which take the machine's instructions.
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    fn widen(&self, with: Instructions, range: Range<usize>, to: &mut [f32]) {
        match self {
            Self::F32(numbers) => to.copy_from_slice(&numbers[range]),
            Self::F16(numbers) => widen::f16s(with, &numbers[range], to),
            Self::Bf16(numbers) => widen::bf16s(with, &numbers[range], to),
        }
    }
}

/// Loops that are compiled for each of the machines' instructions.
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod widen {
    use core::arch::x86_64::*;

    use burn::tensor::{bf16, f16};

    use super::Instructions;

    #[allow(unsafe_code, reason = "the machine has the instructions, which the compiler can't know")]
    pub(super) fn f16s(with: Instructions, from: &[f16], to: &mut [f32]) {
        // SAFETY: `Instructions` are only named if the machine has them.
        unsafe {
            match with {
                Instructions::Avx512 => f16s_avx512(from, to),
                Instructions::Avx2 => f16s_avx2(from, to),
            }
        }
    }

    #[allow(unsafe_code, reason = "the machine has the instructions, which the compiler can't know")]
    pub(super) fn bf16s(with: Instructions, from: &[bf16], to: &mut [f32]) {
        // SAFETY: `Instructions` are only named if the machine has them.
        unsafe {
            match with {
                Instructions::Avx512 => bf16s_avx512(from, to),
                Instructions::Avx2 => bf16s_avx2(from, to),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn f16s_avx512(from: &[f16], to: &mut [f32]) {
        let (from, rest) = from.as_chunks::<16>();
        let (to, end) = to.as_chunks_mut::<16>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: both have 16 elements.
            #[allow(unsafe_code, reason = "vectors are loaded from pointers")]
            unsafe {
                _mm512_storeu_ps(to.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())));
            }
        }
        end.iter_mut().zip(rest).for_each(|(to, from)| *to = from.to_f32());
    }

    #[target_feature(enable = "avx2,f16c")]
    fn f16s_avx2(from: &[f16], to: &mut [f32]) {
        let (from, rest) = from.as_chunks::<8>();
        let (to, end) = to.as_chunks_mut::<8>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: both have 8 elements.
            #[allow(unsafe_code, reason = "vectors are loaded from pointers")]
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())));
            }
        }
        end.iter_mut().zip(rest).for_each(|(to, from)| *to = from.to_f32());
    }

    /// A bf16 is the upper half of an f32.
    #[inline(always)]
    fn shifted(from: &[bf16], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from_bits(u32::from(from.to_bits()) << 16));
    }

    #[target_feature(enable = "avx512f")]
    fn bf16s_avx512(from: &[bf16], to: &mut [f32]) {
        shifted(from, to);
    }

    #[target_feature(enable = "avx2")]
    fn bf16s_avx2(from: &[bf16], to: &mut [f32]) {
        shifted(from, to);
    }
}
