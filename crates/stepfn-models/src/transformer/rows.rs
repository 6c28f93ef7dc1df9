//! Single rows of saved activations: those of the places that cotangents start from.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::tokens::indices;

/// One place of a text for each cotangent, the same in all texts of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Rows<B: Backend> {
    places: Vec<usize>,
    width: usize,
    /// Rows of `[texts · width]`, `[texts · cotangents]`.
    saved: Tensor<B, 1, Int>,
    /// Rows of `[texts · cotangents · width]`, `[texts · cotangents]`.
    spread: Tensor<B, 1, Int>,
}

impl<B: Backend> Rows<B> {
    /// The rows of `places` in texts of `width` places.
    pub(crate) fn new(texts: usize, width: usize, places: &[usize], device: &B::Device) -> Self {
        let row = |first: usize, place: usize| (first * width + place) as i32;
        let of_text = |text: usize| places.iter().map(move |&place| row(text, place));
        let saved = (0..texts).flat_map(of_text).collect();
        let cotangents = (0..texts).flat_map(|_| places).enumerate();
        let spread = cotangents.map(|(cotangent, &place)| row(cotangent, place)).collect();
        Self { places: places.to_vec(), width, saved: indices(saved, device), spread: indices(spread, device) }
    }

    /// The place of each cotangent.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// Those rows of something saved.
    ///
    /// # Shapes
    /// - `saved`: `[texts · width, size]`
    /// - result: `[texts · cotangents, size]`
    pub(crate) fn of(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2> {
        saved.clone().select(0, self.saved.clone())
    }

    /// Those rows of something that may not have been saved.
    pub(crate) fn of_optional(&self, saved: &Option<Tensor<B, 2>>) -> Option<Tensor<B, 2>> {
        saved.as_ref().map(|saved| self.of(saved))
    }

    /// The rows of each text's queries in something broadcast over `[texts, heads, queries, keys]`.
    pub(crate) fn of_queries(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if x.dims()[2] == 1 {
            return x;
        }
        let places = self.places.iter().map(|&place| place as i32).collect();
        let places = indices(places, &x.device());
        x.select(2, places)
    }

    /// Adds rows to those of all places.
    ///
    /// # Shapes
    /// - `all`, result: `[texts · cotangents · width, size]`
    /// - `own`: `[texts · cotangents, size]`
    pub(crate) fn add_to(&self, all: Tensor<B, 2>, own: Tensor<B, 2>) -> Tensor<B, 2> {
        all.select_assign(0, self.spread.clone(), own, burn::tensor::IndexingUpdateOp::Add)
    }

    /// Rows with nothing around them.
    ///
    /// # Shapes
    /// - `own`: `[texts · cotangents, size]`
    /// - result: `[texts · cotangents · width, size]`
    pub(crate) fn spread(&self, own: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, size] = own.dims();
        let zeros = Tensor::zeros([rows * self.width, size], (&own.device(), own.dtype()));
        self.add_to(zeros, own)
    }
}
