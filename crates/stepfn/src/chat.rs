//! Chats: the messages of an [`Input`] become a prompt, by the chat template of the model.

use burn::tensor::backend::Backend;
use stepfn_attribution::Request;
use stepfn_models::chat::{Chat, ChatOptions, Message, MessageSpan};

use crate::{Ask, Error, ErrorKind, Input, LanguageModel, Result};

/// What a model is asked, and where the messages of a chat stand in its text.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) messages: Vec<MessageSpan>,
}

impl<B: Backend> LanguageModel<B> {
    /// Asks about a chat: how the model answers its messages or, if the last one is the assistant's, about that answer.
    ///
    /// The model's chat template makes a prompt of them; [`Ask::score`], [`Ask::attribute`] and [`Ask::generate`] report it if there is none.
    pub fn chat(&self, messages: impl IntoIterator<Item = Message>) -> Ask<'_, B> {
        self.ask_about(Input::chat(messages))
    }

    /// What an input asks.
    pub(crate) fn asked(&self, input: &Input) -> Result<Asked> {
        input.without_sources()?;
        let Some(chat) = self.chat_of(input)? else {
            return Ok(Asked { request: input.request(self.is_encoder_decoder())?, messages: Vec::new() });
        };
        let prompt = chat.prompt().to_owned();
        let said = |answer: &String| format!("{prompt}{answer}");
        let target = match (&chat.answer, &input.target) {
            (Some(_), Some(_)) => {
                let what = "the last message is the assistant's, and a target was given too";
                return Err(Error::new(ErrorKind::Text, what, "leave out one of them"));
            }
            (Some(_), None) => Some(chat.text.clone()),
            (None, target) => target.as_ref().map(said),
        };
        let request = Request {
            target,
            contrast_source: None,
            contrast_target: input.contrast_target.as_ref().map(said),
            alignment: input.alignment.clone(),
            is_complete: true,
            source: Some(prompt),
        };
        Ok(Asked { request, messages: chat.messages })
    }

    /// The prompt that the model writes after, and whether its special tokens are written out.
    pub(crate) fn prompt_of(&self, input: &Input) -> Result<(String, bool, Vec<MessageSpan>)> {
        input.without_sources()?;
        match self.chat_of(input)? {
            None => Ok((input.prompt()?.to_owned(), false, Vec::new())),
            Some(Chat { answer: Some(_), .. }) => {
                let what = "the last message is the assistant's, so there is nothing to answer";
                Err(Error::new(ErrorKind::Text, what, "leave out the last message"))
            }
            Some(chat) => Ok((chat.text, true, chat.messages)),
        }
    }

    /// The chat of an input that has messages.
    fn chat_of(&self, input: &Input) -> Result<Option<Chat>> {
        let Input { messages, text, source, contrast_source, chat_template, chat_variables, .. } = input;
        if messages.is_empty() {
            return Ok(None);
        }
        if self.is_masked() {
            let what = "this model predicts masked tokens, so it can't answer a chat";
            return Err(Error::new(ErrorKind::Option, what, "give a text, or use a causal model"));
        }
        if self.is_encoder_decoder() {
            let what = "this model reads a source and writes a target, so it can't answer a chat";
            return Err(Error::new(ErrorKind::Option, what, "give a source, or use a causal model"));
        }
        if text.is_some() || source.is_some() || contrast_source.is_some() {
            let what = "the messages of a chat make its prompt, and a text, a source or another source was given too";
            return Err(Error::new(ErrorKind::Option, what, "leave out the messages, or all of these"));
        }
        let template = self.tokenizer().compiled_chat_template(chat_template.as_deref())?;
        let options = ChatOptions { variables: chat_variables.clone(), ..ChatOptions::default() };
        Ok(Some(template.question(messages, &options)?))
    }
}
