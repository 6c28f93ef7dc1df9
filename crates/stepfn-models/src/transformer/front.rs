//! Where cotangents are on their way back: at some places, or at all of them.
//!
//! A cotangent starts at the places that predict its step or its span. As long as it stays there, a backward only has to look at those rows.
//! Attention moves it to every place that was read, and below the last block all cotangents are everywhere. [`Front`] says which of the two
//! it is, [`Gradients`] carries the rows.

use std::sync::Arc;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, backend::Backend};
use stepfn_kernels::Cotangents;

use super::places::Places;
use super::tokens::indices;

/// At which places each cotangent starts, the same in all texts of a batch.
///
/// ```
/// use stepfn_models::transformer::Starts;
///
/// let steps = Starts::one_each(&[3, 4]); // two cotangents: step 4, and step 5
/// let spans = Starts::new(vec![vec![3, 4], vec![7]]); // the sum of two steps, and one step
/// assert_eq!((steps.cotangents(), steps.rows()), (2, 2));
/// assert_eq!((spans.cotangents(), spans.rows()), (2, 3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starts {
    places: Vec<Vec<usize>>,
}

impl Starts {
    /// One cotangent for each of these places.
    pub fn one_each(places: &[usize]) -> Self {
        Self { places: places.iter().map(|&place| vec![place]).collect() }
    }

    /// One cotangent for each list of places. A cotangent that starts at several places belongs to a sum: that of the steps of a span, for
    /// instance.
    pub fn new(places: Vec<Vec<usize>>) -> Self {
        Self { places }
    }

    /// The places of each cotangent.
    pub fn places(&self) -> &[Vec<usize>] {
        &self.places
    }

    /// How many cotangents there are for each text.
    pub fn cotangents(&self) -> usize {
        self.places.len()
    }

    /// Rows of gradients for each text: one for each place of each cotangent, in this order.
    pub fn rows(&self) -> usize {
        self.places.iter().map(Vec::len).sum()
    }
}

/// Where cotangents are.
#[derive(Debug, Clone)]
pub(crate) enum Front<B: Backend> {
    /// At the places where they started: gradients are `[texts · rows, size]`.
    Rows(Arc<Rows<B>>),
    /// At all places: gradients are `[texts · cotangents · places, size]`.
    All(Cotangents),
}

/// The places where cotangents start.
#[derive(Debug)]
pub(crate) struct Rows<B: Backend> {
    places: Places<B>,
    /// For each row, its number among the rows of all places, `[texts · cotangents · width]`.
    among_all: Tensor<B, 1, Int>,
    cotangents: Cotangents,
    width: usize,
    one_each: bool,
    /// For each row, the number of its cotangent, in all texts.
    cotangent_of: Tensor<B, 1, Int>,
}

impl<B: Backend> Front<B> {
    /// Where cotangents start, in `texts` texts of `width` places.
    pub(crate) fn new(starts: &Starts, texts: usize, width: usize, device: &B::Device) -> Self {
        let cotangents = Cotangents { texts, per_text: starts.cotangents() };
        let lists = (0..texts).flat_map(|_| starts.places()).enumerate();
        let among_all =
            lists.flat_map(|(cotangent, places)| places.iter().map(move |place| (cotangent * width + place) as i32));
        let lists = (0..texts).flat_map(|_| starts.places()).enumerate();
        let cotangent_of = lists.flat_map(|(cotangent, places)| places.iter().map(move |_| cotangent as i32));
        Self::Rows(Arc::new(Rows {
            cotangent_of: indices(cotangent_of.collect(), device),
            places: Places::new(&starts.places().concat(), texts, width, device),
            among_all: indices(among_all.collect(), device),
            cotangents,
            width,
            one_each: starts.places().iter().all(|places| places.len() == 1),
        }))
    }

    /// How many cotangents each text has.
    pub(crate) fn cotangents(&self) -> Cotangents {
        match self {
            Front::Rows(rows) => rows.cotangents,
            Front::All(cotangents) => *cotangents,
        }
    }

    /// The places that cotangents are at, unless they are at all of them.
    pub(crate) fn places(&self) -> Option<&Places<B>> {
        match self {
            Front::Rows(rows) => Some(&rows.places),
            Front::All(_) => None,
        }
    }

    /// Whether every cotangent is at one place.
    pub(crate) fn is_one_each(&self) -> bool {
        matches!(self, Front::Rows(rows) if rows.one_each)
    }

    /// The rows of something saved that belong to the cotangents.
    ///
    /// # Shapes
    /// - `saved`: `[texts · width, size]`
    /// - result: the same, or `[texts · rows, size]`
    pub(crate) fn saved(&self, saved: &Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Front::Rows(rows) => rows.places.of(saved),
            Front::All(_) => saved.clone(),
        }
    }

    /// How gradients lie over [those rows](Self::saved).
    pub(crate) fn over(&self) -> Cotangents {
        match self {
            Front::Rows(_) => Cotangents::one_each(1),
            Front::All(cotangents) => *cotangents,
        }
    }
}

