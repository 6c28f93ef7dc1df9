//! The chat templates that come with a tokenizer: one, or several by name.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::settings::{NAMED, read_if_there};
use super::{Tokenizer, file_error};
use crate::ModelError;
use crate::chat::ChatTemplate;

/// The name of the template that is used if none is named.
const DEFAULT: &str = "default";

/// Chat templates by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Templates(BTreeMap<String, String>);

impl Templates {
    /// The field `chat_template`: a template, or a list of them with names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_field(field: &Value) -> Result<Self, String> {
        let named = |entry: &Value| {
            Some((entry.get("name")?.as_str()?.to_owned(), entry.get("template")?.as_str()?.to_owned()))
        };
        let templates = match field {
            Value::Null => Some(BTreeMap::new()),
            Value::String(template) => Some(BTreeMap::from([(DEFAULT.to_owned(), template.clone())])),
            Value::Array(entries) => entries.iter().map(named).collect(),
            _ => None,
        };
        templates.map(Self).ok_or_else(|| {
            let found = crate::json::shortened(field);
            format!("`chat_template` should be a text, or a list of objects with `name` and `template`, and is {found}")
        })
    }

    /// Adds the template of this name, `None` being the one that is used if none is named.
    pub(crate) fn add(&mut self, name: Option<&str>, template: String) {
        self.0.insert(name.unwrap_or(DEFAULT).to_owned(), template);
    }

    /// Adds what is in files of its own, which count more than the field: `chat_template.json`, then `chat_template.jinja` and
    /// `additional_chat_templates/NAME.jinja`.
    ///
    /// # Errors
    /// [`ModelError::File`] of the file that is unreadable or malformed.
    pub(super) fn read_files(&mut self, folder: &Path) -> Result<(), ModelError> {
        let path = folder.join("chat_template.json");
        if let Some(bytes) = read_if_there(&path)? {
            let json: Value = crate::from_json(&bytes).map_err(|error| file_error(&path, error))?;
            let Some(field) = json.get("chat_template") else {
                return Err(file_error(&path, "expected an object with the field `chat_template`"));
            };
            self.0.extend(Self::of_field(field).map_err(|what| file_error(&path, what))?.0);
        }
        let mut files = vec![(None, folder.join("chat_template.jinja"))];
        let more = folder.join("additional_chat_templates");
        match fs::read_dir(&more) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|error| file_error(&more, error))?.path();
                    let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
                    if name.is_some() && path.extension().is_some_and(|extension| extension == "jinja") {
                        files.push((name, path));
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(file_error(&more, error)),
        }
        for (name, path) in files {
            if let Some(bytes) = read_if_there(&path)? {
                let template = String::from_utf8(bytes).map_err(|error| file_error(&path, error))?;
                self.add(name.as_deref(), template);
            }
        }
        Ok(())
    }

    /// The template of this name, `None` being the one that is used if none is named.
    pub(crate) fn get(&self, name: Option<&str>) -> Option<&str> {
        self.0.get(name.unwrap_or(DEFAULT)).map(String::as_str)
    }
}

impl Tokenizer {
    /// The names of the checkpoint's chat templates. Most have one, `default`, or none.
    pub fn chat_template_names(&self) -> impl Iterator<Item = &str> {
        self.chat_template.0.keys().map(String::as_str)
    }

    /// A chat template of the checkpoint, ready to write chats; by default the one named `default`.
    ///
    /// Tokenize what it writes without special tokens (`encode(text, false)`): they are in the text.
    ///
    /// # Errors
    /// [`ModelError::Chat`] if there is none of this name, or it can't be used.
    pub fn compiled_chat_template(&self, name: Option<&str>) -> Result<ChatTemplate, ModelError> {
        let Some(source) = self.chat_template.get(name) else {
            let names: Vec<String> = self.chat_template_names().map(|name| format!("`{name}`")).collect();
            let message = match (names.as_slice(), name) {
                ([], _) => "the model has no chat template".to_owned(),
                (names, Some(name)) => format!("the model has no chat template `{name}`, but {}", names.join(", ")),
                (names, None) => {
                    format!("the model has several chat templates, none of them the default: {}", names.join(", "))
                }
            };
            return Err(ModelError::Chat { message });
        };
        let named = NAMED.iter().zip(&self.named);
        let special = named.filter_map(|(field, name)| Some(((*field).to_owned(), name.clone()?))).collect();
        ChatTemplate::new(source, &special)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_come_from_the_field_and_from_files() {
        let field = json!([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]);
        let mut templates = Templates::of_field(&field).unwrap();
        assert_eq!(
            (templates.get(None), templates.get(Some("tool_use")), templates.get(Some("rag"))),
            (Some("a"), Some("b"), None)
        );
        assert_eq!(Templates::of_field(&json!("c")).unwrap().get(None), Some("c"));
        assert_eq!(Templates::of_field(&json!(null)).unwrap(), Templates::default());
        for wrong in [json!(5), json!({}), json!([{"name": "rag"}]), json!(["a"])] {
            let error = Templates::of_field(&wrong).unwrap_err();
            assert!(
                error.contains("`chat_template` should be a text") && error.contains(&wrong.to_string()),
                "{error}"
            );
        }

        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("chat_template.json", r#"{"chat_template": "d"}"#);
        templates.read_files(folder.path()).unwrap();
        assert_eq!((templates.get(None), templates.get(Some("tool_use"))), (Some("d"), Some("b")));
        fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
        write("additional_chat_templates/rag.jinja", "e");
        write("additional_chat_templates/README.md", "f");
        write("chat_template.jinja", "g");
        templates.read_files(folder.path()).unwrap();
        assert_eq!(
            (templates.get(None), templates.get(Some("rag")), templates.get(Some("README"))),
            (Some("g"), Some("e"), None)
        );
        write("chat_template.json", "{}");
        assert!(templates.read_files(folder.path()).is_err());
    }
}
