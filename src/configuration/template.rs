//! The templates' language, and how one is rendered. No limit here is on the values that a template makes on its way: those
//! of the process are, in which it is rendered (see [`super::renderer`]).

use std::{collections::BTreeMap, io};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, escape_formatter, filters,
    value::StringInput,
};
use serde::{Deserialize, Serialize};

use super::{ConfigurationError, missing::Missing};

/// How many instructions of minijinja one template may take: far more than any configuration needs, and an end to loops
/// within loops.
const FUEL: u64 = 10_000_000;

/// How long a template's text may become, in bytes.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;

/// How much of an error's detail, and of the line that it is about, is shown, in characters: both may repeat all of a value.
const SHOWN: usize = 500;

/// What templates see, and what they might want to see and is not there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Context {
    pub(super) known: BTreeMap<String, serde_json::Value>,
    pub(super) missing: Missing,
}

/// Renders a template.
pub(super) fn render(path: &str, text: &str, context: &Context) -> Result<Vec<u8>, ConfigurationError> {
    let environment = environment();
    let failed = |error: Error| failed(path, text, &error, Some(&context.missing));
    let template = environment.template_from_named_str(path, text).map_err(failed)?;
    let mut rendered = Bounded::default();
    let ended = template.render_captured_to(Value::from_serialize(&context.known), &mut rendered);
    if rendered.overflowed {
        let message = format!("{path}: the template's text becomes longer than {LONGEST} bytes");
        return Err(ConfigurationError::rejected(message));
    }
    ended.map_err(failed)?;
    Ok(rendered.text)
}

/// Whether a template can be read, as far as that can be told without rendering it.
pub(super) fn check_syntax(path: &str, text: &str) -> Result<(), ConfigurationError> {
    let read = environment().template_from_named_str(path, text).map(drop);
    read.map_err(|error| failed(path, text, &error, None))
}

/// The language. What is not there is an error wherever its value is asked for; `is defined` and `default` are for what
/// may be absent.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|out, state, value| {
        is_there(value)?;
        escape_formatter(out, state, value)
    });
    environment.add_filter("join", join);
    environment
}

/// As the language's own, which takes what is not there for an empty text.
fn join(state: &State<'_, '_>, values: &Value, joiner: Option<StringInput<'_>>) -> Result<Value, Error> {
    for value in values.try_iter()? {
        is_there(&value)?;
    }
    filters::join(state, values, joiner)
}

fn is_there(value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.is_none() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(())
}

/// A text up to [`LONGEST`].
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    overflowed: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > LONGEST {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error with the file, the line, what stands there, and what to set when something is missing.
fn failed(path: &str, text: &str, error: &Error, missing: Option<&Missing>) -> ConfigurationError {
    let line = error.line().unwrap_or_default();
    let mut why = error.kind().to_string();
    if let Some(detail) = error.detail() {
        why = format!("{why}: {}", clip(detail));
    }
    let Some(source) = line.checked_sub(1).and_then(|index| text.lines().nth(index)) else {
        return ConfigurationError::rejected(format!("{path}: {why}"));
    };
    let hints = missing.filter(|_| error.kind() == ErrorKind::UndefinedError).map(|missing| missing.hints(source));
    let what = format!("{path}, line {line}: {why}, in \"{}\"", clip(source.trim()));
    let parts: Vec<_> = [what.as_str()].into_iter().chain(hints.into_iter().flatten()).collect();
    ConfigurationError::rejected(parts.join("; "))
}

fn clip(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
