//! Families against the golden checkpoints: every configuration loads, every tensor is used, and every parameter has a tensor.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod decoders;
mod tensors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::tensors::candidates;
use super::*;
use crate::config::{NormPlacement, Positions, Residual, RotaryScaling};

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/models");

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(GOLDENS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    folders.sort();
    folders
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn golden(folder: &str) -> Value {
    read(&Path::new(GOLDENS).join(folder).join("config.json"))
}

fn configure(config_json: &Value) -> Result<TransformerConfig, ModelError> {
    of(config_json)?.configure(config_json)
}

/// The golden configuration in a folder, with some fields changed.
fn configure_with(folder: &str, changes: Value) -> Result<TransformerConfig, ModelError> {
    let mut config_json = golden(folder);
    config_json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    configure(&config_json)
}

fn refused_field(folder: &str, changes: Value) -> String {
    match configure_with(folder, changes.clone()) {
        Err(ModelError::Config { field, .. }) => field,
        other => panic!("{folder} with {changes}: {other:?}"),
    }
}

#[test]
fn old_and_new_field_names_give_the_same_configuration() {
    let mut pairs = 0;
    for folder in folders() {
        let config = configure(&read(&folder.join("config.json"))).unwrap();
        let old = folder.join("config.v4.json");
        if old.exists() {
            let mut old = configure(&read(&old)).unwrap();
            if ["t5_gated", "mt5", "longt5"].iter().any(|name| folder.ends_with(name)) {
                // transformers 5 says `true` whatever the file has.
                assert!(!old.head.tied);
                old.head.tied = true;
            }
            assert_eq!(config, old, "{}", folder.display());
            pairs += 1;
        }
    }
    assert!(pairs >= 12, "{pairs}");
}

#[test]
fn every_family_has_a_golden_checkpoint() {
    let seen: BTreeSet<_> =
        folders().iter().map(|folder| configure(&read(&folder.join("config.json"))).unwrap().family).collect();
    assert_eq!(seen, all().iter().map(|family| family.name).collect());
}

#[test]
fn an_unknown_family_error_lists_names_and_suggests_a_spelling_but_never_another_family() {
    let text = find("GPT-NeoX").unwrap_err().to_string();
    assert!(text.contains("did you mean `gpt_neox`?"), "{text}");
    assert!(all().iter().all(|family| text.contains(family.name)), "{text}");
    for other in ["llama4", "dbrx", "gemma4", "mamba", "t5x"] {
        let text = find(other).unwrap_err().to_string();
        assert!(!text.contains("did you mean"), "{text}");
    }
    let text = find("pegasus_x").unwrap_err().to_string();
    assert!(text.contains("`pegasus_x` is not supported: its encoder also reads global tokens"), "{text}");
}

#[test]
fn unimplemented_options_are_refused() {
    let cases = [
        ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "scale_attn_by_inverse_layer_idx"),
        ("gpt2", json!({"scale_attn_weights": false}), "scale_attn_weights"),
        ("gpt2", json!({"add_cross_attention": true}), "add_cross_attention"),
        ("gpt2", json!({"activation_function": "tanh"}), "activation_function"),
        ("gpt2", json!({"pruned_heads": {"0": [1]}}), "pruned_heads"),
        ("gpt2", json!({"is_encoder_decoder": true}), "is_encoder_decoder"),
        (
            "bloom",
            json!({"apply_residual_connection_post_layernorm": true}),
            "apply_residual_connection_post_layernorm",
        ),
        ("bloom", json!({"n_inner": 7}), "n_inner"),
        ("opt", json!({"layer_norm_elementwise_affine": false}), "layer_norm_elementwise_affine"),
        ("llama", json!({"quantization_config": {"bits": 4}}), "quantization_config"),
        ("llama", json!({"num_local_experts": 8}), "num_local_experts"),
        ("llama", json!({"rope_parameters": {"rope_type": "yarn2", "factor": 2.0}}), "rope_parameters.rope_type"),
        ("llama", json!({"rope_parameters": {"rope_type": "yarn", "factor": -2.0}}), "rope_parameters.factor"),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 0}}),
            "rope_parameters.attention_factor",
        ),
        ("llama", json!({"rope_scaling": {"type": "dynamic", "factor": 0.5}}), "rope_scaling.factor"),
        ("llama", json!({"rope_scaling": {"type": "longrope", "short_factor": [1]}}), "rope_scaling.short_factor"),
        ("llama", json!({"rope_scaling": {"type": "linear"}}), "rope_scaling.factor"),
        ("llama", json!({"rope_parameters": {"full_attention": {}}}), "rope_parameters.full_attention"),
        ("llama", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("phi3", json!({"rope_scaling": {"type": "su"}}), "rope_scaling.short_factor"),
        ("phi3", json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), "rope_scaling.type"),
        ("mistral", json!({"attention_bias": true}), "attention_bias"),
        ("mistral", json!({"sliding_window": 0}), "sliding_window"),
        ("qwen2", json!({"layer_types": ["full_attention", "linear_attention"]}), "layer_types"),
        ("qwen2", json!({"layer_types": ["full_attention"]}), "layer_types"),
        ("qwen2", json!({"layer_types": ["full_attention", "sliding_attention"]}), "sliding_window"),
        ("gpt_oss", json!({"swiglu_alpha": 1.5}), "swiglu_alpha"),
        ("gpt_oss", json!({"swiglu_limit": 0}), "swiglu_limit"),
        ("gpt_oss", json!({"num_experts_per_tok": 6}), "num_experts_per_tok"),
        ("gpt_oss", json!({"sliding_window": null}), "sliding_window"),
        ("gemma2", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        ("marian", json!({"decoder_vocab_size": 7}), "decoder_vocab_size"),
        ("marian", json!({"is_decoder": true}), "is_decoder"),
        ("bart", json!({"is_encoder_decoder": false}), "is_encoder_decoder"),
        ("bart", json!({"tie_encoder_decoder": true}), "tie_encoder_decoder"),
        ("mvp", json!({"use_prompt": true}), "use_prompt"),
        ("fsmt", json!({"tie_word_embeddings": true}), "src_vocab_size"),
        ("t5", json!({"is_decoder": true}), "is_decoder"),
        ("t5", json!({"feed_forward_proj": "gated-mish"}), "feed_forward_proj"),
        ("t5", json!({"feed_forward_proj": "gated-gelu"}), "is_gated_act"),
        ("t5", json!({"relative_attention_max_distance": 4}), "relative_attention_max_distance"),
        ("longt5", json!({"encoder_attention_type": "transient-global"}), "encoder_attention_type"),
        ("longt5", json!({"local_radius": 0}), "local_radius"),
        ("led", json!({"attention_window": [2, 3]}), "attention_window"),
        ("switch_transformers", json!({"router_dtype": "bfloat16"}), "router_dtype"),
        ("switch_transformers", json!({"expert_capacity": 0}), "expert_capacity"),
        ("switch_transformers", json!({"dense_act_fn": "gated-gelu"}), "dense_act_fn"),
        ("led", json!({"attention_window": [2]}), "attention_window"),
        ("t5gemma", json!({"encoder": null}), "encoder"),
        ("umt5", json!({"dense_act_fn": "gelu"}), "dense_act_fn"),
        ("bert", json!({"is_decoder": true}), "is_decoder"),
        ("bert", json!({"position_embedding_type": "relative_key"}), "position_embedding_type"),
        ("bert", json!({"hidden_act": "tanh"}), "hidden_act"),
        ("roberta", json!({"pad_token_id": 66}), "max_position_embeddings"),
        ("electra", json!({"architectures": ["ElectraForPreTraining"]}), "architectures"),
        ("albert", json!({"num_hidden_groups": 2}), "num_hidden_groups"),
        ("albert", json!({"hidden_dropout_prob": 0.1}), "hidden_dropout_prob"),
        ("modernbert", json!({"attention_dropout": 0.1}), "attention_dropout"),
        ("modernbert", json!({"local_attention": 1}), "local_attention"),
        ("modernbert", json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}), "rope_scaling.rope_type"),
    ];
    for (folder, changes, field) in cases {
        assert_eq!(refused_field(folder, changes.clone()), field, "{folder} with {changes}");
    }
}

