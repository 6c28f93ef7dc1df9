//! SentencePiece models (Kudo & Richardson 2018): the protocol buffer, and the `tokenizer.json` that transformers' published classes make of
//! it.

use std::collections::HashMap;

use prost::Message;

/// No vocabulary has longer pieces, in bytes, or more merges for each piece. Looking for merges takes time quadratic in a piece's length.
const LONGEST: usize = 1024;
const MOST_MERGES: usize = 64;

/// A piece of a vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of a text, or one that is no longer used.
    Normal,
    /// What is not in the vocabulary.
    Unknown,
    /// Never in a text: the start and the end of one, padding.
    Control,
    /// Always a piece of its own.
    UserDefined,
    /// A byte of a character that is not in the vocabulary.
    Byte,
}

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Into the likeliest pieces (Kudo 2018).
    Unigram,
    /// By merging pairs (Sennrich et al. 2016).
    Bpe,
}

/// A SentencePiece model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePiece {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    pub(super) unknown: usize,
    /// What the file replaces before it cuts, in a form of its own.
    pub(super) character_map: Vec<u8>,
    /// Whether a space is put before a text.
    pub(super) adds_space: bool,
    /// Whether several spaces are one.
    pub(super) joins_spaces: bool,
    pub(super) has_bytes: bool,
}

impl SentencePiece {
    /// Reads a model.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Model { pieces, trainer, normalizer } =
            Model::decode(bytes).map_err(|_| "this is no SentencePiece model, or not all of one".to_owned())?;
        let (trainer, normalizer) = (trainer.unwrap_or_default(), normalizer.unwrap_or_default());
        let algorithm = match trainer.model_type.unwrap_or(1) {
            1 => Algorithm::Unigram,
            2 => Algorithm::Bpe,
            other => {
                let name = if other == 3 { "words".to_owned() } else { format!("type {other}") };
                return Err(format!("a SentencePiece model of {name} is not supported, only unigram and BPE"));
            }
        };
        let pieces: Vec<Piece> = pieces.into_iter().map(Piece::from).collect();
        if let Some(longest) = pieces.iter().map(|piece| piece.text.len()).max().filter(|bytes| *bytes > LONGEST) {
            return Err(format!("a piece has {longest} bytes, and at most {LONGEST} are read"));
        }
        let unknown = pieces.iter().position(|piece| piece.kind == Kind::Unknown);
        Ok(Self {
            unknown: unknown
                .ok_or_else(|| "this is no SentencePiece model: it has no piece for the unknown".to_owned())?,
            has_bytes: trainer.byte_fallback.unwrap_or(false),
            pieces,
            algorithm,
            character_map: normalizer.precompiled_charsmap.unwrap_or_default(),
            adds_space: normalizer.add_dummy_prefix.unwrap_or(true),
            joins_spaces: normalizer.remove_extra_whitespaces.unwrap_or(true),
        })
    }

    /// The merges that give the pieces, the best first: a piece can come of any two pieces, and better pieces are made first.
    ///
    /// # Errors
    /// If they are so many that this is no vocabulary.
    pub(super) fn merges(&self, vocabulary: &[(String, f32)]) -> Result<Vec<[String; 2]>, String> {
        let most = vocabulary.len().saturating_mul(MOST_MERGES);
        let mut ids: HashMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
        // Where the tab takes the place of its byte.
        if !ids.contains_key("\t")
            && let Some(&byte) = ids.get("<0x09>")
            && vocabulary.iter().any(|(piece, _)| piece == "\t")
        {
            ids.insert("\t", byte);
        }
        let mut merges: Vec<(f32, [usize; 2], [&str; 2])> = Vec::new();
        for (piece, score) in vocabulary {
            let mut of_piece: Vec<([usize; 2], [&str; 2])> = Vec::new();
            for (at, _) in piece.char_indices().skip(1) {
                let (left, right) = piece.split_at(at);
                if let (Some(&first), Some(&second)) = (ids.get(left), ids.get(right)) {
                    of_piece.push(([first, second], [left, right]));
                }
            }
            of_piece.sort_by_key(|(ids, _)| *ids);
            if merges.len() + of_piece.len() > most {
                return Err(format!("{} pieces have more than {most} merges", vocabulary.len()));
            }
            let length = |text: &str| text.chars().count();
            merges.extend(
                of_piece.into_iter().map(|(_, [left, right])| (*score, [length(left), length(right)], [left, right])),
            );
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        Ok(merges.into_iter().map(|(_, _, pair)| pair.map(str::to_owned)).collect())
    }
}

impl From<PieceProto> for Piece {
    fn from(proto: PieceProto) -> Self {
        let kind = match proto.kind.unwrap_or(1) {
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => Kind::Normal,
        };
        Self { text: proto.piece.unwrap_or_default(), score: proto.score.unwrap_or_default(), kind }
    }
}

/// `ModelProto` of `sentencepiece_model.proto`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

/// `ModelProto.SentencePiece`.
#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
}
