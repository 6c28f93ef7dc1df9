//! The name tables: every tensor is used, and every parameter has a tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::config::{Activation, NormKind, NormOver, NormPlacement, Positions, StackConfig};
use crate::names::{Layout, Name};

/// Names and shapes of the tensors in a file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let shape = |value: &Value| serde_json::from_value(value["shape"].clone()).unwrap();
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    entries.map(|(name, value)| (name.clone(), shape(value))).collect()
}

/// Our parameters with their shapes, as in `names.rs`.
fn parameters(config: &TransformerConfig) -> BTreeMap<String, Vec<usize>> {
    let mut parameters = BTreeMap::new();
    let mut linear = |name: String, shape: [usize; 2], bias: bool| {
        if bias {
            parameters.insert(format!("{name}.bias"), vec![shape[0]]);
        }
        parameters.insert(format!("{name}.weight"), shape.to_vec());
    };
    let hidden = config.hidden_size;
    let width = |stack: &StackConfig| stack.embedding_size.unwrap_or(hidden);
    linear("head".into(), [config.vocab_size, width(&config.decoder)], config.head.bias);
    let (mut norms, mut head_norms) = (Vec::new(), Vec::new());
    if let Some(transform) = &config.head.transform {
        linear("head.transform".into(), [width(&config.decoder), hidden], transform.bias);
        head_norms.push(("head.norm".into(), vec![width(&config.decoder)], transform.norm.kind));
    }
    for (s, stack) in config.encoder.iter().map(|stack| ("encoder", stack)).chain([("decoder", &config.decoder)]) {
        let mut norm = |name: String, size: usize| norms.push((name, vec![size], stack.norm.kind));
        let vocab = if s == "encoder" { config.source_vocab_size() } else { config.vocab_size };
        linear(format!("{s}.embedding"), [vocab, width(stack)], false);
        if let Some(size) = stack.embedding_size {
            linear(format!("{s}.project_in"), [hidden, size], stack.projected_last);
            if !stack.projected_last {
                linear(format!("{s}.project_out"), [size, hidden], false);
            }
        }
        let a = &stack.attention;
        let entering = if stack.projected_last { width(stack) } else { hidden };
        if let Some([rows, _]) = stack.positions.learned() {
            linear(format!("{s}.positions"), [rows, entering], false);
        }
        if let Some(types) = stack.token_types {
            linear(format!("{s}.token_types"), [types, entering], false);
        }
        if let Positions::RelativeBias { buckets, by_layer, .. } = stack.positions {
            let layers = (0..stack.n_layers).map(|layer| format!("{s}.layers.{layer}.relative_bias"));
            let tables = if by_layer { layers.collect() } else { vec![format!("{s}.relative_bias")] };
            tables.into_iter().for_each(|table| linear(table, [buckets, a.n_heads], false));
        }
        if stack.embedding_norm {
            norm(format!("{s}.embedding_norm"), entering);
        }
        if stack.final_norm {
            norm(format!("{s}.final_norm"), hidden);
        }
        for layer in 0..stack.n_layers {
            let l = format!("{s}.layers.{layer}");
            let has_cross = s == "decoder" && config.encoder.is_some();
            for attention in ["self_attention", "cross_attention"].iter().take(1 + usize::from(has_cross)) {
                let (queries, keys) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
                linear(format!("{l}.{attention}.query"), [queries, hidden], a.qkv_bias);
                linear(format!("{l}.{attention}.key"), [keys, hidden], a.qkv_bias);
                linear(format!("{l}.{attention}.value"), [keys, hidden], a.qkv_bias);
                linear(format!("{l}.{attention}.output"), [hidden, queries], a.output_bias);
                if stack.norm_placement != NormPlacement::Output && (stack.first_norm || layer > 0) {
                    norm(format!("{l}.{attention}_norm"), hidden);
                }
            }
            if stack.norm_placement != NormPlacement::Output {
                norm(format!("{l}.feed_forward_norm"), hidden);
            }
            if matches!(stack.norm_placement, NormPlacement::Sandwich | NormPlacement::Output) {
                if has_cross {
                    norm(format!("{l}.cross_attention_post_norm"), hidden);
                }
                norm(format!("{l}.self_attention_post_norm"), hidden);
                norm(format!("{l}.feed_forward_post_norm"), hidden);
            }
            if let Some(config) = &a.query_key_norm {
                for (part, heads) in [("query_norm", a.n_heads), ("key_norm", a.n_kv_heads)] {
                    let shape = match config.over {
                        NormOver::Head => vec![a.head_dim],
                        NormOver::EachHead => vec![heads, a.head_dim],
                        NormOver::Token => vec![heads * a.head_dim],
                    };
                    head_norms.push((format!("{l}.self_attention.{part}"), shape, config.norm.kind));
                }
            }
            let ff = &stack.feed_forward;
            let mut fed = |name: String, size: usize| {
                if ff.gated {
                    linear(format!("{name}.gate"), [size, hidden], ff.bias);
                }
                linear(format!("{name}.up"), [size, hidden], ff.bias);
                linear(format!("{name}.down"), [hidden, size], ff.bias);
            };
            if let Some(experts) = stack.experts.as_ref().filter(|_| stack.has_experts(layer)) {
                for expert in 0..experts.count {
                    fed(format!("{l}.feed_forward.experts.{expert}"), experts.size);
                }
                if let Some(shared) = &experts.shared {
                    fed(format!("{l}.feed_forward.shared"), shared.size);
                    if shared.gated {
                        linear(format!("{l}.feed_forward.shared_gate"), [1, hidden], false);
                    }
                }
                linear(format!("{l}.feed_forward.router"), [experts.count, hidden], experts.router_bias);
                continue;
            }
            if ff.gated {
                linear(format!("{l}.feed_forward.gate"), [ff.size, hidden], ff.bias);
            }
            linear(format!("{l}.feed_forward.up"), [ff.size, hidden], ff.bias);
            linear(format!("{l}.feed_forward.down"), [hidden, ff.size], ff.bias);
        }
    }
    for (name, shape, kind) in norms.into_iter().chain(head_norms) {
        if matches!(kind, NormKind::LayerNorm | NormKind::LayerNormPlusOne) {
            parameters.insert(format!("{name}.bias"), shape.clone());
        }
        if kind != NormKind::LayerNormWithoutWeight {
            parameters.insert(format!("{name}.weight"), shape);
        }
    }
    for layer in 0..config.decoder.n_layers {
        if config.decoder.attention.sinks {
            parameters
                .insert(format!("decoder.layers.{layer}.self_attention.sinks"), vec![config.decoder.attention.n_heads]);
        }
        if let Activation::Xielu(_) = config.decoder.feed_forward.activation {
            for (number, shape) in [("alpha_p", vec![1]), ("alpha_n", vec![1]), ("beta", vec![])] {
                parameters.insert(format!("decoder.layers.{layer}.feed_forward.activation.{number}"), shape);
            }
        }
    }
    parameters
}

