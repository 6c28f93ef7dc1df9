//! What `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say, and the files of chat templates.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::file_error;
use super::templates::Templates;
use crate::ModelError;

/// Fields of `tokenizer_config.json` and `special_tokens_map.json`.
pub(super) const NAMED: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Fields that say which token has a role, in the order in which transformers adds them.
pub(super) const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What the files beside a vocabulary say.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// In the order of [`NAMED`].
    pub(super) named: [Option<String>; 4],
    pub(super) chat_template: Templates,
    /// The published class, without `Fast`.
    pub(super) class: Option<String>,
    /// All fields of `tokenizer_config.json`.
    pub(super) fields: Map<String, Value>,
    /// Tokens that were added to the vocabulary, by their ids, as `tokenizer.json` has them.
    pub(super) added: BTreeMap<u32, Value>,
    /// Whether `added` comes of `added_tokens_decoder`, which says all of a token.
    pub(super) has_details: bool,
    /// In the order of [`ROLES`]: a name, or an object with `content`.
    pub(super) roles: [Option<Value>; ROLES.len()],
    /// Other special tokens, if a file lists some.
    pub(super) additional: Option<Vec<Value>>,
}

impl Settings {
    /// Reads the files of a folder, as far as they exist.
    ///
    /// # Errors
    /// [`ModelError::File`] of the file that is unreadable or malformed.
    pub(super) fn read(folder: &Path) -> Result<Self, ModelError> {
        let mut settings = Self::default();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            let Some(fields) = object_if_there(&path)? else { continue };
            for (field, slot) in NAMED.iter().zip(&mut settings.named) {
                let value = fields.get(*field).unwrap_or(&Value::Null);
                let content = value.get("content").unwrap_or(value);
                if content.is_null() {
                    continue;
                }
                let content = content.as_str().ok_or_else(|| {
                    file_error(&path, format!("`{field}`: expected a name or an object with `content`, found {value}"))
                })?;
                slot.get_or_insert_with(|| content.to_owned());
            }
            if let Some(template) = fields.get("chat_template") {
                settings.chat_template = Templates::of_field(template).map_err(|what| file_error(&path, what))?;
            }
            if name == "tokenizer_config.json" {
                settings.has_details = fields.get("added_tokens_decoder").is_some_and(Value::is_object);
            } else if settings.has_details {
                continue;
            }
            settings.read_special(&fields);
            if name == "tokenizer_config.json" {
                settings.fields = fields;
            }
        }
        let class = settings.text("tokenizer_class");
        settings.class = class.map(|class| class.strip_suffix("Fast").unwrap_or(class).to_owned());
        settings.read_added(folder)?;
        settings.chat_template.read_files(folder)?;
        Ok(settings)
    }

    /// Special tokens of a file. `special_tokens_map.json` comes last, and what it says holds.
    fn read_special(&mut self, fields: &Map<String, Value>) {
        for (role, slot) in ROLES.iter().zip(&mut self.roles) {
            if let Some(token) = fields.get(*role).filter(|token| content(token).is_some()) {
                *slot = Some(token.clone());
            }
        }
        if let Some(tokens) = fields.get("additional_special_tokens").and_then(Value::as_array) {
            let additional = self.additional.get_or_insert_default();
            let have: std::collections::HashSet<String> =
                additional.iter().filter_map(content).map(str::to_owned).collect();
            let is_new = |token: &&Value| content(token).is_some_and(|content| !have.contains(content));
            additional.extend(tokens.iter().filter(is_new).cloned());
        }
    }

    /// Added tokens: `added_tokens_decoder`, or in older folders `added_tokens.json`, which has names and ids only.
    fn read_added(&mut self, folder: &Path) -> Result<(), ModelError> {
        let path = folder.join("added_tokens.json");
        let listed = if self.has_details { None } else { object_if_there(&path)? };
        let special = self.roles.iter().flatten().chain(self.additional.iter().flatten()).filter_map(content);
        let special: std::collections::HashSet<&str> = special.collect();
        for (content, id) in listed.unwrap_or_default() {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| file_error(&path, format!("{content:?}: expected an id")))?;
            self.added.insert(id, added_token(id, &content, special.contains(content.as_str())));
        }
        let path = folder.join("tokenizer_config.json");
        let decoder = self.fields.get("added_tokens_decoder").and_then(Value::as_object).cloned();
        for (id, token) in decoder.unwrap_or_default() {
            let wrong = || file_error(&path, format!("`added_tokens_decoder`: {id:?} is no id of a token"));
            let number: u32 = id.parse().map_err(|_| wrong())?;
            let mut token = token.as_object().cloned().ok_or_else(wrong)?;
            token.get("content").and_then(Value::as_str).ok_or_else(wrong)?;
            token.insert("id".to_owned(), number.into());
            for field in ["single_word", "lstrip", "rstrip", "normalized", "special"] {
                token.entry(field).or_insert(Value::Bool(false));
            }
            self.added.insert(number, Value::Object(token));
        }
        Ok(())
    }

    /// The names of all tokens that are special or were added.
    pub(super) fn special(&self) -> impl Iterator<Item = &str> {
        let named = self.named.iter().flatten().map(String::as_str);
        let listed = self.roles.iter().flatten().chain(self.additional.iter().flatten()).chain(self.added.values());
        named.chain(listed.filter_map(content))
    }

    /// The name of the token that masks others.
    pub(super) fn mask(&self) -> Option<String> {
        self.roles.last()?.as_ref().and_then(content).map(str::to_owned)
    }

    /// A field that holds a text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// A field that holds true or false.
    pub(super) fn flag(&self, field: &str) -> Option<bool> {
        self.fields.get(field).and_then(Value::as_bool)
    }
}

/// The text of a token, which is written as a name or as an object.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.get("content").unwrap_or(token).as_str()
}

/// A token as `tokenizer.json` lists it among those that were added.
pub(super) fn added_token(id: u32, content: &str, special: bool) -> Value {
    serde_json::json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": !special, "special": special,
    })
}

fn object_if_there(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    let json: Value = crate::from_json(&bytes).map_err(|error| file_error(path, error))?;
    match json {
        Value::Object(fields) => Ok(Some(fields)),
        _ => Err(file_error(path, "expected a JSON object")),
    }
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ModelError> {
    match crate::read_file(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}
