//! LED, the Longformer as an encoder–decoder (led-base-16384): BART whose encoder sees a window.
//!
//! Tokens with global attention are an argument of transformers' `forward`, `global_attention_mask`. Without it, and here, there are none, and the
//! second projections of the encoder's attention are not used.

use super::Family;
use super::bart_like::{self, Variant};
use crate::ModelError;
use crate::config::{NormPlacement, Positions, SpecialTokens};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const LED: Family = Family {
    name: "led",
    configure: |f| {
        let variant = Variant {
            family: "led",
            positions: |f| positions(f, "max_decoder_position_embeddings"),
            norm_placement: NormPlacement::Post,
            embedding_norm: true,
            final_norm: false,
            head_bias: true,
            scale_embedding: false,
            activation: "gelu",
            attention_dropout: 0.0,
            special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: Some(2) },
        };
        let mut config = bart_like::configure(f, variant)?;
        config.decoder.embedding_scale = 1.0; // whatever `scale_embedding` says
        if let Some(encoder) = &mut config.encoder {
            encoder.embedding_scale = 1.0;
            encoder.positions = positions(f, "max_encoder_position_embeddings")?;
            let widths = f.one_or_many("attention_window", encoder.n_layers, 512)?;
            let possible = widths.iter().all(|width| *width >= 2 && width.is_multiple_of(2));
            f.check(possible, "attention_window", "even numbers, 2 or greater")?;
            encoder.attention.windows = widths.into_iter().map(|width| Some(width / 2 + 1)).collect();
        }
        Ok(config)
    },
    names: |config| {
        let local = |name: Name| LOCAL.into_iter().find(|local| local.ours == name.ours).unwrap_or(name);
        let embeddings =
            bart_like::embedding_names(config, "led.shared", "led.encoder.embed_tokens", "led.decoder.embed_tokens");
        let names = bart_like::names_after(embeddings, &bart_like::ROWS_OF_LED, config);
        names.into_iter().map(local).collect()
    },
    prefixes: &["led."],
    ignored: &[
        "query_global.weight",
        "query_global.bias",
        "key_global.weight",
        "key_global.bias",
        "value_global.weight",
        "value_global.bias",
    ],
};

fn positions(f: &Fields, rows: &str) -> Result<Positions, ModelError> {
    Ok(Positions::Learned { offset: 0, rows: f.usize(rows)? })
}

const LOCAL: [Name; 4] = [
    whole("encoder.layers.{}.self_attention.query", "led.encoder.layers.{}.self_attn.longformer_self_attn.query"),
    whole("encoder.layers.{}.self_attention.key", "led.encoder.layers.{}.self_attn.longformer_self_attn.key"),
    whole("encoder.layers.{}.self_attention.value", "led.encoder.layers.{}.self_attn.longformer_self_attn.value"),
    whole("encoder.layers.{}.self_attention.output", "led.encoder.layers.{}.self_attn.output"),
];
