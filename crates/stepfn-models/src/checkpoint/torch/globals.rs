//! The names that a pickle may ask for, and what they make. There are no others, and none of them runs code.

use super::value::{Objects, Storage, Value, View};
use crate::checkpoint::element::Element;

/// A name that tensors are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `…_v2`, whose memory says the element type.
    RebuildTensor,
    /// `…_v3`, which says it itself.
    RebuildTensorV3,
    RebuildParameter,
    Storage(Element),
    UntypedStorage,
    Size,
    Dtype(Element),
    /// Functions whose result no tensor needs.
    Unused,
}

/// Dimensions that a tensor may have; PyTorch's own limit.
const MOST_DIMENSIONS: usize = 64;

impl Global {
    /// Finds a name, such as `torch` and `FloatStorage`.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, String> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch.storage" | "torch", "UntypedStorage" | "_UntypedStorage") => Self::UntypedStorage,
            ("_codecs", "encode") | ("torch", "device") => Self::Unused,
            ("torch" | "torch.cuda", name) if let Some(element) = storage(name) => Self::Storage(element),
            ("torch", name) if let Some(element) = dtype(name) => Self::Dtype(element),
            _ => return Err(refused(module, name)),
        })
    }

    /// Calls it.
    pub(super) fn call<'a>(
        self,
        arguments: Value<'a>,
        objects: &mut Objects<'a>,
        budget: &mut usize,
    ) -> Result<Value<'a>, String> {
        let given = objects.items_of(arguments).ok_or("the pickle calls something without a list of arguments")?;
        match (self, given) {
            (Self::OrderedDict, []) => Ok(objects.dict(Vec::new())),
            // As Python 2 wrote it: with a list of its items.
            (Self::OrderedDict, &[items]) => {
                let items = objects.items_of(items).ok_or("the pickle has a dict whose items are not a list")?;
                *budget = budget.checked_sub(items.len()).ok_or(TOO_MUCH)?;
                let pair = |item: &Value<'a>| match objects.items_of(*item) {
                    Some(&[key, value]) => Ok((key, value)),
                    _ => Err("the pickle has a dict whose items are not pairs"),
                };
                let pairs = items.iter().map(pair).collect::<Result<_, _>>()?;
                Ok(objects.dict(pairs))
            }
            // Then requires_grad, hooks and metadata.
            (Self::RebuildTensor, &[storage, offset, size, stride, ..]) => {
                check_metadata(given.get(6), objects)?;
                view(objects, [storage, offset, size, stride], None)
            }
            (
                Self::RebuildTensorV3,
                &[storage, offset, size, stride, _, _, Value::Global(Self::Dtype(element)), ..],
            ) => {
                check_metadata(given.get(7), objects)?;
                view(objects, [storage, offset, size, stride], Some(element))
            }
            (Self::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
            (Self::Size, &[size @ (Value::Tuple(_) | Value::List(_) | Value::EmptyTuple)]) => Ok(size),
            (Self::Size, []) => Ok(Value::EmptyTuple),
            (Self::Unused, _) => Ok(Value::Other),
            _ => Err(format!("the pickle calls {} with arguments that it doesn't take", self.name())),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OrderedDict => "`OrderedDict`",
            Self::RebuildTensor => "`_rebuild_tensor_v2`",
            Self::RebuildTensorV3 => "`_rebuild_tensor_v3`",
            Self::RebuildParameter => "`_rebuild_parameter`",
            Self::Size => "`torch.Size`",
            Self::Storage(_) | Self::UntypedStorage => "a storage type",
            Self::Dtype(_) => "an element type",
            Self::Unused => "a function",
        }
    }
}

pub(super) const TOO_MUCH: &str =
    "the pickle uses the same list over and over; no program that saves tensors does that";

/// Says what was asked for, and that it wasn't run.
pub(super) fn refused(module: &str, name: &str) -> String {
    let asked = shortened(&format!("{module}.{name}"));
    match module.split('.').next() {
        Some("torch") => format!(
            "asks for `{asked}`, which is not read here (nothing was run); save only the state dict: \
             `torch.save(model.state_dict(), …)`"
        ),
        _ => format!(
            "asks to run `{asked}`, which no tensor needs. It was not run. Don't load this file in Python unless you trust its author; \
             if it is yours, save only the state dict: `torch.save(model.state_dict(), …)`"
        ),
    }
}

/// Text from a file, cut so that an error stays readable.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

