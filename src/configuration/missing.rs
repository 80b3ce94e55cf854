//! What templates might want to see and is not there, and what to set so that it is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Facts, Wanted};

/// What is not there: how a template would name it, and what to do.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Missing(Vec<(Name, String)>);

/// How a template names a value.
#[derive(Debug, Serialize, Deserialize)]
enum Name {
    /// `{{ address }}`
    Own(Cow<'static, str>),
    /// `{{ db.address }}`, `map(attribute="address")`
    Of(Cow<'static, str>),
}

impl Missing {
    /// What is not known about a replica and the others that its templates see.
    pub(super) fn of(wanted: &Wanted<'_>, facts: &Facts) -> Self {
        let (host, service) = (&facts.host, &wanted.id.service);
        let mut missing = Vec::new();
        let mut check = |there: bool, name: Name, hint: String| {
            if !there {
                missing.push((name, hint));
            }
        };
        check(facts.address.is_some(), Name::Own("address".into()), no_address(host.as_str()));
        check(
            wanted.version.is_some(),
            Name::Own("version".into()),
            format!("{service} has no version: set it in desired"),
        );
        check(wanted.port.is_some(), Name::Own("port".into()), no_port(service.as_str()));
        let no_folder = "its source has no folder for each version: use archive, exec or nix";
        let release = format!("{service} has no release_dir: {no_folder}");
        check(facts.release_dir.is_some(), Name::Own("release_dir".into()), release);
        for (service, peers) in &facts.instances {
            for peer in peers {
                check(peer.address.is_some(), Name::Of("address".into()), no_address(peer.host.as_str()));
                let version = format!("{service} has no version: set it in its desired");
                check(peer.version.is_some(), Name::Of("version".into()), version);
                check(peer.port.is_some(), Name::Of("port".into()), no_port(service.as_str()));
            }
        }
        Self(missing)
    }

    /// What to do about an error in a line of a template.
    pub(super) fn hints(&self, line: &str) -> Vec<&str> {
        let mut hints: Vec<_> = self.0.iter().filter(|(name, _)| name.is_in(line)).map(|(_, hint)| &**hint).collect();
        hints.dedup();
        hints.truncate(3);
        hints
    }
}

impl Name {
    fn is_in(&self, line: &str) -> bool {
        let (Self::Own(word) | Self::Of(word)) = self;
        line.match_indices(&**word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let whole = !after.is_some_and(|c| c.is_alphanumeric() || c == '_');
            whole
                && match self {
                    Self::Own(_) => !before.is_some_and(|c| c.is_alphanumeric() || "_.\"'".contains(c)),
                    Self::Of(_) => before.is_some_and(|c| ".\"'".contains(c)),
                }
        })
    }
}

fn no_address(host: &str) -> String {
    format!("{host} has no address: set `address` in its agent.toml")
}

fn no_port(service: &str) -> String {
    format!("{service} has no port: set `port` in its description")
}
