//! Reading a table strictly: every unknown key and every wrong value is found, not only the first.
//!
//! serde stops at the first wrong value. So the value is noted and taken out, and the rest is read again, until
//! nothing is wrong any more or nothing can be taken out.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::{Table, Value};

/// What is wrong with one key; `path` is dotted, relative to the table that was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// There is no such key.
    Unknown { path: String },
    /// A key that must be there is not.
    Missing { path: String },
    /// The value is of a wrong type or not one that the key takes.
    Wrong { path: String, message: String },
}

/// Reads `table` as a `T`; findings mean that there is none.
pub(super) fn read<T: DeserializeOwned>(mut table: Table) -> Result<T, BTreeSet<Finding>> {
    let mut findings = BTreeSet::new();
    loop {
        match attempt(&table, &mut findings) {
            Ok(document) if findings.is_empty() => return Ok(document),
            Ok(_) => return Err(findings),
            Err(wrong) => {
                let took = take(&mut table, &wrong.segments);
                let known = missing_because_taken(&wrong, &findings);
                if !known {
                    findings.insert(wrong.finding());
                }
                if !took {
                    return Err(findings);
                }
            }
        }
    }
}

/// The first wrong value that serde meets.
struct Wrong {
    segments: Vec<String>,
    message: String,
}

fn attempt<T: DeserializeOwned>(table: &Table, findings: &mut BTreeSet<Finding>) -> Result<T, Wrong> {
    let mut note = |path: serde_ignored::Path<'_>| {
        findings.insert(Finding::Unknown { path: path.to_string().replace(".?", "") });
    };
    let deserializer = serde_ignored::Deserializer::new(table.clone(), &mut note);
    serde_path_to_error::deserialize(deserializer).map_err(|error| Wrong {
        segments: error.path().iter().filter_map(segment).collect(),
        message: error.inner().message().to_owned(),
    })
}

fn segment(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

impl Wrong {
    /// The key that serde misses, if that is what it complains of.
    fn missing(&self) -> Option<String> {
        let key = self.message.strip_prefix("missing field `")?.strip_suffix('`')?;
        Some(self.segments.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join("."))
    }

    fn finding(self) -> Finding {
        match self.missing() {
            Some(path) => Finding::Missing { path },
            None => Finding::Wrong { path: self.segments.join("."), message: self.message },
        }
    }
}

/// Whether a key is only missing because its wrong value was taken out before.
fn missing_because_taken(wrong: &Wrong, findings: &BTreeSet<Finding>) -> bool {
    let missing = wrong.missing();
    findings.iter().any(|finding| matches!(finding, Finding::Wrong { path, .. } if Some(path) == missing.as_ref()))
}

/// Takes the value at the path out of the table; whether there was one. An array goes as a whole, because taking
/// one item out would shift the places of the others.
fn take(table: &mut Table, segments: &[String]) -> bool {
    match segments {
        [] => false,
        [key, rest @ ..] => match table.get_mut(key) {
            Some(Value::Table(inner)) if !rest.is_empty() => take(inner, rest),
            _ => table.remove(key).is_some(),
        },
    }
}
