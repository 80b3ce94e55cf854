//! Which units the agent may touch.

use std::str::FromStr;

use serde::Deserialize;

use crate::model::UnitName;

/// zkops's own units: an agent that a service's description could have stop itself would be nobody's.
const OWN_PREFIX: &str = "zkops-";

/// The units that an agent may drive: those that match a pattern, and never zkops's own. Without a pattern, none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedUnits(Vec<Pattern>);

impl AllowedUnits {
    /// The units that match any of these.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// Whether the agent may drive this unit. A template's own name allows its instances.
    pub fn allows(&self, unit: &UnitName) -> bool {
        let file = unit.file_name();
        let matches = |pattern: &Pattern| pattern.0.matches(unit.as_str()) || pattern.0.matches(file.as_str());
        !unit.as_str().starts_with(OWN_PREFIX) && self.0.iter().any(matches)
    }

    /// Whether the agent may drive nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns, as they were written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| pattern.0.as_str())
    }
}

/// A shell pattern of unit names: `*`, `?`, `[abc]`, `[!abc]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(glob::Pattern);

/// Why a text is not a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Its wildcards are wrong.
    #[error(
        "\"{text}\" is not a pattern of unit names: {problem}; write it with * ? and [], as in \"webapp@*.service\""
    )]
    Syntax {
        /// The text.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// No unit that zkops drives has such a name.
    #[error("\"{text}\" matches no service unit: their names end in .service, as in \"{text}.service\"")]
    NoService {
        /// The text.
        text: String,
    },
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let syntax = |problem: &str| InvalidPattern::Syntax { text: text.to_owned(), problem: problem.to_owned() };
        if text.contains("**") {
            return Err(syntax("one * matches everything"));
        }
        let pattern = glob::Pattern::new(text).map_err(|error| syntax(error.msg))?;
        if text.ends_with(".service") || text.ends_with(['*', '?', ']']) {
            return Ok(Self(pattern));
        }
        Err(InvalidPattern::NoService { text: text.to_owned() })
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{AllowedUnits, Pattern};

    fn allows(patterns: &[&str], unit: &str) -> bool {
        let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        AllowedUnits::new(patterns).allows(&unit.parse().unwrap())
    }

    #[test]
    fn patterns_allow_what_they_match_and_nothing_else() {
        for (pattern, unit, expected) in [
            ("webapp.service", "webapp.service", true),
            ("webapp.service", "webapp2.service", false),
            ("webapp@*.service", "webapp@0000000001.service", true),
            ("webapp@*.service", "webapp.service", false),
            ("webapp@.service", "webapp@0000000001.service", true),
            ("web?.service", "web1.service", true),
            ("web[12].service", "web3.service", false),
            ("web[!12].service", "web3.service", true),
            ("*", "anything.service", true),
            ("Webapp.service", "webapp.service", false),
            (r"a\x2db.service", r"a\x2db.service", true),
        ] {
            assert_eq!(allows(&[pattern], unit), expected, "{pattern} {unit}");
        }
        assert!(allows(&["a.service", "b.service"], "b.service"));
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_said() {
        assert!(!allows(&[], "webapp.service"));
        assert!(AllowedUnits::default().is_empty());
    }

    #[test]
    fn zkops_never_drives_itself() {
        for unit in ["zkops-agent.service", "zkops-controller.service", "zkops-x@1.service"] {
            assert!(!allows(&["*", unit], unit), "{unit}");
        }
        assert!(allows(&["*"], "zkopsish.service"));
    }

    #[test]
    fn patterns_that_can_match_nothing_say_so() {
        for (text, why) in [
            ("webapp", "as in \"webapp.service\""),
            ("", "matches no service unit"),
            ("a**.service", "one * matches everything"),
            ("a[.service", "not a pattern"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
