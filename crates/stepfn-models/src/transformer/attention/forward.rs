//! The way forward through attention: projections, queries that meet keys, and what they read.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::attention::{attention, attention_probabilities};
use stepfn_kernels::rotary::rotate;

use super::head_norm::HeadNorm;
use super::{Attention, AttentionTape, KeyValues};
use crate::transformer::Linear;
use crate::transformer::inside::AttentionKind;
use crate::transformer::part::Streams;
use crate::transformer::places::Places;
use crate::transformer::view::View;

impl<B: Backend> Attention<B> {
    /// [`record`](Part::record) with a cache: own keys and values are added to it, and those of the encoder's output are made once.
    pub(crate) fn record_with(
        &self,
        Streams { x, memory }: Streams<Tensor<B, 2>>,
        view: &View<B>,
        cache: Option<&mut Option<KeyValues<B>>>,
    ) -> (Tensor<B, 2>, AttentionTape<B>) {
        let tape = self.projected(Streams { x, memory }, view, cache);
        (self.mixed(&tape, view), tape)
    }

    /// The tape of [`record_with`](Self::record_with), which is all before queries meet keys.
    pub(super) fn projected(
        &self,
        Streams { x, memory }: Streams<Tensor<B, 2>>,
        view: &View<B>,
        cache: Option<&mut Option<KeyValues<B>>>,
    ) -> AttentionTape<B> {
        let Some(memory) = memory else {
            let projected = Linear::apply_all([&self.query, &self.key, &self.value], x);
            let [query, key, value] = projected.map(|x| view.everywhere(x));
            let seen = self.seen(key, value, view, cache);
            return self.asked(query, AttentionKind::Own, seen, view);
        };
        let make = || {
            let [key, value] = Linear::apply_all([&self.key, &self.value], memory);
            self.keys_and_values(key, value, view)
        };
        let seen = match cache {
            None => make(),
            Some(kept) => kept.get_or_insert_with(make).clone(),
        };
        self.asked(view.everywhere(self.query.apply(x)), AttentionKind::Cross, seen, view)
    }

    /// What the queries at some places read of a text's own hidden states.
    ///
    /// # Shapes
    /// - `x`: `[texts · width, hidden]`; of twins one row
    /// - result: `[texts · places, hidden]`
    pub(crate) fn forward_at(
        &self,
        x: Tensor<B, 2>,
        view: &View<B>,
        cache: Option<&mut Option<KeyValues<B>>>,
        places: &Places<B>,
    ) -> Tensor<B, 2> {
        let projected = Linear::apply_all([&self.key, &self.value], x.clone());
        let [key, value] = projected.map(|x| view.everywhere(x));
        let seen = self.seen(key, value, view, cache);
        self.read(places.of(&view.everywhere(x)), AttentionKind::Own, seen, &view.rows(places)).0
    }

    /// The keys and values of all places, from the projections of those that are computed. They are added to the cache.
    fn seen(
        &self,
        key: Tensor<B, 2>,
        value: Tensor<B, 2>,
        view: &View<B>,
        cache: Option<&mut Option<KeyValues<B>>>,
    ) -> KeyValues<B> {
        let made = self.keys_and_values(key, value, view);
        match cache {
            None => made,
            Some(kept) => {
                let joined = KeyValues::joined(kept.take(), made, view.visible.keys());
                kept.insert(joined).clone()
            }
        }
    }

    /// What queries read from keys and values that are there already.
    ///
    /// # Shapes
    /// - `x`, result: `[texts · queries, hidden]`; of twins one row
    pub(crate) fn read(
        &self,
        x: Tensor<B, 2>,
        kind: AttentionKind,
        seen: KeyValues<B>,
        view: &View<B>,
    ) -> (Tensor<B, 2>, AttentionTape<B>) {
        let tape = self.asked(view.everywhere(self.query.apply(x)), kind, seen, view);
        (self.mixed(&tape, view), tape)
    }

    /// The tape of projected queries, and of keys and values that are there already.
    fn asked(&self, query: Tensor<B, 2>, kind: AttentionKind, seen: KeyValues<B>, view: &View<B>) -> AttentionTape<B> {
        let norm = self.query_key_norm.as_ref().map(|(norm, _)| norm);
        let (query, unnormalized_query) = self.placed(query, norm, view);
        let query = match &view.growth {
            Some(growth) => query * growth.clone(),
            None => query,
        };
        AttentionTape { query, unnormalized_query, seen, kind }
    }

    /// What the queries of a tape read.
    fn mixed(&self, tape: &AttentionTape<B>, view: &View<B>) -> Tensor<B, 2> {
        let (key, value) = (tape.seen.keys(), tape.seen.values());
        let mixed = attention(&self.inputs(tape, &key, &value, view));
        self.output.apply(view.once(mixed))
    }

    /// The attention probabilities `[texts, heads, queries, keys]`, before dropout.
    pub(crate) fn probabilities(&self, tape: &AttentionTape<B>, view: &View<B>) -> Tensor<B, 4> {
        let (key, value) = (tape.seen.keys(), tape.seen.values());
        attention_probabilities(&self.inputs(tape, &key, &value, view))
    }

    /// Keys and values of hidden states from their projections: the keys normalized and rotated.
    ///
    /// # Shapes
    /// - `key`, `value`: `[texts · width, key heads · head]`
    fn keys_and_values(&self, key: Tensor<B, 2>, value: Tensor<B, 2>, view: &View<B>) -> KeyValues<B> {
        let norm = self.query_key_norm.as_ref().map(|(_, norm)| norm);
        let (keys, unnormalized) = self.placed(key, norm, view);
        KeyValues::new(view.visible.texts(), keys, value, unnormalized)
    }

    /// Queries or keys, normalized and rotated; also as they were before, if they are normalized.
    fn placed(
        &self,
        x: Tensor<B, 2>,
        norm: Option<&HeadNorm<B>>,
        view: &View<B>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let cotangents = Cotangents::one_each(view.visible.texts());
        let rotated = |x| match &view.rotation {
            Some(rotation) => rotate(x, rotation, self.head_dim, false, cotangents),
            None => x,
        };
        match norm {
            None => (rotated(x), None),
            Some(norm) if norm.after_rotation => {
                let x = rotated(x);
                (norm.apply(x.clone()), Some(x))
            }
            Some(norm) => (rotated(norm.apply(x.clone())), Some(x)),
        }
    }
}
