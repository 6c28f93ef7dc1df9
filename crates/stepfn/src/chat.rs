//! Conversations: the model's chat template makes a prompt of them.

use burn::tensor::backend::Backend;
use stepfn_models::chat::{ChatOptions, ChatTemplate, Message};

use crate::{Ask, Error, ErrorKind, Input, LanguageModel, Result};

/// Who answers.
const ASSISTANT: &str = "assistant";

impl<B: Backend> LanguageModel<B> {
    /// Asks about a conversation. If its last message is the assistant's, that is the answer to ask about; else the model writes one, or
    /// [`target`](Ask::target) gives it.
    ///
    /// ```no_run
    /// use stepfn::{LanguageModel, Message, functions::Entropy};
    ///
    /// let model = LanguageModel::load("org/chat-model")?;
    /// let messages = [Message::new("user", "Who wrote Faust?"), Message::new("assistant", "Goethe.")];
    /// println!("{}", model.chat(messages).score([Entropy::default()])?);
    /// # Ok::<(), stepfn::Error>(())
    /// ```
    pub fn chat(&self, messages: impl IntoIterator<Item = Message>) -> Ask<'_, B> {
        self.ask_about(Input::chat(messages))
    }

    /// The same input with its conversation rendered, if it has one: a prompt that ends where the answer begins.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] for a conversation beside a source or a text, for a model without a chat template, or if the template refuses it.
    pub(crate) fn rendered(&self, input: Input) -> Result<Input> {
        if input.messages.is_empty() {
            return Ok(input);
        }
        let wrong = |what: &str, hint: &str| Err(Error::new(ErrorKind::Text, what, hint));
        if input.source.is_some() || input.text.is_some() {
            return wrong("a conversation is a prompt, and there is another one", "leave out one of them");
        }
        if self.is_encoder_decoder() {
            return wrong("this model has an encoder, and conversations are for causal models", "give a source");
        }
        let tokenizer = self.tokenizer();
        let Some(template) = tokenizer.chat_template() else {
            return wrong("this model has no chat template", "give a prompt as its source");
        };
        let template = ChatTemplate::new(template, tokenizer.special_names())?;
        let mut messages = input.messages.as_slice();
        let mut answer = input.target.clone();
        if let Some((last, before)) = messages.split_last().filter(|(last, _)| last.role == ASSISTANT) {
            if answer.is_some() {
                return wrong("the last message is an answer, and a target was given, too", "leave out one of them");
            }
            (messages, answer) = (before, Some(last.content.clone()));
        }
        let options = ChatOptions { add_generation_prompt: true, ..ChatOptions::default() };
        let prompt = template.render(messages, &options)?.text;
        let target = answer.map(|answer| format!("{prompt}{answer}"));
        let contrast_target = input.contrast_target.as_ref().map(|other| format!("{prompt}{other}"));
        Ok(Input { source: Some(prompt), target, contrast_target, rendered: true, ..input })
    }
}
