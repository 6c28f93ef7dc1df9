//! From what a pickle says to named tensors, each checked to lie inside its memory.

use core::ops::Range;
use std::collections::BTreeMap;

use super::TorchTensor;
use super::globals::shortened;
use super::pickle::Unpickled;
use super::value::{Objects, Storage, Value, View};

/// Names under which training programs put the state dict beside other things.
const WRAPPERS: [&str; 5] = ["state_dict", "model_state_dict", "model", "module", "model_state"];
/// Wrappers within wrappers.
const DEEPEST: usize = 8;
/// A view that repeats its memory may have this many bytes, or as many as the file.
const REPEATED: usize = 16 << 20;

/// The tensors of a state dict. `place` finds the bytes of a memory in a file of `file_len` bytes.
pub(super) fn tensors(
    unpickled: &Unpickled,
    file_len: usize,
    place: impl Fn(&Storage) -> Option<Range<usize>>,
) -> Result<Vec<TorchTensor>, String> {
    let objects = &unpickled.objects;
    let places: Vec<_> = objects.storages.iter().map(place).collect();
    let mut tensors = BTreeMap::new();
    for (name, view) in named_views(unpickled.value, objects)? {
        let storage = objects.storages.get(view.storage).zip(places.get(view.storage));
        let (storage, place) = storage.ok_or("has a tensor without memory")?;
        let tensor = tensor(name, view, storage, place.clone(), file_len)
            .map_err(|reason| format!("tensor `{}`: {reason}", shortened(name)))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors.into_values().collect())
}

/// The dict's tensors; what else it has, such as a step count, is no weight.
fn named_views<'a, 'o>(mut value: Value<'a>, objects: &'o Objects<'a>) -> Result<Vec<(&'a str, &'o View)>, String> {
    for _ in 0..DEEPEST {
        let pairs = objects.pairs_of(value).ok_or("has no dict of named tensors")?;
        let view = |&(key, value): &(Value<'a>, Value<'a>)| match (key, value) {
            (Value::Text(name), Value::Tensor(index)) => Some((name, objects.views.get(index)?)),
            _ => None,
        };
        let views: Vec<_> = pairs.iter().filter_map(view).collect();
        let named = |name: &&str| pairs.iter().rev().find(|(key, _)| *key == Value::Text(name));
        let wrapped = WRAPPERS.iter().filter_map(named).map(|(_, value)| *value);
        match wrapped.into_iter().find(|value| matches!(value, Value::Dict(_))) {
            Some(inner) if views.is_empty() => value = inner,
            _ if views.is_empty() => return Err(no_tensors(pairs)),
            _ => return Ok(views),
        }
    }
    Err("has no tensors".to_owned())
}

fn no_tensors(pairs: &[(Value, Value)]) -> String {
    const MOST: usize = 8;
    let key = |(key, _): &(Value, Value)| match key {
        Value::Text(key) => Some(format!("`{}`", shortened(key))),
        _ => None,
    };
    let keys: Vec<_> = pairs.iter().filter_map(key).take(MOST).collect();
    if keys.is_empty() { "has no tensors".to_owned() } else { format!("has no tensors, only {}", keys.join(", ")) }
}

fn tensor(
    name: &str,
    view: &View,
    storage: &Storage,
    place: Option<Range<usize>>,
    file_len: usize,
) -> Result<TorchTensor, String> {
    let View { element, shape, strides, offset, .. } = view.clone();
    let size = element.size();
    // Without an element type, a memory is counted in bytes.
    let stored_size = storage.element.map_or(1, |element| element.size());
    if storage.element.is_some_and(|stored| stored != element) {
        return Err("has another element type than its memory".to_owned());
    }
    let start = storage.start.checked_mul(stored_size).filter(|start| start.is_multiple_of(size));
    let len = storage.len.checked_mul(stored_size);
    let whole = storage.whole.checked_mul(stored_size);
    let (Some(start), Some(len), Some(whole)) = (start, len, whole) else {
        return Err("has more memory than this machine can address".to_owned());
    };
    let bytes = match place {
        // PyTorch leaves out the file of an empty memory in some versions.
        None if whole == 0 => 0..0,
        None => return Err(format!("its memory, `{}`, is not in the file", shortened(storage.key))),
        Some(place) if place.len() < whole || place.end > file_len => {
            return Err(format!(
                "needs {whole} bytes, and the file has {}; was the download interrupted?",
                place.len()
            ));
        }
        Some(place) => place,
    };
    // Start and length are within the whole, which is within the place.
    let bytes = bytes.start + start..bytes.start + start + len;
    let is_empty = shape.contains(&0);
    let total = if is_empty { Some(0) } else { element.bytes(&shape) };
    let reach = shape.iter().zip(&strides).try_fold(offset, |reach, (&size, &stride)| {
        size.saturating_sub(1).checked_mul(stride).and_then(|more| reach.checked_add(more))
    });
    let inside = is_empty || reach.is_some_and(|last| last < len / size);
    if !inside {
        return Err(format!("shape {shape:?} with strides {strides:?} from {offset} reaches beyond its {len} bytes"));
    }
    match total {
        Some(total) if total <= bytes.len().max(file_len).max(REPEATED) => {}
        _ => return Err(format!("shape {shape:?} repeats {len} bytes too often to be read")),
    }
    Ok(TorchTensor { name: name.to_owned(), element, shape, strides, bytes, offset })
}
