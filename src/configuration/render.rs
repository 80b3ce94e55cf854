//! From a revision to the files of one replica.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, escape_formatter, filters,
    value::StringInput,
};

use super::{ConfigurationError, Facts, Wanted, missing::Missing};
use crate::model::{ConfigFile, ConfigRevision, ServiceName};

/// How many instructions of minijinja one template may take: far more than any configuration needs, and an end to loops
/// within loops.
const FUEL: u64 = 10_000_000;

/// How long a template's text may become, and all files of a revision together, in bytes: a revision has at most 512 KiB
/// itself.
const LONGEST: usize = 4 * 1024 * 1024;
const LARGEST: usize = 16 * 1024 * 1024;

/// What templates see, and what they might want to see and is not there.
#[derive(Debug)]
pub(super) struct Context {
    known: BTreeMap<&'static str, Value>,
    missing: Missing,
}

/// A file as it is to be on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Its path below the configuration's folder.
    pub(super) path: String,
    /// Its bytes.
    pub(super) content: Vec<u8>,
    /// Its permissions.
    pub(super) mode: u32,
    /// Its owner and group, by name or number.
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
}

/// What templates see. What is not known is left out, so that naming it is an error rather than an empty text.
pub(super) fn context(wanted: &Wanted<'_>, facts: &Facts, config_dir: &Path) -> Context {
    let text = |path: &Path| Value::from(path.display().to_string());
    let known = [
        ("host", Some(Value::from(facts.host.as_str()))),
        ("address", facts.address.as_deref().map(Value::from)),
        ("labels", Some(Value::from_serialize(&facts.labels))),
        ("service", Some(Value::from(wanted.id.service.as_str()))),
        ("replica", Some(Value::from(wanted.id.number.to_string()))),
        ("version", wanted.version.map(Value::from)),
        ("config_version", Some(Value::from(wanted.revision))),
        ("port", wanted.port.map(Value::from)),
        ("release_dir", facts.release_dir.as_deref().map(text)),
        ("config_dir", Some(text(config_dir))),
        ("instances", Some(Value::from_serialize(&facts.instances))),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Context { known, missing: Missing::of(wanted, facts) }
}

/// All files of the revision.
pub(super) fn render(revision: &ConfigRevision, context: &Context) -> Result<Vec<Rendered>, ConfigurationError> {
    check_paths(revision)?;
    let mut left = LARGEST;
    let files = revision.files.iter().map(|(path, file)| {
        let wrong = |why: String| ConfigurationError::rejected(format!("{path}: {why}"));
        let content = content(file).map_err(wrong)?;
        let content = if file.template { template(path, &content, Some(context))? } else { content };
        let too_large = || wrong(format!("the revision's files become more than {LARGEST} bytes"));
        left = left.checked_sub(content.len()).ok_or_else(too_large)?;
        let (owner, group) = (file.owner.clone(), file.group.clone());
        Ok(Rendered { path: path.clone(), content, mode: mode(file).map_err(wrong)?, owner, group })
    });
    files.collect()
}

/// Whether the revision's templates can be read, as far as that can be told without rendering them.
pub(super) fn check_syntax(revision: &ConfigRevision) -> Result<(), ConfigurationError> {
    let templates = revision.files.iter().filter(|(_, file)| file.template);
    let mut texts = templates.filter_map(|(path, file)| Some((path, file.text.as_deref()?)));
    texts.try_for_each(|(path, text)| template(path, text.as_bytes(), None).map(drop))
}

/// Renders a template, or only reads it when there is no context.
fn template(path: &str, text: &[u8], context: Option<&Context>) -> Result<Vec<u8>, ConfigurationError> {
    let no_text = |_| ConfigurationError::rejected(format!("{path}: is no text (UTF-8), so it can't be a template"));
    let text = std::str::from_utf8(text).map_err(no_text)?;
    let environment = environment();
    let missing = context.map(|context| &context.missing);
    let failed = |error: Error| failed(path, text, &error, missing);
    let template = environment.template_from_named_str(path, text).map_err(failed)?;
    let mut rendered = Bounded::default();
    if let Some(context) = context {
        let ended = template.render_captured_to(&context.known, &mut rendered);
        if rendered.overflowed {
            let message = format!("{path}: the template's text becomes longer than {LONGEST} bytes");
            return Err(ConfigurationError::rejected(message));
        }
        ended.map_err(failed)?;
    }
    Ok(rendered.text)
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
        why = format!("{why}: {detail}");
    }
    let Some(source) = line.checked_sub(1).and_then(|index| text.lines().nth(index)) else {
        return ConfigurationError::rejected(format!("{path}: {why}"));
    };
    let hints = missing.filter(|_| error.kind() == ErrorKind::UndefinedError).map(|missing| missing.hints(source));
    let what = format!("{path}, line {line}: {why}, in \"{}\"", source.trim());
    let parts: Vec<_> = [what.as_str()].into_iter().chain(hints.into_iter().flatten()).collect();
    ConfigurationError::rejected(parts.join("; "))
}

/// Refuses paths that lead elsewhere, and a file where another one needs a folder.
fn check_paths(revision: &ConfigRevision) -> Result<(), ConfigurationError> {
    for path in revision.files.keys() {
        let wrong = |why: &str| Err(ConfigurationError::rejected(format!("{path:?} can't be a file's path: {why}")));
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        // A name of "." between others, or "//", is passed over silently by components().
        let as_is = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain || !as_is {
            return wrong("write a path below the configuration's folder, without \"..\"");
        } else if path.chars().any(char::is_control) {
            return wrong("it contains a control character");
        } else if path.split('/').any(|part| part.len() > 255) {
            return wrong("a name in it is longer than 255 bytes");
        }
        let mut above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        if let Some(above) = above.find(|above| revision.files.contains_key(*above)) {
            return wrong(&format!("\"{above}\" is a file of its own"));
        }
    }
    Ok(())
}

fn content(file: &ConfigFile) -> Result<Vec<u8>, String> {
    match (&file.text, &file.base64) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map_err(|error| format!("base64: {error}: push the file again"))
        }
        (Some(_), Some(_)) => Err("has both text and base64: leave one of them".to_owned()),
        (None, None) => Err("has neither text nor base64".to_owned()),
    }
}

fn mode(file: &ConfigFile) -> Result<u32, String> {
    let text = file.mode.as_deref().unwrap_or("0644");
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777 && text.len() <= 5);
    mode.ok_or_else(|| format!("mode \"{text}\" is none: write it in octal, as in \"0640\", 0777 at most"))
}

/// The services whose instances the revision's templates name, as in `instances["db"]` or `instances.db`: what
/// [`Facts::instances`] must hold.
pub fn services_named(revision: &ConfigRevision) -> BTreeSet<ServiceName> {
    let templates = revision.files.values().filter(|file| file.template);
    let texts = templates.filter_map(|file| content(file).ok().and_then(|bytes| String::from_utf8(bytes).ok()));
    texts.flat_map(|text| named_in(&text)).collect()
}

fn named_in(text: &str) -> Vec<ServiceName> {
    let places = text.match_indices("instances").map(|(at, word)| &text[at + word.len()..]);
    places.filter_map(|rest| name_at(rest)?.parse().ok()).collect()
}

/// `db` of `["db"]`, `['db']` and `.db`, with spaces where the language allows them.
fn name_at(rest: &str) -> Option<&str> {
    let rest = rest.trim_start();
    if let Some(rest) = rest.strip_prefix('.') {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        return rest.get(..end);
    }
    let rest = rest.strip_prefix('[')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    rest[1..].split(quote).next()
}
