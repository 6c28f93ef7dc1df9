//! Some places of each text, the same in all texts of a batch, and their rows in what a pass saved.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::tokens::indices;

/// Places of each text: either some, or the first few.
#[derive(Debug, Clone)]
pub(crate) struct Places<B: Backend> {
    numbers: Vec<usize>,
    /// Whether they are the first places, so that slices will do.
    first: bool,
    /// Their rows in `[texts · width]`; `None` for the first places of a single text.
    rows: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> Places<B> {
    /// Some places in each of `texts` texts of `width` places.
    pub(crate) fn new(places: &[usize], texts: usize, width: usize, device: &B::Device) -> Self {
        Self { rows: Some(rows(places, texts, width, device)), numbers: places.to_vec(), first: false }
    }

    /// The first `places` in each of `texts` texts of `width` places.
    pub(crate) fn first(places: usize, texts: usize, width: usize, device: &B::Device) -> Self {
        let numbers: Vec<usize> = (0..places).collect();
        let rows = (texts > 1).then(|| rows(&numbers, texts, width, device));
        Self { numbers, first: true, rows }
    }

    /// Which places they are.
    pub(crate) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// How many there are in each text.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Their rows of something saved.
    ///
    /// # Shapes
    /// - `saved`: `[texts · width, size]`
    /// - result: `[texts · places, size]`
    pub(crate) fn of(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.rows {
            Some(rows) => saved.clone().select(0, rows.clone()),
            None => saved.clone().slice(0..self.len()),
        }
    }

    /// Their rows of something that may not have been saved.
    pub(crate) fn of_optional(&self, saved: &Option<Tensor<B, 2>>) -> Option<Tensor<B, 2>> {
        saved.as_ref().map(|saved| self.of(saved))
    }

    /// Their part of something broadcast over `[texts, heads, queries, keys]`, as queries.
    pub(crate) fn of_queries(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if x.dims()[2] == 1 {
            return x;
        }
        if self.first {
            return x.slice_dim(2, 0..self.len());
        }
        let numbers = indices(self.numbers.iter().map(|&place| place as i32).collect(), &x.device());
        x.select(2, numbers)
    }
}

fn rows<B: Backend>(places: &[usize], texts: usize, width: usize, device: &B::Device) -> Tensor<B, 1, Int> {
    let of_text = |text: usize| places.iter().map(move |place| (text * width + place) as i32);
    indices((0..texts).flat_map(of_text).collect(), device)
}