fn storage(name: &str) -> Option<Element> {
    Some(match name.strip_suffix("Storage")? {
        "Double" => Element::F64,
        "Float" => Element::F32,
        "Half" => Element::F16,
        "BFloat16" => Element::Bf16,
        "Long" => Element::I64,
        "Int" => Element::I32,
        "Short" => Element::I16,
        "Char" => Element::I8,
        "Byte" => Element::U8,
        "Bool" => Element::Bool,
        "ComplexFloat" => Element::C64,
        "ComplexDouble" => Element::C128,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<Element> {
    Some(match name {
        "float64" => Element::F64,
        "float32" => Element::F32,
        "float16" => Element::F16,
        "bfloat16" => Element::Bf16,
        "float8_e4m3fn" => Element::F8E4m3,
        "float8_e5m2" => Element::F8E5m2,
        "float8_e8m0fnu" => Element::F8E8m0,
        "int64" => Element::I64,
        "int32" => Element::I32,
        "int16" => Element::I16,
        "int8" => Element::I8,
        "uint64" => Element::U64,
        "uint32" => Element::U32,
        "uint16" => Element::U16,
        "uint8" => Element::U8,
        "bool" => Element::Bool,
        "complex64" => Element::C64,
        "complex128" => Element::C128,
        _ => return None,
    })
}

/// What a persistent id stands for: `("storage", type, key, device, elements)`, in old files with a view's place as well.
pub(super) fn persistent<'a>(id: Value<'a>, objects: &mut Objects<'a>) -> Result<Value<'a>, String> {
    let malformed = || "the pickle refers to memory in a way that PyTorch doesn't".to_owned();
    let (&Value::Text(kind), rest) = objects.items_of(id).and_then(<[_]>::split_first).ok_or_else(malformed)? else {
        return Err(malformed());
    };
    if kind != "storage" {
        return Err(format!(
            "has a saved `{}`, not only tensors (nothing was run); save only the state dict: `torch.save(model.state_dict(), …)`",
            shortened(kind)
        ));
    }
    let (&[Value::Global(global), Value::Text(key), _, Value::Integer(whole)], more) =
        rest.split_first_chunk::<4>().ok_or_else(malformed)?
    else {
        return Err(malformed());
    };
    let element = match global {
        Global::Storage(element) => Some(element),
        Global::UntypedStorage => None,
        _ => return Err(malformed()),
    };
    let whole = usize::try_from(whole).map_err(|_| malformed())?;
    let (start, len) = match more {
        [] | [Value::None] => (0, whole),
        &[view] => match objects.items_of(view) {
            Some(&[_, Value::Integer(start), Value::Integer(len)]) => {
                let place = usize::try_from(start).ok().zip(usize::try_from(len).ok());
                let inside = |&(start, len): &(usize, usize)| start.checked_add(len).is_some_and(|end| end <= whole);
                place.filter(inside).ok_or_else(malformed)?
            }
            _ => return Err(malformed()),
        },
        _ => return Err(malformed()),
    };
    Ok(objects.storage(Storage { key, element, len, start, whole }))
}

/// A lazily negated or conjugated tensor has its sign outside its memory.
fn check_metadata(metadata: Option<&Value>, objects: &Objects) -> Result<(), String> {
    let flags = metadata.and_then(|metadata| objects.pairs_of(*metadata)).unwrap_or_default();
    match flags.iter().take(4).any(|(_, flag)| *flag == Value::Bool(true)) {
        true => Err("has a tensor that is stored negated or conjugated; save its `.resolve_neg()`".to_owned()),
        false => Ok(()),
    }
}

fn view<'a>(
    objects: &mut Objects<'a>,
    [storage, offset, size, stride]: [Value<'a>; 4],
    element: Option<Element>,
) -> Result<Value<'a>, String> {
    let Value::Storage(index) = storage else {
        return Err("has a tensor without memory".to_owned());
    };
    let stored = objects.storages.get(index).and_then(|storage| storage.element);
    let element = element.or(stored).ok_or("has a tensor without an element type")?;
    let sizes = |value: Value| {
        let items = objects.items_of(value)?;
        let size = |item: &Value| match item {
            Value::Integer(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        (items.len() <= MOST_DIMENSIONS).then(|| items.iter().map(size).collect::<Option<Vec<_>>>()).flatten()
    };
    let offset = match offset {
        Value::Integer(offset) => usize::try_from(offset).ok(),
        _ => None,
    };
    let (Some(shape), Some(strides), Some(offset)) = (sizes(size), sizes(stride), offset) else {
        return Err("has a tensor whose sizes are not a list of at most 64 numbers".to_owned());
    };
    if shape.len() != strides.len() {
        return Err(format!("has a tensor with {} sizes and {} strides", shape.len(), strides.len()));
    }
    Ok(objects.view(View { storage: index, element, shape, strides, offset }))
}
