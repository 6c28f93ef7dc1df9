//! The output: given, written by the model, or divided into a context and what follows it.

use burn::tensor::backend::Backend;
use stepfn_attribution::Preparer;

use super::AttributeContextTask;
use super::templates::{CONTEXT, beginning, between, divided, ending, joined};
use crate::{Error, ErrorKind, Input, LanguageModel, Result};

/// What becomes of an output context that the output template has and nobody gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputContext {
    /// The model writes context and current text, which are told apart by the separator between them, by punctuation if there are two parts only,
    /// or, in an encoder–decoder, as what is aligned with the input's context.
    #[default]
    Auto,
    /// It must be given.
    Pre,
}

impl OutputContext {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Pre];

    /// Its name: `auto` or `pre`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pre => "pre",
        }
    }
}

/// An output.
pub(super) struct Written {
    pub(super) context: Option<String>,
    pub(super) current: String,
    /// Where it was divided, if that was not given.
    pub(super) warning: Option<String>,
}

impl<B: Backend> AttributeContextTask<B> {
    /// The output of an input: what is given of it, and the rest as the model writes it behind the full input.
    pub(super) fn written(
        &self,
        model: &LanguageModel<B>,
        input: &Input,
        full: &str,
        template: &str,
    ) -> Result<Written> {
        let is_missing = template.contains(CONTEXT) && input.output_context.is_none();
        if is_missing && self.output_context == OutputContext::Pre {
            let what = "the output template has {context}, and no output context is given";
            return Err(Error::new(
                ErrorKind::Text,
                what,
                "give `output_context`, or let it be found: strategy `auto`",
            ));
        }
        let context = input.output_context.clone();
        if let (false, Some(current)) = (is_missing, &input.target) {
            return Ok(Written { context, current: current.clone(), warning: None });
        }
        let text = self.write(model, full, &beginning(template, context.as_deref()))?;
        let suffix = ending(template);
        let Some(text) = text.strip_suffix(suffix.trim_end()) else {
            let what =
                format!("the model wrote {text:?}, which does not end with {suffix:?} as the output template does");
            return Err(Error::new(ErrorKind::Text, what, "correct the template, or give the current output"));
        };
        let text = text.trim();
        if !is_missing {
            return match text.is_empty() {
                true => Err(Error::new(ErrorKind::Text, "the model wrote nothing", "give the current output")),
                false => Ok(Written { context, current: text.to_owned(), warning: None }),
            };
        }
        let found = match divided(text, between(template)) {
            Some(found) => Some(found),
            None => self.aligned(model, input, text)?,
        };
        let apart = |(end, start): (usize, usize)| Some((text.get(..end)?.trim(), text.get(start..)?.trim()));
        match found.and_then(apart).filter(|(context, current)| !context.is_empty() && !current.is_empty()) {
            Some((context, current)) => Ok(Written {
                warning: Some(format!(
                    "the model wrote {text:?}, of which the output context was taken to be {context:?}"
                )),
                context: Some(context.to_owned()),
                current: input.target.clone().unwrap_or_else(|| current.to_owned()),
            }),
            None => {
                let what =
                    format!("the model wrote {text:?}, where the output context can't be told from what follows it");
                Err(Error::new(ErrorKind::Text, what, "give `output_context`, or a template without it"))
            }
        }
    }

    /// Where the output is divided if what is aligned with the input's context is its context.
    fn aligned(&self, model: &LanguageModel<B>, input: &Input, text: &str) -> Result<Option<(usize, usize)>> {
        let Some(context) = input.input_context.as_ref().filter(|_| model.is_encoder_decoder()) else {
            return Ok(None);
        };
        let words = model.aligned(context, text)?;
        let last = words.pairs.iter().map(|&(_, other)| words.other[other].end).max();
        Ok(last.map(|end| (end, end)))
    }

    /// What the model writes, after the beginning of an output.
    fn write(&self, model: &LanguageModel<B>, input: &str, beginning: &str) -> Result<String> {
        let mut generation = model.generation().clone();
        let tokenizer = model.tokenizers().target();
        let settings = &mut generation.settings;
        let prompt = if model.is_encoder_decoder() {
            let prefix = tokenizer.encode(beginning.trim_end(), false)?;
            settings.prefix = settings.forced_bos.into_iter().chain(prefix.iter().map(|token| token.id)).collect();
            settings.max_new_tokens += settings.prefix.len();
            input.to_owned()
        } else {
            // Where tokens begin with a space, the model writes it.
            joined(input, beginning, &self.separator).0.trim_end_matches(' ').to_owned()
        };
        let prefix = generation.settings.prefix.len();
        let preparer = Preparer { generation: &generation, ..model.preparer() };
        let best = preparer.generate(&prompt, false)?.into_iter().next();
        let ids = best.map(|best| best.hypothesis.ids).unwrap_or_default();
        let special: Vec<u32> = tokenizer.special().collect();
        let is_text = |id: &u32| {
            !special.contains(id)
                || tokenizer.id_to_token(*id).is_some_and(|name| self.special_tokens_to_keep.contains(&name))
        };
        let ids: Vec<u32> = ids.into_iter().skip(prefix).filter(is_text).collect();
        Ok(tokenizer.decode(&ids, false)?.trim().to_owned())
    }
}
