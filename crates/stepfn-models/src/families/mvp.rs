//! MVP: BART, trained further on many tasks of writing text. Its prompts, keys and values that a task brings along, are not implemented.

use super::{Family, bart};

pub(super) const MVP: Family = Family {
    name: "mvp",
    configure: |f| {
        f.only_bool("use_prompt", false, "prompts of tasks are not implemented; take the model without them")?;
        Ok(crate::config::TransformerConfig { family: "mvp", ..(bart::BART.configure)(f)? })
    },
    ..bart::BART
};