#[test]
fn every_number_is_checked() {
    let absurd = [json!(-1), json!(1.5), json!(1e300), json!(u64::MAX), json!("8"), json!([8]), json!({}), json!(true)];
    for folder in folders() {
        let config_json = read(&folder.join("config.json"));
        for (field, value) in config_json.as_object().unwrap() {
            // Ignored here and by transformers.
            let unread = [
                "initializer",
                "init_std",
                "layerdrop",
                "classifier",
                "summary",
                "pretraining_tp",
                "forced",
                "original_max",
                "prompt_",
                "global_block",
                "ngram",
                "eod_token",
                "router_",
                "token_index",
                "mm_tokens",
                "spatial_merge",
                "vision_feature",
                "n_ctx",
                "emb_pdrop",
                "sparse_pred",
                "initializer_cutoff",
                "qa_dropout",
                "seq_classif_dropout",
                "cls_token_id",
                "sep_token_id",
            ];
            let is_unread = unread.iter().any(|part| field.contains(part))
                || (field == "embd_pdrop" && config_json["model_type"] == "phi3")
                || (field == "resid_pdrop" && config_json["model_type"] == "mpt")
                // A window, which would need it, is refused.
                || (["max_window_layers", "sliding_window"].contains(&field.as_str())
                    && config_json["model_type"] == "qwen2_moe")
                // `multi_query` says it.
                || (field == "num_key_value_heads" && config_json["model_type"] == "gpt_bigcode")
                || (field == "layer_norm_eps" && config_json["model_type"] == "biogpt")
                // It may be a text where it isn't read.
                || (field == "sliding_window_pattern" && config_json["model_type"] == "exaone4")
                || (["max_length", "num_beams", "length_penalty"].contains(&field.as_str())
                    && folder.ends_with("fsmt"))
                // The configurations of its two stacks say them.
                || (["vocab_size", "attention_dropout", "dropout_rate"].contains(&field.as_str())
                    && folder.ends_with("t5gemma"))
                || (field == "max_position_embeddings" && folder.ends_with("m2m_100"));
            if value.is_number() && !is_unread {
                for value in &absurd {
                    let mut changed = config_json.clone();
                    changed[field] = value.clone();
                    let result = configure(&changed);
                    let is_possible = (value == &json!([8]) && field == "eos_token_id")
                        // There is no such token.
                        || (value == &json!(-1) && field.ends_with("_token_id"))
                        || ((value == &json!(1.5) || value == &json!(1e300) || value == &json!(u64::MAX))
                            && ["eps", "softcapping", "scalar", "multiplier", "logit_scale", "logits_scaling", "swiglu_limit"]
                                .iter()
                                .any(|part| field.contains(part)));
                    assert!(is_possible || result.is_err(), "{}: {field} = {value}: {result:?}", folder.display());
                }
            }
        }
    }
    assert_eq!(refused_field("gpt2", json!({"n_layer": 1_000_000_000})), "n_layer");
    assert_eq!(refused_field("bart", json!({"encoder_layers": 1_000_000_000})), "encoder_layers");
    assert_eq!(refused_field("llama", json!({"num_attention_heads": 0})), "num_attention_heads");
    assert_eq!(refused_field("llama", json!({"num_key_value_heads": 3})), "num_key_value_heads");
    assert_eq!(refused_field("gpt2", json!({"n_head": 0})), "n_head");
    assert_eq!(refused_field("llama", json!({"head_dim": 1 << 20})), "head_dim");
    assert_eq!(refused_field("gpt2", json!({"n_head": 3, "n_embd": 3 << 20})), "n_embd");
    for number in [0.0, -1.0, 1e-300, 1e300] {
        assert_eq!(refused_field("llama", json!({"rms_norm_eps": number})), "rms_norm_eps");
        assert_eq!(refused_field("llama", json!({"rope_parameters": null, "rope_theta": number})), "rope_theta");
        assert_eq!(refused_field("gpt2", json!({"layer_norm_epsilon": number})), "layer_norm_epsilon");
    }
    assert_eq!(refused_field("gpt2", json!({"vocab_size": null})), "vocab_size");
    assert!(find("gpt2").unwrap().configure(&json!([])).is_err());
    assert!(find("gpt2").unwrap().configure(&golden("llama")).is_err());
}

