//! What is put around a text: the tokens that say its language, and its end token.

use super::Token;
use super::vocabulary::Vocabulary;

/// Tokens before and after every text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
    /// Whether a text may itself start with a language code, `>>fra<<`, which is one token.
    pub(super) has_codes: bool,
}

impl Frame {
    /// The language code that a text starts with.
    pub(super) fn code_of(&self, text: &str, vocabulary: Option<&Vocabulary>) -> Option<Token> {
        let line = text.split('\n').next().filter(|line| self.has_codes && line.starts_with(">>"))?;
        let end = line.rfind("<<").filter(|&end| end > ">>".len())? + "<<".len();
        let code = line.get(..end)?;
        Some(Token { id: vocabulary?.id_or_unknown(code), surface: code.to_owned(), span: 0..end, special: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_what_stands_between_its_marks_at_the_start() {
        let vocabulary = Vocabulary::parse(b"{\"<unk>\": 1, \">>fra<<\": 5}", "<unk>").unwrap();
        let frame = Frame { has_codes: true, ..Frame::default() };
        let code = |text| frame.code_of(text, Some(&vocabulary)).map(|token| (token.id, token.span));
        assert_eq!(code(">>fra<< Hello"), Some((5, 0..7)));
        assert_eq!(code(">>fra<<"), Some((5, 0..7)));
        assert_eq!(code(">>xxx<< Hello"), Some((1, 0..7)));
        for text in [" >>fra<< Hello", ">><< Hello", ">>fra", ">>fra\n<<", "<<", ">>", ""] {
            assert_eq!(code(text), None, "{text}");
        }
        let plain = Frame::default();
        assert_eq!(plain.code_of(">>fra<< Hello", Some(&vocabulary)), None);
    }
}
