//! Ids from a `vocab.json` of their own: Marian and M2M-100 cut a text with a SentencePiece model, and number the pieces otherwise; Blenderbot
//! Small writes parts of words otherwise.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// A numbering of pieces.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary {
    ids: HashMap<String, u32>,
    tokens: BTreeMap<u32, String>,
    unknown: u32,
    /// Tokens that are never cut, of a vocabulary of words and of parts of words that end with `@@`; else none.
    whole: Option<Vec<String>>,
}

impl Vocabulary {
    /// The contents of a `vocab.json`, an object of pieces and their ids. `unknown` is the piece that all others are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(json: &[u8], unknown: &str) -> Result<Self, String> {
        let fields: Map<String, Value> = crate::from_json(json)?;
        let mut ids = HashMap::with_capacity(fields.len());
        for (piece, id) in fields {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let number = number.ok_or_else(|| format!("the piece {piece:?} has the id {id}, which is none"))?;
            ids.insert(piece, number);
        }
        let mut vocabulary = Self { ids, tokens: BTreeMap::new(), unknown: 0, whole: None };
        vocabulary.tokens = vocabulary.ids.iter().map(|(piece, id)| (*id, piece.clone())).collect();
        vocabulary.unknown = vocabulary
            .id(unknown)
            .ok_or_else(|| format!("there is no piece {unknown:?}, which stands for all others"))?;
        Ok(vocabulary)
    }

    /// The same, where words are written as such, and parts of words that others follow with `@@` behind them; what is cut has `</w>` behind the
    /// last part of a word instead. Tokens in `whole` are never cut.
    pub(super) fn of_words(self, whole: Vec<String>) -> Self {
        Self { whole: Some(whole), ..self }
    }

    /// Adds a piece that the file doesn't have.
    pub(super) fn add(&mut self, piece: &str, id: u32) {
        self.ids.insert(piece.to_owned(), id);
        self.tokens.insert(id, piece.to_owned());
    }

    /// The number of pieces.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All pieces, by id.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        self.tokens.iter().map(|(id, token)| (*id, token.as_str()))
    }

    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    /// The id of a piece that may be unknown.
    pub(super) fn id_or_unknown(&self, piece: &str) -> u32 {
        let id = match (&self.whole, piece.strip_suffix("</w>")) {
            (Some(whole), None) if !whole.iter().any(|token| token == piece) => self.id(&format!("{piece}@@")),
            (Some(_), Some(last)) => self.id(last),
            _ => self.id(piece),
        };
        id.unwrap_or(self.unknown)
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }

    /// The text of some pieces, as SentencePiece joins them, or of words and their parts.
    pub(super) fn join(&self, ids: impl IntoIterator<Item = u32>) -> String {
        let pieces = ids.into_iter().filter_map(|id| self.token(id));
        if self.whole.is_some() {
            return pieces.collect::<Vec<_>>().join(" ").replace("@@ ", "");
        }
        let text: String = pieces.collect();
        let text = text.replace('\u{2581}', " ");
        // SentencePiece puts a space before every text.
        text.strip_prefix(' ').unwrap_or(&text).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_ids_of_the_file_and_others_that_of_the_unknown_one() {
        let mut vocabulary =
            Vocabulary::parse("{\"<unk>\": 1, \"\u{2581}a\": 7, \"b\": 3}".as_bytes(), "<unk>").unwrap();
        vocabulary.add("__en__", 9);
        assert_eq!(["\u{2581}a", "b", "c", "__en__"].map(|piece| vocabulary.id_or_unknown(piece)), [7, 3, 1, 9]);
        assert_eq!((vocabulary.token(3), vocabulary.token(2), vocabulary.len()), (Some("b"), None, 4));
        assert_eq!(vocabulary.join([7, 3, 2, 7]), "ab a");
    }

    #[test]
    fn words_and_their_parts_have_marks_of_their_own() {
        let json = r#"{"__unk__": 0, "__end__": 1, "in": 2, "in@@": 3, "to": 4}"#;
        let vocabulary = Vocabulary::parse(json.as_bytes(), "__unk__").unwrap().of_words(vec!["__end__".to_owned()]);
        let ids = ["in", "in</w>", "to</w>", "to", "__end__"].map(|piece| vocabulary.id_or_unknown(piece));
        assert_eq!(ids, [3, 2, 4, 0, 1]);
        assert_eq!(vocabulary.join([3, 4, 2]), "into in");
        assert_eq!(vocabulary.id("in@@"), Some(3));
    }

    #[test]
    fn files_that_are_no_vocabulary_say_why() {
        for (json, says) in [
            ("[]", "expected an object"),
            ("{\"a\": -1, \"<unk>\": 0}", "the id -1"),
            ("{\"a\": 1.5, \"<unk>\": 0}", "the id 1.5"),
            ("{\"a\": 1}", "no piece \"<unk>\""),
        ] {
            let error = Vocabulary::parse(json.as_bytes(), "<unk>").unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
