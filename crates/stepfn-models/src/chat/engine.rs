//! The Jinja engine, configured as transformers configures its own, with limits for templates that mean harm.

use std::borrow::Cow;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::scan::{FLAT, GENERATION, KEPT, scan};
use super::strings::{self, Ends};
use super::values::{self, invalid};
use super::{date, methods, python, tojson};
use crate::ModelError;

/// Work of one rendering: steps, and at 64 for each, bytes.
const FUEL: u64 = 1_000_000;
/// Macros in one another, and the like, in units of the engine.
const RECURSION: usize = 150;
/// Memory for the recursion of the engine, which the limits on templates keep below this.
const STACK: usize = 64 << 20;
/// The most bytes that a rendered chat has.
pub(super) const LONGEST_CHAT: usize = 4 << 20;

/// Spaces before a line.
const MOST_INDENT: usize = 1000;

const NAME: &str = "chat";
const NOW: &str = "_now";
/// The variable that has the marks around what the model says.
pub(super) const MARKS: &str = "_marks";

/// A compiled template.
#[derive(Clone)]
pub(super) struct Engine {
    environment: Arc<Environment<'static>>,
}

/// What came of a rendering, and the fuel that it took.
pub(super) type Rendered = (Result<String, Error>, u64);

impl Engine {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`ModelError::Chat`] if it is not Jinja, or too complex.
    pub(super) fn new(source: &str) -> Result<Self, ModelError> {
        let wrong = |what: &str| ModelError::Chat { message: format!("the template can't be used: {what}") };
        let source = scan(source).map_err(|what| wrong(&what))?;
        with_stack(|| {
            let mut environment = environment()?;
            environment.add_template_owned(NAME, source)?;
            Ok(environment)
        })?
        .map(|environment| Self { environment: Arc::new(environment) })
        .map_err(|error: Error| wrong(&described(&error)))
    }

    /// Renders the template. Must run [on a large stack](with_stack).
    pub(super) fn render(&self, variables: &[(String, Value)], fuel: u64) -> Rendered {
        let fuel = fuel.min(self.environment.fuel().unwrap_or(FUEL));
        let render = || {
            let mut environment = (*self.environment).clone();
            environment.set_fuel(Some(fuel));
            let template = environment.get_template(NAME)?;
            let captured = template.render_captured(Value::from_pairs(variables.iter().cloned()))?;
            let used = captured.state().fuel_levels().map_or(fuel, |(used, _)| used);
            Ok((captured.into_output(), used))
        };
        match render() {
            Ok((text, _)) if text.len() > LONGEST_CHAT => {
                (Err(invalid(format!("the chat has more than {LONGEST_CHAT} bytes"))), fuel)
            }
            Ok((text, used)) => (Ok(text), used),
            // An error is cheap if it comes soon, and it is not known when it came.
            Err(error) => (Err(error), fuel / 8),
        }
    }

    /// Fuel for one rendering of so many messages with so many bytes in all.
    pub(super) fn fuel(messages: usize, bytes: usize) -> u64 {
        FUEL.saturating_add(messages as u64 * 2000).saturating_add(bytes as u64)
    }
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Runs on a thread with a large stack. What panics there becomes an error.
///
/// # Errors
/// [`ModelError::Chat`] if there is no such thread, or it panicked.
pub(super) fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, ModelError> {
    let failed = |what: &str| ModelError::Chat { message: format!("the template could not be used: {what}") };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| failed(&error.to_string()))?;
        thread.join().map_err(|_| failed("the Jinja engine failed on it"))
    })
}