impl<B: Backend> Rows<B> {
    /// The sum over the rows of each cotangent.
    ///
    /// # Shapes
    /// - `x`: `[texts · rows, size]`; result: `[texts · cotangents, size]`
    pub(crate) fn by_cotangent(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.one_each {
            return x;
        }
        let [_, size] = x.dims();
        let zeros = Tensor::zeros([self.cotangents.rows(self.cotangents.texts), size], (&x.device(), x.dtype()));
        zeros.select_assign(0, self.cotangent_of.clone(), x, IndexingUpdateOp::Add)
    }

    /// Adds the gradients at these rows to those at all places.
    ///
    /// # Shapes
    /// - `all`, result: `[texts · cotangents · width, size]`
    /// - `grad`: `[texts · rows, size]`
    fn add_to(&self, all: Tensor<B, 2>, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        all.select_assign(0, self.among_all.clone(), grad, IndexingUpdateOp::Add)
    }

    /// The gradients at these rows as gradients at all places: zero everywhere else.
    fn spread(&self, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        let [_, size] = grad.dims();
        let rows = self.cotangents.rows(self.cotangents.texts * self.width);
        let zeros = Tensor::zeros([rows, size], (&grad.device(), grad.dtype()));
        self.add_to(zeros, grad)
    }
}

/// The gradients of all cotangents with respect to one tensor, and where they are.
///
/// Attention sends gradients to the queries, which are few, and to the keys, which are everywhere. Both are kept as they are until they
/// [have to](Self::settled) be one tensor: everything between is linear, and adding few rows to many copies the many.
#[derive(Debug, Clone)]
pub(crate) struct Gradients<B: Backend> {
    /// Their sum is meant; at most one piece at rows, and at most one at all places.
    pieces: Vec<(Tensor<B, 2>, Front<B>)>,
}

impl<B: Backend> Gradients<B> {
    /// Gradients at a front.
    ///
    /// # Shapes
    /// - `grad`: as the [`Front`] says
    pub(crate) fn new(grad: Tensor<B, 2>, front: Front<B>) -> Self {
        Self { pieces: vec![(grad, front)] }
    }

    /// Gradients over rows that have one cotangent each.
    ///
    /// # Shapes
    /// - `grad`: `[rows, size]`
    pub(crate) fn of_rows(grad: Tensor<B, 2>) -> Self {
        Self::new(grad, Front::All(Cotangents::one_each(1)))
    }

    /// What a linear function of single rows makes of them.
    pub(crate) fn map(self, mut f: impl FnMut(Tensor<B, 2>, &Front<B>) -> Tensor<B, 2>) -> Self {
        let pieces = self.pieces.into_iter().map(|(grad, front)| (f(grad, &front), front));
        Self { pieces: pieces.collect() }
    }

    /// Multiplies them by factors that cotangents share.
    ///
    /// # Shapes
    /// - `factor`: `[texts · width, size]`, or `None` to multiply by nothing
    pub(crate) fn scaled(self, factor: Option<&Tensor<B, 2>>) -> Self {
        match factor {
            Some(factor) => self.map(|grad, front| scaled(grad, front.saved(factor), front.over())),
            None => self,
        }
    }

    /// The sum of gradients with respect to the same tensor.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        for (grad, front) in other.pieces {
            let same = |(_, at): &(Tensor<B, 2>, Front<B>)| at.places().is_some() == front.places().is_some();
            match self.pieces.iter().position(same) {
                Some(index) => {
                    let (sum, front) = self.pieces.swap_remove(index);
                    self.pieces.push((sum + grad, front));
                }
                None => self.pieces.push((grad, front)),
            }
        }
        self
    }

    /// As one tensor: at all places as soon as any of them are.
    pub(crate) fn settled(self) -> (Tensor<B, 2>, Front<B>) {
        let mut at_rows = None;
        let mut at_all = None;
        for (grad, front) in self.pieces {
            match front {
                Front::Rows(rows) => at_rows = Some((grad, rows)),
                Front::All(cotangents) => at_all = Some((grad, cotangents)),
            }
        }
        match (at_rows, at_all) {
            (Some((grad, rows)), None) => (grad, Front::Rows(rows)),
            (Some((grad, rows)), Some((all, cotangents))) => (rows.add_to(all, grad), Front::All(cotangents)),
            (None, Some((all, cotangents))) => (all, Front::All(cotangents)),
            (None, None) => unreachable!("gradients are made of a piece or more"),
        }
    }

    /// As one tensor at all places.
    ///
    /// # Shapes
    /// - result: `[texts · cotangents · width, size]`
    pub(crate) fn everywhere(self) -> (Tensor<B, 2>, Cotangents) {
        match self.settled() {
            (grad, Front::Rows(rows)) => (rows.spread(grad), rows.cotangents),
            (grad, Front::All(cotangents)) => (grad, cotangents),
        }
    }
}

/// `grad ⊙ factor`, the factor shared by the cotangents of a text.
///
/// # Shapes
/// - `grad`, result: `[texts · cotangents · places, width]`
/// - `factor`: `[texts · places, width]`, or `[texts · places, 1]`
pub(crate) fn scaled<B: Backend>(grad: Tensor<B, 2>, factor: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
    let [rows, width] = grad.dims();
    let [saved, factors] = factor.dims();
    let Cotangents { texts, per_text } = cotangents;
    if per_text == 1 {
        return grad * factor;
    }
    let places = saved / texts;
    let grad = grad.reshape([texts, per_text, places, width]);
    (grad * factor.reshape([texts, 1, places, factors])).reshape([rows, width])
}
