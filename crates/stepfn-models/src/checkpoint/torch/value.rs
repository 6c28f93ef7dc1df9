//! What the pickle machine computes with.

use super::globals::Global;
use crate::checkpoint::element::Element;

/// A value. Compound ones lie in [`Objects`], so that any value is copied, shared and dropped in constant time, however deep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Integer(i64),
    Text(&'a str),
    Global(Global),
    EmptyTuple,
    /// Index in [`Objects::items`].
    Tuple(usize),
    /// Index in [`Objects::items`].
    List(usize),
    /// Index in [`Objects::dicts`].
    Dict(usize),
    /// Index in [`Objects::storages`].
    Storage(usize),
    /// Index in [`Objects::views`].
    Tensor(usize),
    /// What no tensor is made of: numbers with a fraction, bytes, sets.
    Other,
}

/// The memory of a tensor, or of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage<'a> {
    /// Its name in the file.
    pub(super) key: &'a str,
    /// `None` for plain bytes, whose tensors say what they are.
    pub(super) element: Option<Element>,
    /// Elements, or plain bytes.
    pub(super) len: usize,
    /// Where it starts in the memory with that name, and how many elements that has in all.
    pub(super) start: usize,
    pub(super) whole: usize,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// Index in [`Objects::storages`].
    pub(super) storage: usize,
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// In elements, as the offset.
    pub(super) strides: Vec<usize>,
    pub(super) offset: usize,
}

/// Everything that values refer to.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    pub(super) items: Vec<Vec<Value<'a>>>,
    pub(super) dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub(super) storages: Vec<Storage<'a>>,
    pub(super) views: Vec<View>,
}

impl<'a> Objects<'a> {
    pub(super) fn tuple(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        if items.is_empty() { Value::EmptyTuple } else { Value::Tuple(push(&mut self.items, items)) }
    }

    pub(super) fn list(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(push(&mut self.items, items))
    }

    pub(super) fn dict(&mut self, pairs: Vec<(Value<'a>, Value<'a>)>) -> Value<'a> {
        Value::Dict(push(&mut self.dicts, pairs))
    }

    pub(super) fn storage(&mut self, storage: Storage<'a>) -> Value<'a> {
        Value::Storage(push(&mut self.storages, storage))
    }

    pub(super) fn view(&mut self, view: View) -> Value<'a> {
        Value::Tensor(push(&mut self.views, view))
    }

    /// The items of a tuple or list.
    pub(super) fn items_of(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::EmptyTuple => Some(&[]),
            Value::Tuple(index) | Value::List(index) => self.items.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The pairs of a dict; of those with the same key, the last counts.
    pub(super) fn pairs_of(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> usize {
    list.push(item);
    list.len() - 1
}
