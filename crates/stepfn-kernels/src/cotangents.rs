//! Several cotangents for one forward pass: how rows of gradients map to the saved activation rows that they share.

use burn::tensor::{Tensor, backend::Backend};

/// Maps gradient rows to saved activation rows.
///
/// Saved activations are `[texts · width, d]`, gradients `[texts · per_text · width, d]`. Row
/// `(text · per_text + cotangent) · width + position` of a gradient belongs to saved row `text · width + position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cotangents {
    /// Number of texts whose activations were saved.
    pub texts: usize,
    /// Number of cotangents per text.
    pub per_text: usize,
}

impl Cotangents {
    /// One gradient row per saved row, as in a plain backward pass.
    pub const fn one_each(texts: usize) -> Self {
        Self { texts, per_text: 1 }
    }

    /// How many gradient rows `saved` rows have.
    pub const fn rows(self, saved: usize) -> usize {
        saved * self.per_text
    }

    /// The saved row of a gradient row, given `saved` rows.
    #[inline(always)]
    pub(crate) fn saved_row(self, row: usize, saved: usize) -> usize {
        let width = saved / self.texts;
        row / (self.per_text * width) * width + row % width
    }

    /// Whether `grad` gradient rows match `saved` rows.
    pub(crate) fn fit(self, grad: usize, saved: usize) -> bool {
        self.texts > 0 && saved.is_multiple_of(self.texts) && grad == self.rows(saved)
    }

    /// Saved rows with a dimension that broadcasts over the cotangents.
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
