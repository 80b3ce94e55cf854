//! Reading TOML that a person wrote: what is wrong is told with its file, line, key, and the nearest good key.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::DeTable;

use super::ConfigError;

/// Reads a document; `path` is named in the error. Strict where `T` denies unknown fields.
///
/// # Errors
/// [`ConfigError::Invalid`] for the first thing that is wrong.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let invalid = |at: Option<usize>, key_path: String, error: &toml::de::Error| ConfigError::Invalid {
        path: path.to_owned(),
        line: at.map(|at| line(text, at)),
        key_path,
        message: explain(error.message()),
    };
    let start = |error: &toml::de::Error| error.span().map(|span| span.start);
    let document = toml::Deserializer::parse(text).map_err(|error| invalid(start(&error), String::new(), &error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let at = element(text, error.path()).or_else(|| start(error.inner()));
        let key_path = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
        invalid(at, key_path, error.inner())
    })
}

/// The line of a byte offset, from 1.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Where a list's element is, which `toml` locates no closer than the list.
fn element(text: &str, path: &serde_path_to_error::Path) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut segments = path.iter();
    let mut found = match segments.next()? {
        Segment::Map { key } => document.get_ref().get(key.as_str())?,
        _ => return None,
    };
    let mut is_element = false;
    for segment in segments {
        (found, is_element) = match segment {
            Segment::Map { key } => (found.get_ref().get(key.as_str())?, false),
            Segment::Seq { index } => (found.get_ref().get(*index)?, true),
            _ => return None,
        };
    }
    is_element.then(|| found.span().start)
}

/// serde's message; for an unknown key, in our words and with the nearest key that there is.
fn explain(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let what = [("unknown field ", "key"), ("unknown variant ", "value")];
    let Some((_, what)) = what.into_iter().find(|(start, _)| message.starts_with(start)) else {
        return message.trim_end().to_owned();
    };
    let unknown = words.next().unwrap_or_default();
    let known: Vec<_> = words.collect();
    match nearest(unknown, &known) {
        Some(near) => format!("there is no {what} \"{unknown}\"; did you mean \"{near}\"?"),
        None => format!("there is no {what} \"{unknown}\"; there are: {}", known.join(", ")),
    }
}

/// The word that was probably meant.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = |word: &&str| strsim::damerau_levenshtein(&unknown.to_lowercase().replace('-', "_"), word);
    known.iter().min_by_key(|word| near(word)).filter(|word| near(word) <= word.len() / 3 + 1).copied()
}

#[cfg(test)]
mod tests {
    use super::{explain, line};

    #[test]
    fn lines_count_from_one() {
        assert_eq!((line("a\nb", 0), line("a\nb", 2), line("", 0)), (1, 2, 1));
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_one() {
        let message = "unknown field `allowed-unit`, expected one of `host`, `allowed_units`";
        assert_eq!(explain(message), "there is no key \"allowed-unit\"; did you mean \"allowed_units\"?");
        let message = "unknown field `colour`, expected `host` or `labels`";
        assert_eq!(explain(message), "there is no key \"colour\"; there are: host, labels");
        assert_eq!(explain("invalid type: `x`"), "invalid type: `x`");
    }
}
