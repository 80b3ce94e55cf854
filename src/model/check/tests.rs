#![allow(clippy::unwrap_used)]
// The corpus.
#![allow(clippy::disallowed_methods)]

use std::fs;

use rstest::rstest;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::model::{
    CheckedAssignment, ConfigRevision, Desired, HostSpec, Instance, Problem, ReplicaDesired, Rollout, ServiceSpec,
    decode, encode,
};

/// Texts that may have line breaks, and why: what is a file's text, a word that a program gets as it is, what is compared
/// with an answer, or a remark for people, which no agent acts on.
const FREE: [&str; 8] =
    [".unit_file", ".text", ".base64", ".config.check.0", ".config.check.1", ".body", ".reason", ".message"];

/// What the document is read as, or why it is not acted on.
type Read = Result<Vec<u8>, String>;

fn checked<T: DeserializeOwned + Serialize>(data: &[u8], problems: fn(&T) -> Vec<Problem>) -> Read {
    let document = decode::<T>(data).map_err(|error| error.to_string())?;
    problems(&document).first().map_or_else(|| Ok(encode(&document)), |problem| Err(problem.to_string()))
}

fn assignment(data: &[u8]) -> Read {
    checked::<CheckedAssignment>(data, |_| Vec::new())
}

/// Whose keys are the writer's, too.
const MAPS: [&str; 6] = [".environment", ".credentials", ".headers", ".sha256", ".labels", ".files"];

fn with_break(text: &str) -> String {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let (before, after) = text.split_at(middle);
    format!("{before}\n{after}")
}

/// The document's field of that name, with each of its keys broken.
fn broken_keys(name: &str, value: &Value) -> Vec<(String, Value)> {
    let Some(fields) = value.as_object().filter(|_| MAPS.contains(&name)) else { return Vec::new() };
    let keys = fields.iter().map(|(key, value)| {
        let mut fields = fields.clone();
        fields.remove(key);
        fields.insert(with_break(key), value.clone());
        (String::new(), Value::from(fields))
    });
    keys.collect()
}

/// Each text of the document, with a line break in it: its place, and the document.
fn broken(document: &Value) -> Vec<(String, Value)> {
    match document {
        Value::String(text) => vec![(String::new(), with_break(text).into())],
        Value::Array(items) => {
            let all = items.iter().enumerate().flat_map(|(index, item)| {
                broken(item).into_iter().map(move |(place, changed)| {
                    let mut items = items.clone();
                    items[index] = changed;
                    (format!(".{index}{place}"), Value::from(items))
                })
            });
            all.collect()
        }
        Value::Object(fields) => {
            let all = fields.iter().flat_map(|(key, value)| {
                broken(value).into_iter().chain(broken_keys(&format!(".{key}"), value)).map(move |(place, changed)| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), changed);
                    (format!(".{key}{place}"), Value::from(fields))
                })
            });
            all.collect()
        }
        _ => Vec::new(),
    }
}

#[rstest]
#[case("assignment", assignment)]
#[case("service", |data: &[u8]| checked(data, ServiceSpec::problems))]
#[case("desired", |data: &[u8]| checked(data, Desired::problems))]
#[case("replica-desired", |data: &[u8]| checked(data, ReplicaDesired::problems))]
#[case("rollout", |data: &[u8]| checked(data, Rollout::problems))]
#[case("config", |data: &[u8]| checked(data, ConfigRevision::problems))]
#[case("host", |data: &[u8]| checked(data, HostSpec::problems))]
#[case("instance", |data: &[u8]| checked(data, Instance::problems))]
fn no_text_of_a_document_that_is_acted_on_has_a_line_break(#[case] kind: &str, #[case] check: fn(&[u8]) -> Read) {
    let folder = format!("{}/tests/fuzz/corpus/{kind}", env!("CARGO_MANIFEST_DIR"));
    let mut texts = 0;
    for file in fs::read_dir(folder).unwrap() {
        let data = fs::read(file.unwrap().path()).unwrap();
        let Ok(good) = check(&data) else { continue };
        for (place, document) in broken(&serde_json::from_slice(&data).unwrap()) {
            if FREE.iter().any(|free| place.ends_with(free)) || place.contains(".command.") {
                continue;
            }
            texts += 1;
            match check(document.to_string().as_bytes()) {
                // As a span, of which nothing of the text is left.
                Ok(read) => assert_eq!(read, good, "{kind}{place}"),
                Err(error) => {
                    let names = place.rsplit('.').filter(|part| part.parse::<usize>().is_err()).take(2);
                    let named = names.into_iter().any(|name| error.contains(name));
                    assert!(named && !error.contains(char::is_control), "{kind}{place}: {error}");
                }
            }
        }
    }
    assert!(texts > 0);
}