/// `FAMILIES.md` lists the sites that PyTorch's modules have: one column each for embeddings, attention, residual branches and activations, and
/// one for others: T5's after its final normalizations, and DistilBERT's after the feed-forward alone.
#[test]
fn dropout_sites_are_those_of_the_published_models() {
    let notes = std::fs::read_to_string(Path::new(GOLDENS).join("FAMILIES.md")).unwrap();
    let section = notes.split("\n## ").find(|section| section.starts_with("B. Dropout sites")).unwrap();
    let is_site =
        |cell: &str| !(["", "-"].contains(&cell) || cell.starts_with("none") || cell.to_lowercase().contains("unused"));
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let sites: BTreeMap<&str, Vec<bool>> = cells
        .flat_map(|cells| {
            let sites: Vec<bool> = cells[1..].iter().map(|cell| is_site(cell)).collect();
            cells[0].split(", ").map(move |family| (family, sites.clone())).collect::<Vec<_>>()
        })
        .collect();
    for folder in folders() {
        let config_json = read(&folder.join("config.json"));
        let family = config_json["model_type"].as_str().unwrap();
        let config = configure(&config_json).unwrap();
        for stack in config.encoder.iter().chain([&config.decoder]) {
            let rates = stack.dropout;
            let other = rates.last.or(rates.feed_forward);
            let found = [rates.embedding, rates.attention, rates.residual, rates.activation, other];
            assert_eq!(found.map(|rate| rate.is_some()).to_vec(), sites[family], "{}", folder.display());
            let count = sites[family].iter().filter(|site| **site).count();
            assert_eq!(rates.at_rate(0.25).rates().collect::<Vec<_>>(), vec![0.25; count], "{}", folder.display());
        }
    }
}

