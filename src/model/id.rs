//! Names: of services, hosts, replicas and units. A value of these types is always well-formed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::text::one_line;

/// Why a text is not a name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidName {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: one_line(&text.chars().take(80).collect::<String>()).into_owned(), what, rule }
    }
}

/// One name type: a checked string that reads, prints and serialises as itself.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName::new(text, $what, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A service's name: an RFC 1123 label, so that it can be a znode, a label of a DNS name and a metric's label.
    ServiceName,
    "a service name",
    "use lower-case letters, digits and inner '-', 63 characters at most (RFC 1123 label)",
    is_label
);

name!(
    /// A host's name: RFC 1123 labels joined by dots.
    HostName,
    "a host name",
    "use lower-case letters, digits and inner '-', in labels joined by '.', 253 characters at most (RFC 1123)",
    |text| text.len() <= 253 && text.split('.').all(is_label)
);

name!(
    /// A systemd service unit's name (systemd.unit(5)): `webapp.service`, a template `webapp@.service`,
    /// or an instance `webapp@0000000001.service`.
    UnitName,
    "a service unit's name",
    "write PREFIX.service, or PREFIX@.service for a template, with letters, digits and :-_.\\, no - at PREFIX's end, no . at \
     an instance's beginning and \
     243 characters at most (systemd.unit(5))",
    is_service_unit
);

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_service_unit(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    let Some(stem) = text.strip_suffix(".service") else { return false };
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    // A template's instances are ten digits longer, and the folder of a unit's drop-ins is called UNIT.d: NAME_MAX is 255.
    // Drop-ins of web-.service are those of every web-*.service. An instance names folders and links.
    text.len() <= 243
        && !prefix.is_empty()
        && !prefix.starts_with('.')
        && !prefix.ends_with('-')
        && !instance.starts_with('.')
        && prefix.chars().all(allowed)
        && instance.chars().all(allowed)
}

impl UnitName {
    /// Whether this is a template, of which each replica gets an instance.
    pub fn is_template(&self) -> bool {
        self.0.ends_with("@.service")
    }

    /// The unit that a replica runs as: the template's instance for its number, or the unit itself.
    #[must_use]
    pub fn for_replica(&self, number: ReplicaNumber) -> Self {
        match self.0.strip_suffix("@.service") {
            Some(prefix) => Self(format!("{prefix}@{number}.service")),
            None => self.clone(),
        }
    }

    /// The unit whose file this unit is loaded from: `webapp@.service` for `webapp@0000000001.service`.
    #[must_use]
    pub fn file_name(&self) -> Self {
        match self.0.split_once('@') {
            Some((prefix, _)) => Self(format!("{prefix}@.service")),
            None => self.clone(),
        }
    }
}

/// A replica's number: what ZooKeeper appended to its sequential node, so it orders the replicas of a service by
/// age and never returns. Written with ten digits, as ZooKeeper writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaNumber(pub u32);

impl fmt::Display for ReplicaNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

impl FromStr for ReplicaNumber {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "write the ten digits of its node, as in 0000000001";
        let digits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| InvalidName::new(text, "a replica number", rule))
    }
}

/// One replica of one service; printed `webapp.0000000001`, which is also its node's name in a host's `assigned`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicaId {
    /// The service.
    pub service: ServiceName,
    /// The replica's number within it.
    pub number: ReplicaNumber,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.number)
    }
}

impl FromStr for ReplicaId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "write SERVICE.NUMBER, as in webapp.0000000001";
        let (service, number) = text.rsplit_once('.').ok_or_else(|| InvalidName::new(text, "a replica", rule))?;
        Ok(Self { service: service.parse()?, number: number.parse()? })
    }
}

impl TryFrom<String> for ReplicaId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ReplicaId> for String {
    fn from(id: ReplicaId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for good in ["webapp", "a", "web-1", "1"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Web", "a.b", "a/b", "a_b", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!("web1.example.org".parse::<HostName>().is_ok());
        assert!("web1..org".parse::<HostName>().is_err());
        assert!("web1@2".parse::<HostName>().is_err());
    }

    #[test]
    fn unit_names_are_services_only() {
        for good in ["webapp.service", "webapp@.service", "webapp@0000000001.service", "a-b_c.d.service"] {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        for bad in [
            "webapp",
            ".service",
            "web/app.service",
            "a.socket",
            "../x.service",
            "@.service",
            "a b.service",
            "a@b@c.service",
            "web-.service",
            "web-@1.service",
            "web@...service",
            "web@.hidden.service",
            "-.service",
            &format!("{}.service", "x".repeat(236)),
        ] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_template_gives_each_replica_its_instance() -> Result<(), InvalidName> {
        let template: UnitName = "webapp@.service".parse()?;
        let unit = template.for_replica(ReplicaNumber(1));
        assert_eq!(unit.as_str(), "webapp@0000000001.service");
        assert_eq!(unit.file_name(), template);
        let plain: UnitName = "webapp.service".parse()?;
        assert_eq!(plain.for_replica(ReplicaNumber(1)), plain);
        Ok(())
    }

    #[test]
    fn a_replica_reads_as_it_prints() -> Result<(), InvalidName> {
        let id: ReplicaId = "webapp.0000000007".parse()?;
        assert_eq!((id.service.as_str(), id.number), ("webapp", ReplicaNumber(7)));
        assert_eq!(id.to_string(), "webapp.0000000007");
        for bad in ["webapp", "webapp.7", "webapp.99999999999", "webapp.+000000007"] {
            assert!(bad.parse::<ReplicaId>().is_err(), "{bad}");
        }
        Ok(())
    }
}
