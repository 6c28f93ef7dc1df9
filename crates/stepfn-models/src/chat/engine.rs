//! The template engine with the settings of the Python library, and bounds on what a template may do.

use std::io::{self, Write};
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::{LONGEST_CHAT, Message, error, filters, generation_tags, methods, python, spans};
use crate::ModelError;

/// Steps of one rendering: for the template, for each message, for each byte of their contents, and at most. A template takes some hundreds
/// for a message, plus one for each 64 bytes whenever it handles them.
const STEPS: u64 = 100_000;
const STEPS_OF_MESSAGE: u64 = 2_000;
const STEPS_OF_BYTE: u64 = 4;
const MOST_STEPS: u64 = 1_000_000;
/// Blocks and macros within each other.
const DEEPEST: usize = 200;
/// A template can nest lists as deep as its fuel allows, and the engine frees and prints them recursively. Only the part that is used takes
/// memory.
const STACK: usize = 256 << 20;
const NAME: &str = "chat";

/// Runs the engine where its recursion can't exhaust the stack.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, ModelError> + Send) -> Result<T, ModelError> {
    thread::scope(|scope| {
        let started = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK);
        let started = started.spawn_scoped(scope, work);
        let started =
            started.map_err(|problem| error(format!("no thread to render it could be started: {problem}")))?;
        started.join().unwrap_or_else(|_| Err(error("the template engine failed on it")))
    })
}

/// Compiles a template.
pub(super) fn compile(source: &str) -> Result<Environment<'static>, ModelError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false).build();
    environment.set_syntax(syntax.map_err(|problem| described(&problem))?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(DEEPEST);
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|output, _, value| {
        let text = python::text(value)?;
        output.write_str(&text).map_err(Error::from)
    });
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{}", python::text(message)?)))
    });
    filters::add(&mut environment);
    // Takes time that isn't counted as steps.
    environment.remove_filter("pprint");
    let source = generation_tags::replace(source).ok_or_else(|| error("a tag is longer than any tag should be"))?;
    environment.add_template_owned(NAME, source).map_err(|problem| described(&problem))?;
    Ok(environment)
}

/// Marks errors that the template itself raises.
const REFUSED: &str = "\u{0}";

/// The steps that a conversation's rendering may take.
pub(super) fn steps(messages: &[Message]) -> u64 {
    let size = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let texts = messages.iter().flat_map(spans::texts);
    let bytes = texts.fold(0, |sum: u64, (_, text)| sum.saturating_add(size(text.len())));
    let of_messages = STEPS_OF_MESSAGE.saturating_mul(size(messages.len()));
    STEPS.saturating_add(of_messages).saturating_add(STEPS_OF_BYTE.saturating_mul(bytes)).min(MOST_STEPS)
}

/// Renders the template, in at most so many steps.
pub(super) fn render(environment: &Environment<'static>, context: Value, steps: u64) -> Result<String, ModelError> {
    let mut environment = environment.clone();
    environment.set_fuel(Some(steps));
    let template = environment.get_template(NAME).map_err(|problem| described(&problem))?;
    let mut output = Bounded(Vec::new());
    template.render_captured_to(context, &mut output).map_err(|problem| described(&problem))?;
    String::from_utf8(output.0).map_err(|_| error("its text is not valid UTF-8"))
}

fn described(problem: &Error) -> ModelError {
    if let Some(refusal) = problem.detail().and_then(|detail| detail.strip_prefix(REFUSED)) {
        return error(format!("it refuses this conversation: {refusal}"));
    }
    let place = problem.line().map_or_else(String::new, |line| format!("line {line}: "));
    match problem.kind() {
        ErrorKind::OutOfFuel => {
            error(place + "it takes too many steps for a conversation of this length, so it was stopped")
        }
        ErrorKind::WriteFailure => error(format!("{place}its text has more than {LONGEST_CHAT} bytes")),
        kind => error(place + &problem.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"))),
    }
}

/// The output, up to its greatest length.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > LONGEST_CHAT - self.0.len() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