#[test]
fn family_specific_fields_are_read() {
    let stack = |folder| configure(&golden(folder)).unwrap().decoder;
    assert_eq!(stack("gpt_neox").residual, Residual::Parallel);
    assert_eq!(stack("gpt_neox_sequential").residual, Residual::Sequential);
    assert_eq!(stack("opt_post").embedding_size, Some(20));
    assert_eq!((stack("opt_post").norm_placement, stack("opt_post").final_norm), (NormPlacement::Post, false));
    let encoder = |folder| configure(&golden(folder)).unwrap().encoder.unwrap();
    assert_eq!(encoder("longt5").attention.windows, [Some(3); 2]);
    assert_eq!(encoder("switch_transformers").experts.unwrap().layers, [false, true]);
    assert_eq!(encoder("switch_transformers").most_tokens(), Some(64));
    assert_eq!(encoder("led").attention.windows, [Some(3), Some(5)]);
    assert_eq!(encoder("t5gemma").attention.windows, [Some(3), None]);
    assert_eq!(stack("t5gemma").attention.windows, [Some(2), None, Some(2)]);
    assert_eq!(stack("mistral").attention.windows, [Some(4); 2]);
    assert_eq!(stack("gemma2").attention.windows, [Some(4), None, Some(4)]);
    assert_eq!(stack("gpt_oss").attention.windows, [Some(4), None]);
    assert_eq!(stack("gpt_oss").feed_forward.gate_limit, Some(0.9));
    // Published files before transformers 5 say all of these; without them, they are the defaults of the class.
    let absent = ["layer_types", "rope_parameters", "sliding_window", "swiglu_limit", "swiglu_alpha"];
    let mut bare = golden("gpt_oss");
    absent.iter().for_each(|field| assert!(bare.as_object_mut().unwrap().remove(*field).is_some(), "{field}"));
    let bare = configure(&bare).unwrap().decoder;
    assert_eq!((bare.attention.windows, bare.feed_forward.gate_limit), (vec![Some(128), None], Some(7.0)));
    let Positions::Rotary(rotary) = bare.positions else { panic!() };
    let (fast, slow, original_positions) = (32.0, 1.0, 4096.0);
    assert_eq!(rotary.theta, 150_000.0);
    assert_eq!(rotary.scaling, RotaryScaling::Yarn { factor: 32.0, fast, slow, original_positions, truncate: false });
    assert!((rotary.attention_factor - 1.346_573_6).abs() < 1e-6, "{}", rotary.attention_factor);
    assert_eq!(stack("qwen2").attention.windows, [None; 2]);
    assert_eq!(stack("gemma2").attention.scale, 7f64.powf(-0.5));
    assert_eq!(stack("blenderbot_small").positions, Positions::LearnedAfterNorm { offset: 0, rows: 64 });
    assert_eq!(stack("t5").attention.scale, 1.0);
    assert_eq!(stack("t5").dropout.last, Some(0.1));
    assert_eq!(stack("phi3").dropout.embedding, None);
    assert_eq!(configure(&golden("t5")).unwrap().head.scale, 32f64.powf(-0.5));
    assert_eq!(configure(&golden("t5_gated")).unwrap().head.scale, 1.0);
    let scale = |tied: bool| configure_with("umt5", json!({"tie_word_embeddings": tied})).unwrap().head.scale;
    assert_eq!((scale(true), scale(false)), (20f64.powf(-0.5), 1.0));
    assert_eq!(configure(&golden("llama3_rope")).unwrap().special.eos, [2, 5]);
    let Positions::Rotary(rotary) = stack("llama_linear").positions else { panic!() };
    assert_eq!(rotary.scaling, RotaryScaling::Linear { factor: 2.5 });
    let Positions::Rotary(rotary) = stack("phi3").positions else { panic!() };
    assert_eq!(rotary.dim, 6);
    assert_eq!(stack("m2m_100").positions, Positions::SinusoidalFairseq { offset: 2, made_for: Some(64) });
    let separate = configure(&golden("marian_separate")).unwrap();
    assert_eq!((separate.source_vocab_size(), separate.vocab_size), (98, 91));
    assert_eq!(stack("roberta").positions, Positions::Learned { offset: 2, rows: 66 });
    assert_eq!(stack("modernbert").attention.windows, [None, Some(3), Some(3), None]);
    assert_eq!((stack("electra").embedding_size, stack("electra_wide").embedding_size), (Some(16), None));
    let none = configure_with("llama", json!({"pad_token_id": -1, "eos_token_id": -1})).unwrap().special;
    assert_eq!((none.pad, none.eos), (None, vec![]));
    // Llama 1 doesn't say how many positions it has.
    let mut first = golden("llama");
    first.as_object_mut().unwrap().remove("max_position_embeddings");
    let Positions::Rotary(rotary) = configure(&first).unwrap().decoder.positions else { panic!() };
    assert_eq!(rotary.max_positions, 2048);
    let sliding = configure_with(
        "qwen2",
        json!({
            "layer_types": null, "use_sliding_window": true, "sliding_window": 3, "max_window_layers": 1
        }),
    );
    assert_eq!(sliding.unwrap().decoder.attention.windows, [None, Some(3)]);
}

