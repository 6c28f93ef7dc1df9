//! What a pass through a stack reads, and what it returns.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::Entry;
use crate::transformer::block::LayerCache;
use crate::transformer::{Dropout, TokenBatch};

/// What a pass through a stack reads besides embeddings.
#[derive(Debug)]
pub struct Pass<'a, B: Backend> {
    /// The tokens.
    pub batch: &'a TokenBatch,
    /// An encoder's output, `[texts · source width, hidden]`, and its tokens.
    pub memory: Option<(&'a Tensor<B, 2>, &'a TokenBatch)>,
    /// Whether neurons are dropped.
    pub dropout: &'a Dropout,
    /// What to keep.
    pub trace: Trace,
    /// What the pass starts with.
    pub entry: Entry,
    /// Keys and values of the places before: with it, only the places after them are computed.
    pub cache: Option<&'a mut Cache<B>>,
    /// Of a pass that starts with the embeddings of the batch's tokens, without dropout or trace, the first place whose last hidden state is returned.
    /// The last block only computes the places from there on, and a causal stack computes once what several texts begin with.
    pub of_tokens: Option<usize>,
}

impl<'a, B: Backend> Pass<'a, B> {
    /// A plain pass over all tokens.
    pub fn new(batch: &'a TokenBatch) -> Self {
        Self {
            batch,
            memory: None,
            dropout: &Dropout::Off,
            trace: Trace::default(),
            entry: Entry::Embeddings,
            cache: None,
            of_tokens: None,
        }
    }

    /// The same, reading an encoder's output.
    pub fn with_memory(self, hidden: &'a Tensor<B, 2>, source: &'a TokenBatch) -> Self {
        Self { memory: Some((hidden, source)), ..self }
    }

    /// The same of the batch's tokens and nothing else; the last hidden states are those from this place on.
    pub fn of_tokens(self, first: usize) -> Self {
        Self {
            of_tokens: Some(first),
            entry: Entry::Embeddings,
            dropout: &Dropout::Off,
            trace: Trace::default(),
            ..self
        }
    }

    /// The same with dropout.
    pub fn with_dropout(self, dropout: &'a Dropout) -> Self {
        Self { dropout, ..self }
    }

    /// The same, starting with what enters a block.
    pub fn from(self, entry: Entry) -> Self {
        Self { entry, ..self }
    }

    /// The same, keeping what `trace` says.
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }
}

/// Keys and values of what was computed, for a text that is being written, or for copies of a text that differ after some place.
#[derive(Debug, Clone)]
pub struct Cache<B: Backend> {
    pub(super) layers: Vec<LayerCache<B>>,
    /// Places that are in it.
    pub(super) width: usize,
    /// Places that there is room for.
    places: usize,
    /// Whether it makes room for more places than it is given, so that later ones need no copy of all.
    grows: bool,
}

impl<B: Backend> Cache<B> {
    /// An empty cache.
    pub(super) fn new(layers: usize) -> Self {
        Self { layers: vec![LayerCache { own: None, memory: None }; layers], width: 0, places: 0, grows: false }
    }

    /// The same with room for the places that follow: adding one then copies nothing, but for a new room now and then.
    pub fn growing(self) -> Self {
        Self { grows: true, ..self }
    }

    /// Places of keys and values once the first `width` are filled.
    pub(super) fn places(&self, width: usize) -> usize {
        /// Places that are added at least.
        const ROOM: usize = 32;
        match self.grows {
            false => width,
            true if self.places >= width => self.places,
            true => (width + width / 4).next_multiple_of(ROOM),
        }
    }

    /// Marks the first `width` places as filled.
    pub(super) fn filled(&mut self, width: usize) {
        (self.width, self.places) = (width, self.places(width));
    }

    /// Places of every text that are in it.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The first `places` of a cache of one text, `copies` times: what copies share that differ after them.
    pub fn prefix(&self, places: usize, copies: usize) -> Self {
        let of_layer = |LayerCache { own, memory }: &LayerCache<B>| LayerCache {
            own: own.as_ref().filter(|_| places > 0).map(|own| own.prefix(places, copies)),
            memory: memory.as_ref().map(|memory| memory.prefix(memory.width(), copies)),
        };
        Self { layers: self.layers.iter().map(of_layer).collect(), width: places, places, grows: false }
    }

    /// Whether it has keys and values of the encoder's output.
    pub(super) fn has_memory(&self) -> bool {
        self.layers.iter().all(|layer| layer.memory.is_some())
    }

    /// Text `i` becomes text `parents[i]`, what it has of its own and of the encoder's output.
    pub fn select(&mut self, parents: &Tensor<B, 1, Int>) {
        self.select_own(parents);
        for kept in self.layers.iter_mut().filter_map(|layer| layer.memory.as_mut()) {
            *kept = kept.select(parents);
        }
    }

    /// Text `i` becomes text `parents[i]`, which reads the same encoder's output.
    pub fn select_own(&mut self, parents: &Tensor<B, 1, Int>) {
        for kept in self.layers.iter_mut().filter_map(|layer| layer.own.as_mut()) {
            *kept = kept.select(parents);
        }
    }
}

/// What to keep of a pass besides its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    /// The hidden states that enter every block.
    pub hidden_states: bool,
    /// The attention probabilities of every block.
    pub attentions: bool,
}

/// What a stack computes.
#[derive(Debug, Clone)]
pub struct StackOutput<B: Backend> {
    /// After the last block and its normalization, `[texts · places, hidden]`.
    pub last: Tensor<B, 2>,
    /// What enters each block, `[texts · places, hidden]`, if the [`Trace`] says so.
    pub hidden_states: Vec<Tensor<B, 2>>,
    /// Self-attention of each block, `[texts, heads, queries, keys]`, if the [`Trace`] says so.
    pub self_attentions: Vec<Tensor<B, 4>>,
    /// Cross-attention of each block, `[texts, heads, queries, keys]`, if the [`Trace`] says so.
    pub cross_attentions: Vec<Tensor<B, 4>>,
}
