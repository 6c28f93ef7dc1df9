//! Which tokens of a vocabulary begin a word.

use super::Tokenizer;

impl Tokenizer {
    /// For each token of the vocabulary, whether a word ends before it: it begins with whitespace (`Ġof`, `▁of`, a line break, a space alone), or it
    /// is a special token, which no word goes on with; the end of a text is one. `None` for a tokenizer that does not mark where
    /// words begin.
    pub fn word_starts(&self) -> Option<Vec<bool>> {
        let begins = |id: u32| {
            let Some(token) = self.id_to_token(id) else { return [false; 2] };
            let read = if self.added.contains(&id) { token } else { self.spelling.read(&token).0 };
            [read.starts_with(char::is_whitespace), self.special.contains(&id)]
        };
        let begins: Vec<[bool; 2]> = (0..self.ids()).map(begins).collect();
        let marks = begins.iter().any(|&[space, _]| space);
        marks.then(|| begins.into_iter().map(|[space, special]| space || special).collect())
    }

    /// The same as minicons 0.3.39 has it: tokens that begin with the mark of a space. Neither special tokens nor line breaks do.
    pub fn word_starts_of_minicons(&self) -> Option<Vec<bool>> {
        let marked = |id: u32| self.id_to_token(id).is_some_and(|token| token.starts_with(['Ġ', '▁']));
        let starts: Vec<bool> = (0..self.ids()).map(marked).collect();
        starts.contains(&true).then_some(starts)
    }

    /// One more than the greatest id.
    fn ids(&self) -> u32 {
        let added = self.added.iter().chain(&self.special).max().map_or(0, |&id| id + 1);
        added.max(self.vocab_size() as u32)
    }
}