/// Stored names of a parameter, in order of preference.
pub(super) fn candidates(names: &[Name], parameter: &str) -> Vec<(String, Layout)> {
    let number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = parameter.split('.').filter(number).collect();
    let filled = |name: &str| numbers.iter().fold(name.to_owned(), |name, number| name.replacen("{}", number, 1));
    let (stem, suffix) = parameter.rsplit_once('.').unwrap();
    let of_row = |row: &Name| {
        let (ours, theirs) = (filled(row.ours), filled(row.theirs));
        match row.exact {
            true => (ours == parameter).then_some((theirs, row.layout)),
            false => (ours == stem).then(|| (format!("{theirs}.{suffix}"), row.layout)),
        }
    };
    names.iter().filter_map(of_row).collect()
}

fn fits(layout: Layout, ours: &[usize], theirs: &[usize], kv_rows: usize, q_rows: usize) -> bool {
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    match layout {
        Layout::Whole => ours == theirs,
        Layout::Transposed => ours.iter().rev().eq(theirs),
        Layout::Columns(_) => theirs[theirs.len() - 1] == 3 * ours[0] && elements(theirs) == 3 * elements(ours),
        Layout::PerHead(_) | Layout::Quarters(_) => theirs[0] == q_rows + 2 * kv_rows,
        Layout::Rows(crate::names::Packed::Gate | crate::names::Packed::Up) => theirs[0] == 2 * ours[0],
        Layout::Rows(_) => theirs[0] == q_rows + 2 * kv_rows,
        Layout::Stacked(which) => theirs[1..] == [ours[0] * if which.is_some() { 2 } else { 1 }, ours[1]],
        Layout::StackedColumns(which) => {
            let outputs = ours[0] * if which.is_some() { 2 } else { 1 };
            theirs[1..] == [&ours[1..], &[outputs]].concat()
        }
        Layout::RowVector => theirs == [1, ours[0]],
    }
}

#[test]
fn every_tensor_is_used_and_every_parameter_has_a_tensor() {
    for folder in folders() {
        let config_json = read(&folder.join("config.json"));
        let family = of(&config_json).unwrap();
        let config = family.configure(&config_json).unwrap();
        let names = family.names(&config);
        let tensors = tensors(&folder.join("model.safetensors"));
        let attention = &config.decoder.attention;
        let (q_rows, kv_rows) = (attention.n_heads * attention.head_dim, attention.n_kv_heads * attention.head_dim);
        let mut used = BTreeSet::new();
        for (parameter, ours) in parameters(&config) {
            let candidates = candidates(&names, &parameter);
            let (tensor, layout) = candidates
                .iter()
                .find(|(tensor, _)| tensors.contains_key(tensor))
                .unwrap_or_else(|| panic!("{}: {parameter} in none of {candidates:?}", folder.display()));
            let theirs = &tensors[tensor];
            assert!(
                fits(*layout, &ours, theirs, kv_rows, q_rows),
                "{}: {parameter} {ours:?}, {tensor} {theirs:?}",
                folder.display()
            );
            used.insert(tensor.clone());
        }
        let is_ignored = |name: &String| family.ignores(name);
        let unused: Vec<_> = tensors.keys().filter(|name| !used.contains(*name) && !is_ignored(name)).collect();
        assert!(unused.is_empty(), "{}: {unused:?}", folder.display());
        assert!(!used.iter().any(is_ignored), "{}: an ignored tensor is in the name table", folder.display());
    }
}
