//! The tokens that are never cut: what a model, the files beside it and the published class add to a vocabulary, in the order of transformers,
//! because what the vocabulary lacks is numbered in this order.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::classes::Class;
use super::languages::{MBART, MBART_50, NLLB, PLBART, PLBART_MULTI};
use super::sentence_piece::{Kind, SentencePiece};
use super::settings::{ROLES, Settings, added_token, content};

/// Added tokens by id, as `tokenizer.json` lists them.
#[derive(Debug)]
pub(super) struct Added<'a> {
    /// Of the vocabulary. Of two pieces with one text, the first.
    ids: HashMap<&'a str, u32>,
    /// Of what is not in the vocabulary.
    more: HashMap<String, u32>,
    next: u32,
    pub(super) tokens: BTreeMap<u32, Value>,
}

impl<'a> Added<'a> {
    /// The tokens that a class adds to a vocabulary.
    pub(super) fn new(
        model: &SentencePiece,
        class: Class,
        settings: &Settings,
        vocabulary: &'a [(String, f32)],
    ) -> Self {
        let mut ids = HashMap::with_capacity(vocabulary.len());
        for ((piece, _), id) in vocabulary.iter().zip(0..) {
            ids.entry(piece.as_str()).or_insert(id);
        }
        let next = u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        let mut added = Self { ids, more: HashMap::new(), next, tokens: BTreeMap::new() };
        added.pieces(model, class);
        if class != Class::Plain {
            let (roles, additional) = special(class, settings);
            added.listed(settings, &roles, &additional);
            added.roles(class, settings, roles);
            for token in additional {
                added.additional(token);
            }
        }
        added
    }

    /// The id of a piece or of an added token.
    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.ids.get(content).or_else(|| self.more.get(content)).copied()
    }

    fn has(&self, content: &str) -> bool {
        self.id(content).is_some_and(|id| self.tokens.contains_key(&id))
    }

    /// Adds a token, or changes one. Whether it is found before or after a text is normalized stays as it was first: so does the library
    /// that transformers 4 is built on.
    fn put(&mut self, mut token: Value) {
        let Some(content) = content(&token).filter(|content| !content.is_empty()).map(str::to_owned) else { return };
        let id = self.id(&content).unwrap_or_else(|| {
            let id = self.next;
            self.next = self.next.saturating_add(1);
            self.more.insert(content, id);
            id
        });
        token["id"] = id.into();
        if let Some(normalized) = self.tokens.get(&id).and_then(|token| token.get("normalized")) {
            token["normalized"] = normalized.clone();
        }
        self.tokens.insert(id, token);
    }

    /// Those of the model.
    fn pieces(&mut self, model: &SentencePiece, class: Class) {
        for piece in &model.pieces {
            let is_turn = matches!(class, Class::Gemma { .. })
                && ["<start_of_turn>", "<end_of_turn>"].contains(&piece.text.as_str());
            // Pieces that a class puts others in place of are not found in a text.
            if matches!(piece.kind, Kind::Control | Kind::UserDefined) && self.ids.contains_key(piece.text.as_str()) {
                let mut token = added_token(0, &piece.text, piece.kind == Kind::Control || is_turn);
                token["normalized"] = false.into();
                self.put(token);
            }
        }
    }

    /// Those that the files list with their ids.
    fn listed(&mut self, settings: &Settings, roles: &[Option<Value>], additional: &[Value]) {
        let special = roles.iter().flatten().chain(additional).filter_map(content);
        let special: std::collections::HashSet<&str> = special.collect();
        for token in settings.added.values() {
            let mut token = token.clone();
            if content(&token).is_some_and(|content| special.contains(content)) {
                token["special"] = true.into();
            }
            self.put(token);
        }
    }

    /// Those that have a role, such as the end token.
    fn roles(&mut self, class: Class, settings: &Settings, roles: [Option<Value>; ROLES.len()]) {
        let detailed: std::collections::HashSet<&str> =
            settings.added.values().filter(|_| settings.has_details).filter_map(content).collect();
        for (role, token) in ROLES.iter().zip(roles) {
            let Some(token) = token else { continue };
            let Some(content) = content(&token).filter(|content| !detailed.contains(content)) else { continue };
            let mut whole = with_details(&token, content);
            if token.is_string() && *role == "mask_token" {
                // The space before it is its own.
                whole["lstrip"] = true.into();
                whole["normalized"] = matches!(class, Class::MBart50 | Class::Nllb).into();
            }
            self.put(whole);
        }
    }

    fn additional(&mut self, token: Value) {
        if let Some(content) = content(&token).filter(|content| token.is_object() || !self.has(content)) {
            self.put(with_details(&token, content));
        }
    }
}

