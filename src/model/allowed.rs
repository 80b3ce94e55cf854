//! Which units the agent may touch.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::UnitName;

/// zkops's own units: an agent that a service's description could have stop itself would be nobody's.
const OWN_PREFIX: &str = "zkops-";

/// The units that an agent may drive: those that match a pattern, and never zkops's own. Without a pattern, none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Pattern>")]
pub struct AllowedUnits(Vec<Pattern>);

/// A host tells of more patterns than it may: those who place look at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has more than {} patterns", AllowedUnits::MOST_TOLD)]
pub struct TooManyPatterns;

impl TryFrom<Vec<Pattern>> for AllowedUnits {
    type Error = TooManyPatterns;

    fn try_from(patterns: Vec<Pattern>) -> Result<Self, TooManyPatterns> {
        if patterns.len() > Self::MOST_TOLD { Err(TooManyPatterns) } else { Ok(Self(patterns)) }
    }
}

impl AllowedUnits {
    /// The most patterns that a host tells of.
    pub const MOST_TOLD: usize = 1000;

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

    /// Whether the agent may drive instances of this template, as far as that can be told without their names.
    pub fn may_allow_instances_of(&self, template: &UnitName) -> bool {
        let (prefix, _) = template.as_str().split_at(template.as_str().find('@').map_or(0, |at| at + 1));
        let may = |pattern: &Pattern| {
            let literal = pattern.literal_prefix();
            literal.starts_with(prefix) || literal.len() < pattern.0.as_str().len() && prefix.starts_with(literal)
        };
        self.allows(template) || !template.as_str().starts_with(OWN_PREFIX) && self.0.iter().any(may)
    }

    /// Whether the agent may drive nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are too many patterns to tell others.
    pub fn are_too_many_to_tell(&self) -> bool {
        self.0.len() > Self::MOST_TOLD
    }

    /// The patterns, as they were written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| pattern.0.as_str())
    }
}

/// A shell pattern of unit names: `*`, `?`, `[abc]`, `[!abc]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl Pattern {
    /// What every name begins with that it matches.
    fn literal_prefix(&self) -> &str {
        let text = self.0.as_str();
        &text[..text.find(['*', '?', '[']).unwrap_or(text.len())]
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
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
    fn instances_may_be_allowed_whose_names_are_not_known_yet() {
        for (pattern, expected) in [
            ("webapp@*.service", true),
            ("webapp@?*.service", true),
            ("webapp@0000000001.service", true),
            ("webapp@.service", true),
            ("web*", true),
            ("[vw]*.service", true),
            ("webapp.service", false),
            ("webapp2@*.service", false),
            ("webbapp@*.service", false),
        ] {
            let units = AllowedUnits::new(vec![pattern.parse().unwrap()]);
            assert_eq!(units.may_allow_instances_of(&"webapp@.service".parse().unwrap()), expected, "{pattern}");
        }
        let all = AllowedUnits::new(vec!["*".parse().unwrap()]);
        assert!(!all.may_allow_instances_of(&"zkops-agent@.service".parse().unwrap()));
    }

    #[test]
    fn a_host_tells_of_no_more_patterns_than_others_look_at() {
        let read = |count: usize| serde_json::from_value::<AllowedUnits>(vec!["*"; count].into());
        assert!(read(AllowedUnits::MOST_TOLD).is_ok_and(|units| !units.are_too_many_to_tell()));
        let text = read(AllowedUnits::MOST_TOLD + 1).unwrap_err().to_string();
        assert_eq!(text, "has more than 1000 patterns");
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
