//! Decoders: options that are refused, and what published files leave out or write otherwise than transformers does.

use super::*;

#[test]
fn unimplemented_options_of_decoders_are_refused() {
    let cases = [
        ("olmo", json!({"clip_qkv": 8.0}), "clip_qkv"),
        ("stablelm", json!({"qk_layernorm": true}), "qk_layernorm"),
        ("stablelm", json!({"hidden_dropout": 0.1}), "hidden_dropout"),
        ("persimmon", json!({"hidden_dropout": 0.1}), "hidden_dropout"),
        ("smollm3", json!({"no_rope_layers": [1]}), "no_rope_layers"),
        ("smollm3", json!({"no_rope_layers": ["a"]}), "no_rope_layers"),
        ("smollm3", json!({"no_rope_layer_interval": 0}), "no_rope_layer_interval"),
        ("smollm3", json!({"use_sliding_window": false}), "sliding_window"),
        ("exaone4", json!({"layer_types": null, "sliding_window_pattern": "LG"}), "sliding_window_pattern"),
        ("internlm3", json!({"mlp_bias": false}), "mlp_bias"),
        ("internlm3", json!({"qkv_bias": false}), "mlp_bias"),
        ("gemma3_text", json!({"rope_parameters": {"rope_type": "default"}}), "rope_parameters"),
        ("gemma3_text", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        ("gemma3_text", json!({"sliding_window_pattern": 0}), "sliding_window_pattern"),
        ("gemma3", json!({"text_config": null}), "text_config"),
        ("gemma3", json!({"text_config": {"num_experts": 8}}), "text_config.num_experts"),
        ("gemma3", json!({"text_config": {"hidden_size": "8"}}), "text_config.hidden_size"),
        (
            "ministral3",
            json!({"rope_parameters": {"original_max_position_embeddings": 4}}),
            "rope_parameters.llama_4_scaling_beta",
        ),
        ("ministral3", json!({"rope_parameters": null}), "rope_scaling"),
        ("mistral3", json!({"text_config": {"model_type": "qwen3"}}), "text_config.model_type"),
        ("cohere2", json!({"use_qk_norm": true}), "use_qk_norm"),
        ("cohere2", json!({"sliding_window": null}), "sliding_window"),
        ("codegen", json!({"n_head": 6}), "n_head"),
        ("gpt_neo", json!({"attention_layers": ["global"]}), "attention_layers"),
        (
            "gpt_neo",
            json!({"attention_layers": null, "attention_types": [[["global"], 1e9 as u64]]}),
            "attention_types",
        ),
        ("gpt_neo", json!({"attention_layers": null, "attention_types": [[["near"], 3]]}), "attention_types"),
        ("falcon", json!({"alibi": true}), "alibi"),
        ("falcon", json!({"parallel_attn": false}), "parallel_attn"),
        ("falcon", json!({"hidden_dropout": 0.1}), "hidden_dropout"),
        ("falcon_new", json!({"num_ln_in_parallel_attn": 3}), "num_ln_in_parallel_attn"),
        ("mpt", json!({"logit_scale": 0.5}), "logit_scale"),
        ("mpt", json!({"no_bias": false}), "no_bias"),
        ("mpt", json!({"embedding_fraction": 0.5}), "embedding_fraction"),
        ("mpt", json!({"expansion_ratio": 3}), "expansion_ratio"),
        ("mpt", json!({"attn_config": {"clip_qkv": 6}}), "attn_config.clip_qkv"),
        ("mpt", json!({"attn_config": {"qk_ln": true}}), "attn_config.qk_ln"),
        ("mpt", json!({"attn_config": {"alibi": false}}), "attn_config.alibi"),
        ("mpt", json!({"attn_config": {"alibi_bias_max": 16}}), "attn_config.alibi_bias_max"),
        ("mpt", json!({"attn_config": {"prefix_lm": true}}), "attn_config.prefix_lm"),
        ("mpt", json!({"attn_config": {"attn_type": "multiquery_attention"}}), "attn_config.attn_type"),
    ];
    for (folder, changes, field) in cases {
        assert_eq!(refused_field(folder, changes.clone()), field, "{folder} with {changes}");
    }
}

#[test]
fn defaults_of_decoders() {
    let without = |folder: &str, fields: &[&str], changes: Value| {
        let mut config_json = golden(folder);
        let map = config_json.as_object_mut().unwrap();
        fields.iter().for_each(|field| assert!(map.remove(*field).is_some(), "{folder} has no {field}"));
        map.extend(changes.as_object().unwrap().clone());
        configure(&config_json).unwrap()
    };
    let windows = |config: TransformerConfig| config.decoder.attention.windows;
    let rotary = |config: &TransformerConfig, layer: usize| {
        let rotation = config.decoder.positions.rotation_of(layer)?;
        Some(config.decoder.positions.rotations()[rotation].clone())
    };
    let olmo3 = without("olmo3", &["layer_types"], json!({"rope_parameters": null}));
    assert_eq!(windows(olmo3.clone()), [Some(4), Some(4), Some(4), None]);
    assert!((0..4).all(|layer| rotary(&olmo3, layer).unwrap().theta == 500_000.0));
    let six = json!({"layer_types": null, "num_hidden_layers": 6, "rope_parameters": null});
    let gemma3 = without("gemma3_text", &["num_hidden_layers"], six);
    assert_eq!(windows(gemma3.clone()), [Some(4), Some(4), Some(4), Some(4), Some(4), None]);
    assert_eq!((rotary(&gemma3, 0).unwrap().theta, rotary(&gemma3, 5).unwrap().theta), (10_000.0, 1_000_000.0));
    let four = json!({"layer_types": null, "num_hidden_layers": 4});
    assert_eq!(windows(without("cohere2", &["layer_types"], four.clone())), [Some(4), Some(4), Some(4), None]);
    let cohere2 = without("cohere2", &["layer_types"], four);
    assert!(rotary(&cohere2, 2).unwrap().interleaved && rotary(&cohere2, 3).is_none());
    let published = json!({"use_sliding_window": false, "layer_types": null, "no_rope_layers": [1, 1, 0, 1]});
    let smollm3 = without("smollm3", &["no_rope_layers"], published);
    assert_eq!([0, 1, 2].map(|layer| rotary(&smollm3, layer).is_some()), [true, true, false]);
    assert_eq!(windows(smollm3), [None; 3]);
    let apertus = without("apertus", &["rope_parameters"], json!({}));
    let RotaryScaling::Llama3 { original_positions, .. } = rotary(&apertus, 0).unwrap().scaling else { panic!() };
    assert_eq!((rotary(&apertus, 0).unwrap().theta, original_positions), (12_000_000.0, 8192.0));
    let hunyuan = configure(&golden("hunyuan_v1_dense")).unwrap();
    let rotary = rotary(&hunyuan, 0).unwrap();
    assert_eq!((rotary.scaling, rotary.theta), (RotaryScaling::None, 10_000.0 * 50f64.powf(12.0 / 10.0)));
    let neo = json!({"num_layers": 4, "attention_types": [[["global", "local"], 2]]});
    let neo = without("gpt_neo", &["attention_layers"], neo);
    assert_eq!(windows(neo), [None, Some(4), None, Some(4)]);
    assert_eq!(configure(&golden("gemma3")).unwrap().special.eos, [1, 7]);
    // As gemma-3-4b has it.
    let text = json!({
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    });
    let gemma3 = configure(&json!({"model_type": "gemma3", "text_config": text, "eos_token_id": [1, 106]})).unwrap();
    let attention = &gemma3.decoder.attention;
    assert_eq!((gemma3.vocab_size, gemma3.hidden_size, attention.n_heads), (262_208, 2560, 8));
    assert_eq!(
        (attention.n_kv_heads, attention.head_dim, attention.windows[4], attention.windows[5]),
        (4, 256, Some(1024), None)
    );
    assert_eq!(gemma3.decoder.positions.rotations()[0].scaling, RotaryScaling::Linear { factor: 8.0 });
    assert_eq!(gemma3.decoder.positions.rotations()[1].scaling, RotaryScaling::None);
    assert_eq!(configure(&golden("falcon")).unwrap().decoder.attention.n_kv_heads, 1);
    assert_eq!(configure(&golden("falcon_new")).unwrap().decoder.attention.n_kv_heads, 2);
}
