//! LongT5 with local attention (long-t5-local-base): T5 whose encoder sees a window.
//!
//! Its other attention, transient-global, also reads sums over blocks of the text, and is not implemented.

use super::{Family, t5};
use crate::names::{Name, whole};

pub(super) const LONGT5: Family = Family {
    name: "longt5",
    configure: |f| {
        let kind = f.str_or("encoder_attention_type", "local")?;
        let only = "local: take a model with local attention, such as google/long-t5-local-base";
        f.check(kind == "local", "encoder_attention_type", only)?;
        let mut config = t5::configure(f, "longt5", true)?;
        let radius = f.usize_or("local_radius", 127)?;
        f.check((1..1 << 24).contains(&radius), "local_radius", "a whole number of tokens, 1 or greater")?;
        if let Some(encoder) = &mut config.encoder {
            encoder.attention.windows.fill(Some(radius + 1));
        }
        Ok(config)
    },
    names: |config| {
        let local = |name: Name| LOCAL.into_iter().find(|local| local.ours == name.ours).unwrap_or(name);
        t5::names(config).into_iter().map(local).collect()
    },
    ..t5::T5
};

const LOCAL: [Name; 5] = [
    whole("encoder.relative_bias", "encoder.block.0.layer.0.LocalSelfAttention.relative_attention_bias"),
    whole("encoder.layers.{}.self_attention.query", "encoder.block.{}.layer.0.LocalSelfAttention.q"),
    whole("encoder.layers.{}.self_attention.key", "encoder.block.{}.layer.0.LocalSelfAttention.k"),
    whole("encoder.layers.{}.self_attention.value", "encoder.block.{}.layer.0.LocalSelfAttention.v"),
    whole("encoder.layers.{}.self_attention.output", "encoder.block.{}.layer.0.LocalSelfAttention.o"),
];
