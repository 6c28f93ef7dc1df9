//! What positions in a text count.

use core::ops::Range;

/// What positions in a text count. Those of tokens count bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Positions {
    /// Bytes of UTF-8.
    #[default]
    Bytes,
    /// Characters, of one code point each, as strings of Python count them.
    Characters,
}

impl Positions {
    /// What is counted: `byte` or `character`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "byte",
            Self::Characters => "character",
        }
    }

    /// Spans of a text in bytes. A position beyond the text stays beyond it.
    ///
    /// ```
    /// use stepfn_attribution::Positions;
    /// assert_eq!(Positions::Characters.in_bytes("naïve", &[0..3, 3..9]), [0..4, 4..10]);
    /// ```
    pub fn in_bytes(self, text: &str, spans: &[Range<usize>]) -> Vec<Range<usize>> {
        if self == Self::Bytes || spans.is_empty() {
            return spans.to_vec();
        }
        let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
        let byte = |position: usize| match starts.get(position) {
            Some(&start) => start,
            None => text.len().saturating_add(position - starts.len()),
        };
        spans.iter().map(|span| byte(span.start)..byte(span.end)).collect()
    }

    /// The position of a byte of a text.
    ///
    /// ```
    /// use stepfn_attribution::Positions;
    /// assert_eq!(Positions::Characters.of_byte("naïve", 4), 3);
    /// ```
    pub fn of_byte(self, text: &str, byte: usize) -> usize {
        match self {
            Self::Bytes => byte,
            Self::Characters => text.char_indices().take_while(|&(start, _)| start < byte).count(),
        }
    }
}
