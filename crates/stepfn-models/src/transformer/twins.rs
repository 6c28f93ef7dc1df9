//! Places that have read the same. Texts that begin alike have the same hidden states there, and a causal stack computes them once.
//!
//! All but attention looks at each place by itself, and runs on one of each set of twins. Attention sees whole texts: what it reads is copied to all
//! places, and what it returns is taken of one.

use std::collections::HashMap;

use burn::tensor::{Int, Tensor, backend::Backend};

use super::TokenBatch;
use super::tokens::indices;
use crate::config::Positions;

/// The twins among the last places of every text.
#[derive(Debug, Clone)]
pub(crate) struct Twins<B: Backend> {
    /// The place of each that runs, `[running]`.
    running: Tensor<B, 1, Int>,
    /// Which of those each place is like, `[texts · places]`.
    like: Tensor<B, 1, Int>,
}

impl<B: Backend> Twins<B> {
    /// Of the last `places` of every text; `None` where too few have twins for a copy to be worth it.
    pub(crate) fn of(
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        positions: &Positions,
        places: usize,
        device: &B::Device,
    ) -> Option<Self> {
        let (running, like) = found(batch, source, positions, places);
        // Copies take about as long as a fiftieth of the work.
        let worth_it = running.len() * 20 <= like.len() * 19;
        worth_it.then(|| Self { running: indices(running, device), like: indices(like, device) })
    }

    /// The rows that run.
    ///
    /// # Shapes
    /// - `x`: `[texts · places, size]`; result: `[running, size]`
    pub(crate) fn once(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.select(0, self.running.clone())
    }

    /// The reverse of [`once`](Self::once): the rows of all places.
    pub(crate) fn everywhere(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.select(0, self.like.clone())
    }
}

/// The places that run, and which of them each place is like. What is in the padding is never read, and is like any.
fn found(
    batch: &TokenBatch,
    source: Option<&TokenBatch>,
    positions: &Positions,
    places: usize,
) -> (Vec<i32>, Vec<i32>) {
    let (width, texts) = (batch.width(), batch.len());
    let first = width - places;
    // A place is known by the one before it and by its own token: as in a tree, whose roots have what all places of a text read.
    let mut nodes: HashMap<(usize, u32, bool), usize> = HashMap::new();
    let mut rows: HashMap<usize, i32> = HashMap::new();
    let (mut running, mut like) = (Vec::new(), vec![0; texts * places]);
    let roots = roots(batch, source, positions);
    for (text, root) in roots.into_iter().enumerate() {
        let (mut node, start) = (root, batch.start(text));
        for (position, &id) in batch.texts()[text].iter().enumerate() {
            let place = start + position;
            let next = texts + nodes.len();
            node = *nodes.entry((node, id, batch.is_hidden(text, place))).or_insert(next);
            if let Some(place) = place.checked_sub(first) {
                let at = text * places + place;
                like[at] = *rows.entry(node).or_insert_with(|| {
                    running.push(at as i32);
                    running.len() as i32 - 1
                });
            }
        }
    }
    (running, like)
}

/// For each text the first that has the same source, and the same positions.
fn roots(batch: &TokenBatch, source: Option<&TokenBatch>, positions: &Positions) -> Vec<usize> {
    let mut roots: Vec<usize> = Vec::with_capacity(batch.len());
    let mut known: Vec<usize> = Vec::new();
    for text in 0..batch.len() {
        let alike = |other: &&usize| {
            let other = **other;
            let lengths = [batch.length(text), batch.length(other)];
            source.is_none_or(|source| source.are_same(text, other))
                && (lengths[0] == lengths[1] || positions.same_in(lengths[0], lengths[1]))
        };
        let root = known.iter().find(alike).copied();
        if root.is_none() {
            known.push(text);
        }
        roots.push(root.unwrap_or(text));
    }
    roots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transformer::PaddingSide;

    const POSITIONS: Positions = Positions::Learned { offset: 0, rows: 9 };

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// By comparing each pair of places.
        #[test]
        fn twins_are_the_places_that_have_read_the_same(
            texts in prop::collection::vec(prop::collection::vec(0u32..3, 1..7), 1..6),
            hidden in prop::collection::vec(0usize..6, 6),
            left in any::<bool>(),
            cached in 0usize..3,
        ) {
            let side = if left { PaddingSide::Left } else { PaddingSide::Right };
            let hidden: Vec<Vec<usize>> = texts.iter().zip(&hidden).map(|(_, &place)| vec![place]).collect();
            let batch = TokenBatch::new(texts, 3, side).unwrap().hiding(hidden);
            let places = (batch.width() - cached.min(batch.width() - 1)).max(1);
            let (running, like) = found(&batch, None, &POSITIONS, places);
            let first = batch.width() - places;
            let read = |at: usize| {
                let (text, place) = (at / places, first + at % places);
                batch.position(text, place).map(|position| {
                    let of = |position: usize| {
                        (batch.texts()[text][position], batch.is_hidden(text, batch.start(text) + position))
                    };
                    (0..=position).map(of).collect::<Vec<_>>()
                })
            };
            let all: Vec<usize> = (0..like.len()).filter(|&at| read(at).is_some()).collect();
            for &at in &all {
                prop_assert_eq!(read(at), read(running[like[at] as usize] as usize));
                for &other in &all {
                    prop_assert_eq!(read(at) == read(other), like[at] == like[other]);
                }
            }
            prop_assert!(running.iter().all(|&at| read(at as usize).is_some()));
        }
    }

    #[test]
    fn texts_with_other_sources_have_no_twins() {
        let batch = |texts: Vec<Vec<u32>>| TokenBatch::new(texts, 9, PaddingSide::Right).unwrap();
        let targets = batch(vec![vec![1, 2]; 3]);
        let sources = batch(vec![vec![5], vec![6], vec![5]]);
        let (running, like) = found(&targets, Some(&sources), &POSITIONS, 2);
        assert_eq!((running, like), (vec![0, 1, 2, 3], vec![0, 1, 2, 3, 0, 1]));
    }
}
