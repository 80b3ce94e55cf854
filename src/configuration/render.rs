//! From a revision to the files of one replica.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    ConfigurationError, Facts, Renderer, Wanted,
    missing::Missing,
    template::{self, Context},
};
use crate::model::{ConfigFile, ConfigRevision, ServiceName};

/// How large all files of a revision may become together, in bytes: a revision has at most 512 KiB itself.
pub(super) const LARGEST: usize = 16 * 1024 * 1024;

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
        ("host", Some(json!(facts.host))),
        ("address", facts.address.as_deref().map(Value::from)),
        ("labels", Some(json!(facts.labels))),
        ("service", Some(json!(wanted.id.service))),
        ("replica", Some(Value::from(wanted.id.number.to_string()))),
        ("version", wanted.version.map(Value::from)),
        ("config_version", Some(Value::from(wanted.revision))),
        ("port", wanted.port.map(Value::from)),
        ("release_dir", facts.release_dir.as_deref().map(text)),
        ("config_dir", Some(text(config_dir))),
        ("instances", Some(json!(facts.instances))),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Context { known, missing: Missing::of(wanted, facts) }
}

/// All files of the revision.
pub(super) async fn render(
    revision: &ConfigRevision,
    context: Context,
    renderer: &Renderer,
) -> Result<Vec<Rendered>, ConfigurationError> {
    let mut files = unrendered(revision)?;
    let mut templates = BTreeMap::new();
    for file in files.iter_mut().filter(|file| revision.files[&file.path].template) {
        let text = String::from_utf8(std::mem::take(&mut file.content)).map_err(|_| no_text(&file.path))?;
        templates.insert(file.path.clone(), text);
    }
    let mut texts = renderer.render(templates, context).await?;
    let mut left = LARGEST;
    for file in &mut files {
        if let Some(text) = texts.remove(&file.path) {
            file.content = text;
        }
        left = left.checked_sub(file.content.len()).ok_or_else(|| too_large(&file.path))?;
    }
    Ok(files)
}

/// All files of the revision as they are in it.
fn unrendered(revision: &ConfigRevision) -> Result<Vec<Rendered>, ConfigurationError> {
    if let Some(problem) = revision.problems().first() {
        return Err(ConfigurationError::rejected(problem));
    }
    let files = revision.files.iter().map(|(path, file)| {
        let wrong = |why: String| ConfigurationError::rejected(format!("{path}: {why}"));
        let (owner, group) = (file.owner.clone(), file.group.clone());
        let content = content(file).map_err(wrong)?;
        Ok(Rendered { path: path.clone(), content, mode: file.permissions().unwrap_or(0o600), owner, group })
    });
    files.collect()
}

/// What to say of the file with which the revision becomes too large.
pub(super) fn too_large(path: &str) -> ConfigurationError {
    ConfigurationError::rejected(format!("{path}: the revision's files become more than {LARGEST} bytes"))
}

fn no_text(path: &str) -> ConfigurationError {
    ConfigurationError::rejected(format!("{path}: is no text (UTF-8), so it cannot be a template"))
}

/// Whether the revision's templates can be read, as far as that can be told without rendering them.
pub(super) fn check_syntax(revision: &ConfigRevision) -> Result<(), ConfigurationError> {
    let templates = revision.files.iter().filter(|(_, file)| file.template);
    let mut texts = templates.filter_map(|(path, file)| Some((path, file.text.as_deref()?)));
    texts.try_for_each(|(path, text)| template::check_syntax(path, text))
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
