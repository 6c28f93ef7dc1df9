//! Texts of different lengths as one batch.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::ModelError;

/// Texts as token ids, padded to the longest.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBatch {
    texts: Vec<Vec<u32>>,
    /// Tokens of the whole texts, of which these may be the first.
    lengths: Vec<usize>,
    /// Positions that no token attends to; none, or some of each text.
    hidden: Vec<Vec<usize>>,
    width: usize,
    side: PaddingSide,
}

/// Where shorter texts are filled up. It changes the places of tokens, and no result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PaddingSide {
    /// Before the text.
    Left,
    /// After it.
    #[default]
    Right,
}

impl TokenBatch {
    /// A batch of texts.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there is no text, an empty one, or an id outside the vocabulary.
    pub fn new(texts: Vec<Vec<u32>>, vocab_size: usize, side: PaddingSide) -> Result<Self, ModelError> {
        let width = texts.iter().map(Vec::len).max().unwrap_or(0);
        let lengths = texts.iter().map(Vec::len).collect();
        let batch = Self { texts, lengths, hidden: Vec::new(), width, side };
        if batch.texts.is_empty() {
            return Err(ModelError::input("at least one text", "none"));
        }
        for (number, text) in batch.texts.iter().enumerate() {
            if text.is_empty() {
                return Err(ModelError::input("at least one token", batch.in_text(number, "none")));
            }
            if let Some(position) = text.iter().position(|&id| id as usize >= vocab_size) {
                let found = format!("{} at position {position}", text[position]);
                return Err(ModelError::input(format!("token ids below {vocab_size}"), batch.in_text(number, found)));
            }
        }
        Ok(batch)
    }

    /// The same as the first tokens of texts of these lengths. Some rotary positions depend on the length of the text, and whoever reads the
    /// beginning of one alone wants what is computed there in the whole.
    pub fn beginning(self, lengths: impl IntoIterator<Item = usize>) -> Self {
        let lengths = self.texts.iter().zip(lengths).map(|(text, length)| length.max(text.len())).collect();
        Self { lengths, ..self }
    }

    /// The same with some tokens of each text hidden, by their positions: no token attends to them, and they do not attend to themselves. All keep
    /// their places and positions. A token that is left with nothing to attend to reads zeros.
    pub fn hiding(self, hidden: Vec<Vec<usize>>) -> Self {
        let none = hidden.iter().all(Vec::is_empty);
        Self { hidden: if none { Vec::new() } else { hidden }, ..self }
    }

    /// Whether any token is hidden.
    pub(crate) fn hides(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// Whether the token at a place of a text is hidden.
    pub(crate) fn is_hidden(&self, text: usize, place: usize) -> bool {
        let position = self.position(text, place);
        self.hidden.get(text).zip(position).is_some_and(|(hidden, position)| hidden.contains(&position))
    }

    /// Whether two texts have the same tokens, and the same of them hidden.
    pub(crate) fn are_same(&self, text: usize, other: usize) -> bool {
        self.texts[text] == self.texts[other] && self.hidden.get(text) == self.hidden.get(other)
    }

    /// Tokens of a whole text.
    pub(crate) fn length(&self, text: usize) -> usize {
        self.lengths.get(text).copied().unwrap_or(0)
    }

    /// What was found in a text, for an error: with the number of the text, counted from 0, if there are several.
    pub(crate) fn in_text(&self, text: usize, found: impl core::fmt::Display) -> String {
        match self.texts.len() {
            1 => found.to_string(),
            texts => format!("{found} in text {text} of a batch of {texts}"),
        }
    }

    /// The texts.
    pub fn texts(&self) -> &[Vec<u32>] {
        &self.texts
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Never: a batch has texts.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Places per text: the length of the longest.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The place of a text's first token.
    pub fn start(&self, text: usize) -> usize {
        match self.side {
            PaddingSide::Left => self.width - self.texts[text].len(),
            PaddingSide::Right => 0,
        }
    }

    /// The position of the token at a place of a text; `None` in the padding.
    pub(crate) fn position(&self, text: usize, place: usize) -> Option<usize> {
        let position = place.checked_sub(self.start(text))?;
        (position < self.texts[text].len()).then_some(position)
    }

    /// `f(text, place)` for the last `places` of every text, text after text.
    pub(crate) fn map<T>(&self, places: usize, f: impl Fn(usize, usize) -> T) -> Vec<T> {
        let first = self.width - places;
        let all = (0..self.len()).flat_map(|text| (first..self.width).map(move |place| (text, place)));
        all.map(|(text, place)| f(text, place)).collect()
    }

    /// Ids of the last `places` of every text, 0 in the padding.
    pub(crate) fn ids(&self, places: usize) -> Vec<i32> {
        let id =
            |text: usize, place| self.position(text, place).map_or(0, |position| self.texts[text][position] as i32);
        self.map(places, id)
    }

    /// The tokens in the first `places` of every text; of a text with padding before it, maybe none.
    pub(crate) fn first(&self, places: usize) -> Self {
        let kept = |text: usize| places.saturating_sub(self.start(text)).min(self.texts[text].len());
        let texts = (0..self.len()).map(|text| self.texts[text][..kept(text)].to_vec()).collect();
        let (lengths, hidden) = (self.lengths.clone(), self.hidden.clone());
        Self { texts, lengths, hidden, width: places, side: self.side }
    }

    /// Copies of the first text.
    pub(crate) fn repeated(&self, times: usize) -> Self {
        let lengths = vec![self.length(0); times];
        let hidden = self.hidden.first().map(|hidden| vec![hidden.clone(); times]).unwrap_or_default();
        Self { texts: vec![self.texts[0].clone(); times], lengths, hidden, width: self.width, side: self.side }
    }

    /// Text `i` becomes text `parents[i]`.
    pub(crate) fn selected(&self, parents: &[usize]) -> Self {
        let texts = parents.iter().map(|&parent| self.texts[parent].clone()).collect();
        let lengths = parents.iter().map(|&parent| self.length(parent)).collect();
        let hidden = self.hidden_of(parents);
        Self { texts, lengths, hidden, width: self.width, side: self.side }
    }

    /// What is hidden of each of these texts.
    fn hidden_of(&self, parents: &[usize]) -> Vec<Vec<usize>> {
        if self.hides() { parents.iter().map(|&parent| self.hidden[parent].clone()).collect() } else { Vec::new() }
    }

    /// Text `i` becomes text `parents[i]`, followed by `tokens[i]`. Ids are those of the vocabulary, texts padded on the left or of one length.
    pub(crate) fn advanced(&self, parents: &[usize], tokens: &[u32]) -> Self {
        let text = |(&parent, &token): (&usize, &u32)| {
            let mut text = self.texts[parent].clone();
            text.push(token);
            text
        };
        let texts: Vec<Vec<u32>> = parents.iter().zip(tokens).map(text).collect();
        let lengths = texts.iter().map(Vec::len).collect();
        let hidden = self.hidden_of(parents);
        Self { texts, lengths, hidden, width: self.width + 1, side: self.side }
    }
}

/// Indices on a device.
pub(crate) fn indices<B: Backend>(values: Vec<i32>, device: &B::Device) -> Tensor<B, 1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
