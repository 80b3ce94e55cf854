//! Reading and writing documents, and what can be wrong with one.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::text::one_line;

/// The largest document that zkops writes or accepts, in bytes: half of ZooKeeper's default `jute.maxbuffer`
/// (1 MiB), which a packet with its path and headers must stay below.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// One thing that is wrong with a document: which key, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path within the document, as in `placement.max_per_host`; `.` for the whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with the key `key`. What the document says is repeated in both at times: each is one line.
    pub fn new(key: &str, message: impl fmt::Display) -> Self {
        Self { key: one_line(key).into_owned(), message: one_line(&message.to_string()).into_owned() }
    }
}

impl Problem {
    /// The same of a document that is a part of another, at `key` there.
    #[must_use]
    pub fn within(self, key: &str) -> Self {
        let key = if self.key == "." { key.to_owned() } else { format!("{key}.{}", self.key) };
        Self { key, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key == "." { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Why a node's data is not the document that belongs there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the document has {bytes} bytes, {MAX_DOCUMENT_BYTES} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, or not of the document's shape, or its values contradict each other.
    #[error("{0}")]
    Invalid(Problem),
}

/// Reads a document. Unknown fields are ignored.
///
/// # Errors
/// [`DocumentError`] with the key's path, when the data is too large, not JSON, or of another shape.
pub fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, DocumentError> {
    if data.len() > MAX_DOCUMENT_BYTES {
        return Err(DocumentError::TooLarge { bytes: data.len() });
    }
    let mut json = serde_json::Deserializer::from_slice(data);
    let document = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| DocumentError::Invalid(Problem::new(&error.path().to_string(), error.into_inner())))?;
    json.end().map_err(|error| DocumentError::Invalid(Problem::new(".", error)))?;
    Ok(document)
}

/// Writes a document as the bytes of a node: one line of JSON.
///
/// # Panics
/// Never for the documents of this crate: their maps have string keys.
pub fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    let data = serde_json::to_vec(document).expect("documents have string keys and infallible serialisers");
    as_released(data)
}

/// A document as this build writes it.
pub(crate) fn as_released(data: Vec<u8>) -> Vec<u8> {
    if cfg!(feature = "next-release") { with_another_field(data) } else { data }
}

/// A document as a release may write it that has one field more.
fn with_another_field(mut data: Vec<u8>) -> Vec<u8> {
    const FIELD: &[u8] = br#""next_release":{"since":1}"#;
    // An empty document stays one: it means that nobody has said anything. The command line keeps what is there.
    let is_there = data.windows(FIELD.len()).any(|part| part == FIELD);
    if data.len() > 2 && !is_there && data.pop_if(|last| *last == b'}').is_some() {
        data.push(b',');
        data.extend_from_slice(FIELD);
        data.push(b'}');
    }
    data
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::model::Desired;

    fn problem(data: &[u8]) -> String {
        decode::<Desired>(data).map_or_else(|error| error.to_string(), |ok| format!("{ok:?}"))
    }

    #[test]
    fn a_field_of_a_later_release_is_no_problem() {
        let desired = Desired { replicas: 3, ..Desired::default() };
        let later = with_another_field(serde_json::to_vec(&desired).unwrap());
        assert!(serde_json::from_slice::<serde_json::Value>(&later).unwrap()["next_release"]["since"] == 1);
        assert_eq!(with_another_field(later.clone()), later);
        assert_eq!(decode::<Desired>(&later), Ok(desired));
        assert_eq!(with_another_field(b"{}".to_vec()), b"{}");
    }

    #[test]
    fn problems_name_the_key() {
        assert!(problem(br#"{"mode":"enabled","replicas":-1}"#).starts_with("replicas: "));
        assert!(problem(br#"{"mode":"on"}"#).starts_with("mode: unknown variant"));
        assert!(problem(b"{").contains("EOF"));
        assert!(problem(b"{} {}").contains("trailing"));
        assert!(problem(&vec![b' '; MAX_DOCUMENT_BYTES + 1]).contains("524289 bytes"));
    }

    #[test]
    fn unknown_fields_are_tolerated() {
        assert!(decode::<Desired>(br#"{"replicas":2,"from_the_future":true}"#).is_ok());
    }
}