/// An error of the engine, for the person who has the template.
pub(super) fn described(error: &Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too long, or writes too much".to_owned(),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_recursion_limit(RECURSION);
    environment.set_fuel(Some(FUEL));
    // What Jinja doesn't have; the first two take time that costs no fuel.
    environment.remove_global("debug");
    for name in ["chain", "zip", "split", "lines", "bool"] {
        environment.remove_filter(name);
    }
    environment.set_unknown_method_callback(|state, value, method, args| methods::call(state, value, method, args));

    environment.add_function("raise_exception", |what: String| -> Result<Value, Error> { Err(invalid(what)) });
    environment.add_function("strftime_now", |state: &State<'_, '_>, format: &str| {
        let micros = state.lookup(NOW).and_then(|now| u64::try_from(now).ok()).unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH + core::time::Duration::from_micros(micros);
        date::strftime(format, now).map_err(invalid)
    });

    environment.set_formatter(|output, state, value| {
        let text = printed(state, value)?;
        output.write_str(&text).map_err(Error::from)
    });

    environment.add_filter("tojson", |state: &State<'_, '_>, value: &Value, given: Rest<Value>, options: Kwargs| {
        tojson::tojson(state, value, three(&given)?, options)
    });
    environment.add_filter("indent", |state: &State<'_, '_>, value: &Value, given: Rest<Value>, options: Kwargs| {
        indent(state, value, three(&given)?, options)
    });
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(if value.as_str().is_some() { value.clone() } else { Value::from(&*printed(state, value)?) })
    });
    environment.add_filter("int", |value: &Value, default: Option<Value>| {
        python::integer(value).unwrap_or_else(|| default.unwrap_or_else(|| Value::from(0)))
    });
    environment.add_filter("float", |value: &Value, default: Option<Value>| {
        python::float_of(value).map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
    });
    environment.add_filter("trim", |state: &State<'_, '_>, value: &Value, signs: Option<String>| {
        Ok::<_, Error>(strings::strip(&printed(state, value)?, signs.as_deref(), Ends::BOTH).to_owned())
    });
    environment.add_filter(FLAT, values::flat);
    environment.add_filter(KEPT, values::kept);
    environment.add_filter(GENERATION, |state: &State<'_, '_>, text: String| {
        match state
            .lookup(MARKS)
            .and_then(|marks| Some((marks.get_item_by_index(0).ok()?, marks.get_item_by_index(1).ok()?)))
        {
            Some((open, close)) => format!("{open}{text}{close}"),
            None => text,
        }
    });

    // As Jinja has them: strings and mappings have a length and items, so they are sequences.
    let is_iterable = |value: &Value| !matches!(value.kind(), ValueKind::None | ValueKind::Number | ValueKind::Bool);
    environment.add_test("iterable", move |value: &Value| is_iterable(value));
    environment.add_test("sequence", move |value: &Value| is_iterable(value) && value.kind() != ValueKind::Iterable);
    Ok(environment)
}

/// Arguments by position, of which there are three at most.
fn three(given: &[Value]) -> Result<[Option<Value>; 3], Error> {
    match given.len() {
        ..=3 => Ok([0, 1, 2].map(|at| given.get(at).cloned())),
        _ => Err(ErrorKind::TooManyArguments.into()),
    }
}

/// A value as Python prints it, for fuel.
fn printed<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    let text = python::text(value)?;
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(text)
}

/// The filter `indent`: by default by four spaces, and not the first line nor blank ones.
fn indent(
    state: &State<'_, '_>,
    value: &Value,
    [width, first, blank]: [Option<Value>; 3],
    options: Kwargs,
) -> Result<String, Error> {
    let option = |given: Option<Value>, name: &str| match given {
        Some(given) => Ok(Some(given)),
        None => options.get::<Option<Value>>(name),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (width, first, blank) =
        (option(width, "width")?, is_true(option(first, "first")?), is_true(option(blank, "blank")?));
    options.assert_all_used()?;
    let indention = match width.as_ref().map(|width| (width.as_str(), width.as_usize())) {
        None => "    ".to_owned(),
        Some((Some(sign), _)) => sign.to_owned(),
        Some((None, Some(width))) if width <= MOST_INDENT => " ".repeat(width),
        Some(_) => return Err(invalid(format!("indent: expected a string, or a number up to {MOST_INDENT}"))),
    };
    let text = printed(state, value)?;
    let lines = strings::lines(&text, true).len() as u64;
    state.consume_fuel(lines.saturating_mul(1 + indention.len() as u64 / 64))?;
    Ok(strings::indent(&text, &indention, first, blank))
}

/// The variable that `strftime_now` reads.
pub(super) fn now(time: SystemTime) -> (String, Value) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (NOW.to_owned(), Value::from(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
}
