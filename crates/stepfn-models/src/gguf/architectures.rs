//! llama.cpp's model architectures, as data: each is a family here, with other names of fields and tensors.
//!
//! Where llama.cpp has one value for all models of an architecture, files don't have it, and neither does a table here have a key.

mod tables;
mod values;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::metadata::Fields;
use super::reader::{Contents, Metadata, TensorRow};
use super::stored::Order;
use super::{Gguf, GgufTensor, Stored, rotary};
use crate::ModelError;
use tables::ARCHITECTURES;

/// An architecture, as data.
struct Architecture {
    /// `general.architecture`.
    name: &'static str,
    /// The family, `model_type` in `config.json`.
    family: &'static str,
    /// A tensor that files of another table with the same name don't have.
    only_with: Option<&'static str>,
    /// Fields of `config.json`, and where their values are.
    fields: &'static [&'static [(&'static str, From)]],
    /// Tensors, without `.weight` and `.bias`, and with `{}` for the number of a layer.
    tensors: &'static [&'static [(&'static str, &'static str, Moved)]],
}

/// Where a field's value is.
enum From {
    /// The whole number of a key.
    Number(&'static str),
    /// The number of a key.
    Float(&'static str),
    /// The number of a key, or this if it isn't there.
    FloatOr(&'static str, f64),
    /// True or false by a key, or this if it isn't there.
    FlagOr(&'static str, bool),
    /// The id of a token, or `null`.
    Token(&'static str),
    /// Whether there is a tensor.
    Has(&'static str),
    /// Whether there is none.
    Lacks(&'static str),
    /// Always this.
    Text(&'static str),
    /// What a function makes of the metadata.
    Of(fn(&Fields) -> Result<Value, ModelError>),
}

/// How llama.cpp's converter moves the elements of a tensor.
#[derive(Clone, Copy)]
enum Moved {
    Same,
    /// [`Order::Interleaved`] in the heads of queries.
    Queries,
    /// [`Order::Interleaved`] in the heads of keys.
    Keys,
    /// [`Order::Regrouped`].
    QueriesKeysValues,
    /// [`Order::Transposed`].
    Transposed,
    /// [`Order::PlusOne`].
    PlusOne,
}

/// Keys for what no family here computes, with the value that changes nothing.
const REFUSED: [(&str, f64, &str); 12] = [
    ("expert_count", 0.0, "mixtures of experts are not implemented"),
    ("attention.scale", 0.0, "another scale of scores is not implemented for this architecture"),
    ("attention.clamp_kqv", 0.0, "clamped queries, keys and values are not implemented"),
    ("attention.temperature_scale", 0.0, "attention that depends on the position is not implemented"),
    ("attention.output_scale", 0.0, "scaled outputs of attention are not implemented"),
    ("logit_scale", 1.0, "scaled logits are not implemented for this architecture"),
    ("residual_scale", 1.0, "scaled branches are not implemented for this architecture"),
    ("embedding_scale", 1.0, "scaled embeddings are not implemented for this architecture"),
    ("nextn_predict_layers", 0.0, "layers that predict further tokens are not implemented"),
    ("rope.freq_base_swa", 0.0, "other positions in layers with a window are not implemented for this architecture"),
    ("pooling_type", 0.0, "models that embed texts are not implemented"),
    ("router_logit_softcapping", 0.0, "mixtures of experts are not implemented"),
];

/// Translates the metadata and the tensor tables of a model.
pub(super) fn describe(files: &[(&Path, &[u8])], contents: Vec<Contents>) -> Result<Gguf, ModelError> {
    let path = files.first().map_or(Path::new(""), |(path, _)| path);
    let name = contents.first().and_then(|contents| contents.metadata.get("general.architecture"));
    let architecture = match name {
        Some(Metadata::Text(name)) => ARCHITECTURES.iter().find(|architecture| {
            let has = |tensor| contents.iter().any(|contents| contents.tensors.iter().any(|row| row.name == tensor));
            architecture.name == name && architecture.only_with.is_none_or(has)
        }),
        _ => None,
    };
    let Some(architecture) = architecture else {
        let mut names: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        names.dedup();
        let found = name.map_or_else(|| "none".to_owned(), Metadata::shortened);
        let message = format!("metadata `general.architecture`: expected one of {}; found {found}", names.join(", "));
        return Err(ModelError::File { path: path.to_owned(), message });
    };
    let bytes: Vec<&[u8]> = files.iter().map(|(_, bytes)| *bytes).collect();
    let fields = Fields { path, architecture: architecture.name, contents: &contents, bytes: &bytes };
    let config = architecture.config(&fields)?;
    let mut tensors = Vec::new();
    for (file, ((path, _), contents)) in files.iter().zip(contents).enumerate() {
        for row in contents.tensors {
            // They are part of the configuration.
            if ![rotary::FACTORS, rotary::SHORT, rotary::LONG].contains(&row.name.as_str()) {
                tensors.push(architecture.tensor(path, file, row, &config)?);
            }
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some([twice, _]) = tensors.array_windows().find(|[a, b]| a.name == b.name) {
        let message = format!("tensor `{}` appears twice", twice.name);
        return Err(ModelError::File { path: path.to_owned(), message });
    }
    Ok(Gguf { config: Value::Object(config), tensors })
}

impl Architecture {
    fn config(&self, f: &Fields) -> Result<Map<String, Value>, ModelError> {
        for (key, neutral, why) in REFUSED {
            let is_neutral = match f.get(key) {
                None | Some(Metadata::Bool(false)) => true,
                Some(Metadata::Integer(number)) => *number == 0 || *number as f64 == neutral,
                Some(Metadata::Float(number)) => *number == 0.0 || *number == neutral,
                Some(_) => false,
            };
            let reads = |(_, from): &(&str, From)| from.reads(key);
            if !is_neutral && !self.fields.iter().copied().flatten().any(reads) {
                return Err(f.error(key, format!("{neutral}: {why}")));
            }
        }
        if f.flag("attention.causal")? == Some(false) {
            return Err(f.error("attention.causal", "true: attention to later tokens is not implemented"));
        }
        let mut config = Map::new();
        config.insert("model_type".to_owned(), json!(self.family));
        for (field, from) in self.fields.iter().copied().flatten() {
            config.insert((*field).to_owned(), from.value(f)?);
        }
        Ok(config)
    }

    fn tensor(
        &self,
        path: &Path,
        file: usize,
        row: TensorRow,
        config: &Map<String, Value>,
    ) -> Result<GgufTensor, ModelError> {
        let heads = |field: &str| config.get(field).and_then(Value::as_u64).unwrap_or(0) as usize;
        let (name, moved) = self.published(&row.name);
        let queries = heads("num_attention_heads").max(heads("n_head"));
        let order = match moved {
            Moved::Same => Order::Same,
            Moved::Queries => Order::Interleaved(queries),
            Moved::Keys => Order::Interleaved(heads("num_key_value_heads")),
            Moved::QueriesKeysValues => Order::Regrouped(queries),
            Moved::Transposed if row.shape.len() == 2 => Order::Transposed,
            Moved::Transposed => Order::Same,
            Moved::PlusOne => Order::PlusOne,
        };
        let rows = row.shape.first().copied().unwrap_or(0);
        if order.rows_moved_in().is_some() && row.shape.len() == 1 && row.blocks.elements > 1 {
            return Err(ModelError::Tensor {
                path: path.to_owned(),
                tensor: row.name,
                expected: "plain numbers, because it is a vector".to_owned(),
                found: format!("type {}", row.blocks.name),
            });
        }
        // Other shapes don't match the configuration; loading reports that better.
        let fits = order.rows_moved_in().is_none_or(|moved| moved > 0 && rows % moved == 0);
        let mut shape = row.shape;
        if order == Order::Transposed {
            shape.reverse();
        }
        let stored = Stored { blocks: row.blocks, order: if fits { order } else { Order::Same } };
        Ok(GgufTensor { name, shape, stored, file, bytes: row.bytes })
    }

    /// A tensor's name in published checkpoints, and how it is stored.
    fn published(&self, name: &str) -> (String, Moved) {
        let unknown = (name.to_owned(), Moved::Same);
        let Some((stem, suffix)) = name.rsplit_once('.') else { return unknown };
        let layer = stem.split('.').find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let pattern = layer.map_or_else(|| stem.to_owned(), |layer| stem.replacen(&format!(".{layer}."), ".{}.", 1));
        let mut rows = self.tensors.iter().copied().flatten();
        match rows.find(|(theirs, _, _)| *theirs == pattern) {
            Some((_, published, moved)) if matches!(suffix, "weight" | "bias") => {
                (format!("{}.{suffix}", published.replace("{}", layer.unwrap_or_default())), *moved)
            }
            _ => unknown,
        }
    }
}

impl From {
    /// Whether it is the number of this key.
    fn reads(&self, sought: &str) -> bool {
        matches!(self, Self::Float(key) | Self::FloatOr(key, _) if *key == sought)
    }

    fn value(&self, f: &Fields) -> Result<Value, ModelError> {
        Ok(match *self {
            Self::Number(key) => json!(f.needed(key)?),
            Self::Float(key) => json!(f.float(key)?.ok_or_else(|| f.error(key, "a number"))?),
            Self::FloatOr(key, absent) => json!(f.float(key)?.unwrap_or(absent)),
            Self::FlagOr(key, absent) => json!(f.flag(key)?.unwrap_or(absent)),
            Self::Token(key) => json!(f.number(key)?),
            Self::Has(tensor) => json!(f.has(tensor)),
            Self::Lacks(tensor) => json!(!f.has(tensor)),
            Self::Text(text) => json!(text),
            Self::Of(function) => function(f)?,
        })
    }
}
