//! One forward pass, many cotangents: how rows of gradients lie over the rows of activations that they share.

use burn::tensor::{DType, Tensor, backend::Backend};

/// How gradient rows lie over saved rows.
///
/// Saved activations are `[texts · width, d]`; gradients are `[texts · per_text · width, d]`: row `(text · per_text + cotangent) · width +
/// place` of a gradient belongs to saved row `text · width + place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cotangents {
    /// Texts whose activations were saved.
    pub texts: usize,
    /// Cotangents of each text.
    pub per_text: usize,
}

impl Cotangents {
    /// One gradient row for each of the saved rows, as in a forward pass.
    pub const fn one_each(texts: usize) -> Self {
        Self { texts, per_text: 1 }
    }

    /// How many gradient rows there are over `saved` rows.
    pub const fn rows(self, saved: usize) -> usize {
        saved * self.per_text
    }

    /// The saved row of a gradient row, of `saved` rows.
    #[inline(always)]
    pub(crate) fn saved_row(self, row: usize, saved: usize) -> usize {
        let width = saved / self.texts;
        row / (self.per_text * width) * width + row % width
    }

    /// Whether `grad` rows lie over `saved` rows in this way.
    pub(crate) fn fit(self, grad: usize, saved: usize) -> bool {
        self.texts > 0 && saved.is_multiple_of(self.texts) && grad == self.rows(saved)
    }

    /// Saved rows seen from above: broadcast over the cotangents.
    ///
    /// # Shapes
    /// - `saved`: `[texts · width, d]`, result: `[texts, 1, width, d]`
    pub(crate) fn shared<B: Backend>(self, saved: Tensor<B, 2>) -> Tensor<B, 4> {
        let [rows, d] = saved.dims();
        saved.reshape([self.texts, 1, rows / self.texts.max(1), d])
    }

    /// Gradient rows with a dimension for the cotangents.
    ///
    /// # Shapes
    /// - `grad`: `[texts · per_text · width, d]`, result: `[texts, per_text, width, d]`
    pub(crate) fn apart<B: Backend>(self, grad: Tensor<B, 2>) -> Tensor<B, 4> {
        let [rows, d] = grad.dims();
        grad.reshape([self.texts, self.per_text, rows / (self.texts * self.per_text).max(1), d])
    }

    /// The reverse of [`apart`](Self::apart).
    pub(crate) fn joined<B: Backend>(grad: Tensor<B, 4>) -> Tensor<B, 2> {
        let [texts, per_text, width, d] = grad.dims();
        grad.reshape([texts * per_text * width, d])
    }
}

/// Whether sums in this type lose too many digits.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}
