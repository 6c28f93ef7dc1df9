//! Tokens in JSON: a token that is not in the vocabulary, because aggregation merged it from several, has the id `null`.

use core::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stepfn_models::tokenizer::Token;

use crate::MERGED;

/// Writes tokens.
pub(crate) fn serialize<S: Serializer>(tokens: &[Token], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tokens.iter().map(Writing::of))
}

/// Reads tokens.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Token>, D::Error> {
    Ok(Vec::<Reading>::deserialize(deserializer)?.into_iter().map(Reading::token).collect())
}

/// The same where some places have no token.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Reading, Serializer, Token, Writing};

    /// Writes tokens.
    pub(crate) fn serialize<S: Serializer>(tokens: &[Option<Token>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(tokens.iter().map(|token| token.as_ref().map(Writing::of)))
    }

    /// Reads tokens.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<Token>>, D::Error> {
        let tokens = Vec::<Option<Reading>>::deserialize(deserializer)?;
        Ok(tokens.into_iter().map(|token| token.map(Reading::token)).collect())
    }
}

#[derive(Serialize)]
struct Writing<'a> {
    id: Option<u32>,
    surface: &'a str,
    span: &'a Range<usize>,
    special: bool,
}

impl<'a> Writing<'a> {
    fn of(Token { id, surface, span, special }: &'a Token) -> Self {
        Self { id: Some(*id).filter(|id| *id != MERGED), surface, span, special: *special }
    }
}

#[derive(Deserialize)]
#[serde(rename = "Token")]
struct Reading {
    // Without this, a token without the field would pass for a merged one.
    #[serde(deserialize_with = "Deserialize::deserialize")]
    id: Option<u32>,
    surface: String,
    span: Range<usize>,
    special: bool,
}

impl Reading {
    fn token(self) -> Token {
        let Self { id, surface, span, special } = self;
        Token { id: id.unwrap_or(MERGED), surface, span, special }
    }
}

#[cfg(test)]
mod tests {
    use crate::formats::{json, samples};
    use crate::{Attribution, MERGED};

    #[test]
    fn merged_tokens_have_no_id() {
        let words = "subwords".parse::<crate::aggregation::Pipeline>().unwrap().apply(&samples::causal()).unwrap();
        let words = Attribution { contrast: vec![None, words.target.get(1).cloned()], ..words };
        assert_eq!(words.target[1].id, MERGED);
        let text = json::write(&[words]);
        assert_eq!(text.matches("\"id\":null").count(), 2, "{text}");
        let back = json::read(&text).unwrap().remove(0).unwrap();
        assert_eq!((back.target[1].id, back.contrast[1].as_ref().map(|token| token.id)), (MERGED, Some(MERGED)));
        // As earlier files have it.
        let earlier = text.replace("\"id\":null", "\"id\":4294967295");
        assert_eq!(json::read(&earlier).unwrap().remove(0).unwrap().target[1].id, MERGED);
        let error = json::read(&text.replace("\"id\":null,", "")).unwrap_err().to_string();
        assert!(error.contains("missing field `id`"), "{error}");
    }
}