#[test]
fn a_head_that_is_neither_stored_nor_tied_is_missing() {
    for (folder, embedding) in
        [("gpt2", "transformer.wte.weight"), ("bart", "model.shared.weight"), ("t5", "shared.weight")]
    {
        let heads = |tied: bool| {
            let config = configure_with(folder, json!({"tie_word_embeddings": tied})).unwrap();
            let names = find(config.family).unwrap().names(&config);
            candidates(&names, "head.weight").into_iter().map(|(tensor, _)| tensor).collect::<Vec<_>>()
        };
        assert_eq!(heads(true)[0], "lm_head.weight");
        assert!(heads(true).iter().any(|tensor| tensor == embedding));
        assert_eq!(heads(false), ["lm_head.weight"]);
    }
}

/// Version 4 of transformers wrote FSMT's head and its decoder's embedding, which it made one tensor, under either name or under both.
#[test]
fn the_head_of_fsmt_may_have_either_name() {
    let config = configure(&golden("fsmt")).unwrap();
    let names = find("fsmt").unwrap().names(&config);
    let of = |parameter| candidates(&names, parameter).into_iter().map(|(tensor, _)| tensor).collect::<Vec<_>>();
    let (embedding, head) = ("model.decoder.embed_tokens.weight", "model.decoder.output_projection.weight");
    assert_eq!(of("decoder.embedding.weight"), [embedding, head]);
    assert_eq!(of("head.weight"), [head, embedding]);
    assert_eq!(of("encoder.embedding.weight"), ["model.encoder.embed_tokens.weight"]);
}