/// A special token as `tokenizer.json` has it, from its name or from an object.
fn with_details(token: &Value, content: &str) -> Value {
    let mut whole = added_token(0, content, true);
    for field in ["single_word", "lstrip", "rstrip", "normalized"] {
        if let Some(flag) = token.get(field).filter(|flag| flag.is_boolean()) {
            whole[field] = flag.clone();
        }
    }
    whole
}

/// The special tokens of the files, or else of the class: those with roles, and others.
fn special(class: Class, settings: &Settings) -> ([Option<Value>; ROLES.len()], Vec<Value>) {
    let (s, end, unk, pad) = (Some("<s>"), Some("</s>"), Some("<unk>"), Some("<pad>"));
    let usual = match class {
        Class::Llama { .. } => [s, end, unk, None, None, None, None],
        Class::Gemma { .. } => [Some("<bos>"), Some("<eos>"), unk, None, pad, None, None],
        Class::T5 { .. } => [None, end, unk, None, pad, None, None],
        Class::Xglm => [s, end, unk, end, pad, s, None],
        Class::Pegasus { .. } => [None, end, unk, None, pad, None, Some("<mask_2>")],
        Class::PlBart { multi: true } => [s, end, unk, end, pad, s, None],
        Class::XlmRoberta | Class::MBart | Class::Nllb | Class::PlBart { multi: false } => {
            [s, end, unk, end, pad, s, Some("<mask>")]
        }
        Class::MBart50 => [None, end, unk, end, pad, s, Some("<mask>")],
        Class::Plain => [None; ROLES.len()],
    };
    let mut roles = settings.roles.clone();
    for (role, usual) in roles.iter_mut().zip(usual) {
        if role.is_none() {
            *role = usual.map(Value::from);
        }
    }
    let given = settings.additional.clone();
    let codes = |codes: &str| codes.split_whitespace().map(Value::from).collect::<Vec<_>>();
    let own = match class {
        Class::T5 { extra_ids, .. } => {
            let is_gap = |token: &Value| content(token).is_some_and(|content| content.contains("<extra_id_"));
            let gaps = (0..extra_ids).filter(|_| !given.iter().flatten().any(is_gap));
            gaps.map(|gap| format!("<extra_id_{gap}>").into()).collect()
        }
        Class::MBart => codes(MBART),
        Class::MBart50 => codes(MBART_50),
        Class::PlBart { multi } => codes(if multi { PLBART_MULTI } else { PLBART }),
        Class::Pegasus { offset } if given.is_none() => {
            let gaps = (2..offset).map(|gap| format!("<unk_{gap}>").into());
            ["<mask_1>".into()].into_iter().filter(|_| offset > 0).chain(gaps).collect()
        }
        Class::Nllb if given.is_none() => codes(NLLB),
        Class::Xglm => (0..7).map(|word| format!("<madeupword{word}>").into()).collect(),
        _ => Vec::new(),
    };
    let mut additional = [own, given.unwrap_or_default()];
    if !matches!(class, Class::MBart | Class::PlBart { .. }) {
        additional.reverse();
    }
    (roles, additional.concat())
}
