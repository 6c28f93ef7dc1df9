//! Writes what `torch.save` wrote before PyTorch 1.6, from the tensors of a safetensors file.

use safetensors::{Dtype, SafeTensors};

/// The tensors of a safetensors file as a PyTorch file, with `aliases` (name and the tensor that it shares memory with), and with a counter
/// that is no parameter.
pub fn saved(weights: &SafeTensors, aliases: &[(&str, &str)]) -> Vec<u8> {
    let mut state_dict = b"\x80\x02}".to_vec();
    let (mut names, mut memories) = (b"\x80\x02](".to_vec(), Vec::new());
    let mut tensors = weights.tensors();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, view) in &tensors {
        let kind = match view.dtype() {
            Dtype::F32 => "FloatStorage",
            Dtype::F16 => "HalfStorage",
            Dtype::BF16 => "BFloat16Storage",
            other => panic!("no memory of type {other:?}"),
        };
        let elements = view.shape().iter().product();
        for alias in [name.as_str()].into_iter().chain(aliases_of(name, aliases)) {
            entry(&mut state_dict, alias, (kind, name, elements), view.shape());
        }
        names.extend(text(name));
        memories.extend((elements as u64).to_le_bytes());
        memories.extend(view.data());
    }
    entry(&mut state_dict, "num_batches_tracked", ("LongStorage", "counter", 1), &[]);
    names.extend(text("counter"));
    memories.extend([1_u64, 7].map(u64::to_le_bytes).concat());
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [magic.as_slice(), &state_dict, b".", &names, b"e.", &memories].concat()
}

fn aliases_of<'a>(name: &str, aliases: &[(&'a str, &'a str)]) -> impl Iterator<Item = &'a str> {
    aliases.iter().filter(move |(_, tensor)| *tensor == name).map(|(alias, _)| *alias)
}

/// A text, pickled.
fn text(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

fn integers(values: &[usize]) -> Vec<u8> {
    let integer = |value: &usize| [b"J".as_slice(), &(*value as u32).to_le_bytes()].concat();
    [b"(".as_slice(), &values.iter().flat_map(integer).collect::<Vec<_>>(), b"t"].concat()
}

/// A tensor that is all of a memory: the memory's type, name and number of elements.
fn entry(state_dict: &mut Vec<u8>, name: &str, (kind, key, elements): (&str, &str, usize), shape: &[usize]) {
    let strides: Vec<usize> = (1..=shape.len()).map(|from| shape[from..].iter().product()).collect();
    state_dict.extend(text(name));
    state_dict.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    state_dict.extend(text("storage"));
    state_dict.extend(format!("ctorch\n{kind}\n").bytes());
    state_dict.extend([text(key), text("cpu")].concat());
    state_dict.extend([b"J".as_slice(), &(elements as u32).to_le_bytes(), b"NtQK\x00"].concat());
    state_dict.extend([integers(shape), integers(&strides)].concat());
    state_dict.extend(b"\x89ccollections\nOrderedDict\n)RtRs");
}
