//! Label selectors, in Kubernetes' syntax.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One requirement on a host's labels: `zone=a`, `zone!=a`, `zone in (a, b)`, `zone notin (a, b)`, `gpu`, `!gpu`.
///
/// As in Kubernetes, `!=` and `notin` also match a host that has no such label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    key: String,
    requirement: Requirement,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// Why a text is not a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a label selector: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key")]
pub struct InvalidSelector(String);

impl Selector {
    /// Whether a host with these labels meets the requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.accepts(labels.get(&self.key).map(String::as_str))
    }

    /// The label that the requirement is about.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether a host whose label [`key`](Self::key) has this value, or that lacks it (`None`), meets the requirement.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|other| other == value));
        match &self.requirement {
            Requirement::In(values) => among(values),
            Requirement::NotIn(values) => !among(values),
            Requirement::Exists => value.is_some(),
            Requirement::Absent => value.is_none(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((key, list)) = text.split_once(" notin ") {
            return Some(Self { key: word(key)?, requirement: Requirement::NotIn(values(list)?) });
        }
        if let Some((key, list)) = text.split_once(" in ") {
            return Some(Self { key: word(key)?, requirement: Requirement::In(values(list)?) });
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Some(Self { key: word(key)?, requirement: Requirement::NotIn(vec![word(value)?]) });
        }
        if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Some(Self { key: word(key)?, requirement: Requirement::In(vec![word(value)?]) });
        }
        if let Some(key) = text.strip_prefix('!') {
            return Some(Self { key: word(key)?, requirement: Requirement::Absent });
        }
        Some(Self { key: word(text)?, requirement: Requirement::Exists })
    }
}

/// A label's key or value: letters, digits, `-`, `_`, `.`, `/`.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    good.then(|| text.to_owned())
}

fn values(list: &str) -> Option<Vec<String>> {
    list.trim().strip_prefix('(')?.strip_suffix(')')?.split(',').map(word).collect()
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        Self::parse(text).ok_or_else(|| InvalidSelector(text.to_owned()))
    }
}

impl TryFrom<String> for Selector {
    type Error = InvalidSelector;

    fn try_from(text: String) -> Result<Self, InvalidSelector> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.requirement {
            Requirement::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Requirement::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
            Requirement::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Requirement::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Requirement::Exists => f.write_str(key),
            Requirement::Absent => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        for (text, expected) in [
            ("zone=a", true),
            ("zone==a", true),
            ("zone=b", false),
            ("zone!=b", true),
            ("rack!=b", true),
            ("zone in (a, b)", true),
            ("zone notin (a,b)", false),
            ("rack notin (a)", true),
            ("zone", true),
            ("!zone", false),
            ("!rack", true),
        ] {
            assert_eq!(text.parse::<Selector>().map(|selector| selector.matches(&labels)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "=a", "zone in a", "zone in ()", "a b", "!"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
