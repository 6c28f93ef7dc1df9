//! Some rows of saved activations: those of the places that cotangents start from, or of the first places of every text.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::tokens::indices;

/// Some places of each text, the same in all texts of a batch.
pub(crate) trait Places<B: Backend> {
    /// Which they are.
    fn places(&self) -> &[usize];

    /// Their rows of something saved.
    ///
    /// # Shapes
    /// - `saved`: `[texts · width, size]`
    /// - result: `[texts · places, size]`
    fn of(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2>;

    /// Their rows of something that may not have been saved.
    fn of_optional(&self, saved: &Option<Tensor<B, 2>>) -> Option<Tensor<B, 2>> {
        saved.as_ref().map(|saved| self.of(saved))
    }

    /// Their rows among the queries of something broadcast over `[texts, heads, queries, keys]`.
    fn of_queries(&self, x: Tensor<B, 4>) -> Tensor<B, 4>;
}

/// The first places of each text: all that a step sees.
#[derive(Debug, Clone)]
pub(crate) struct First<B: Backend> {
    places: Vec<usize>,
    /// Rows of `[texts · width]`, of several texts: those of one lie together.
    saved: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> First<B> {
    /// The first `places` in texts of `width` places.
    pub(crate) fn new(places: usize, texts: usize, width: usize, device: &B::Device) -> Self {
        let rows = (0..texts).flat_map(|text| (0..places).map(move |place| (text * width + place) as i32));
        let saved = (texts > 1).then(|| indices(rows.collect(), device));
        Self { places: (0..places).collect(), saved }
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

impl<B: Backend> Places<B> for First<B> {
    fn places(&self) -> &[usize] {
        &self.places
    }

    fn of(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.saved {
            Some(rows) => saved.clone().select(0, rows.clone()),
            None => saved.clone().slice(0..self.len()),
        }
    }

    fn of_queries(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if x.dims()[2] == 1 { x } else { x.slice_dim(2, 0..self.len()) }
    }
}

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

impl<B: Backend> Places<B> for Rows<B> {
    fn places(&self) -> &[usize] {
        &self.places
    }

    fn of(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2> {
        saved.clone().select(0, self.saved.clone())
    }

    fn of_queries(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if x.dims()[2] == 1 {
            return x;
        }
        let places = self.places.iter().map(|&place| place as i32).collect();
        let places = indices(places, &x.device());
        x.select(2, places)
    }
}
