//! How a member is restarted: a command of the operator's, run on this machine, without a shell.

use std::{net::Ipv6Addr, str::FromStr};

use crate::model::Address;

/// What runs unless the operator says otherwise: never asks for a password, and gives up on a dead host.
pub(super) const DEFAULT: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=5 root@{host} systemctl restart zkops-zookeeper.service";

/// A command's words, in which `{host}` and `{port}` stand for the member's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Via(Vec<String>);

/// Why a text is no such command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidVia {
    #[error("a quote is not closed")]
    Quote,
    #[error("it is empty")]
    Empty,
    #[error("without {{host}} (or {{port}}) it would do the same for every member")]
    NoHost,
}

impl FromStr for Via {
    type Err = InvalidVia;

    fn from_str(text: &str) -> Result<Self, InvalidVia> {
        let words = shlex::split(text).ok_or(InvalidVia::Quote)?;
        match words.iter().any(|word| word.contains("{host}") || word.contains("{port}")) {
            _ if words.is_empty() => Err(InvalidVia::Empty),
            true => Ok(Self(words)),
            false => Err(InvalidVia::NoHost),
        }
    }
}

impl Via {
    /// The words for one member. Nobody looks at them again: a host is one word, or a part of one, whatever it is.
    ///
    /// # Errors
    /// When the member's host is none that may be handed to a command, as one that begins with `-`.
    pub(super) fn words(&self, member: &Address) -> Result<Vec<String>, String> {
        let Address { host, port } = member;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let named = host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(plain);
        if !named && host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("\"{host}\" is not a host that a command may be given"));
        }
        let fill = |word: &String| word.replace("{host}", host).replace("{port}", &port.to_string());
        Ok(self.0.iter().map(fill).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(via: &str, host: &str) -> Result<Vec<String>, String> {
        via.parse::<Via>().map_err(|error| error.to_string())?.words(&Address::new(Some(host), 2181))
    }

    #[test]
    fn words_are_split_without_a_shell() {
        let given = words("ssh root@{host} 'systemctl restart x; echo $HOME'", "zk1").unwrap();
        assert_eq!(given, ["ssh", "root@zk1", "systemctl restart x; echo $HOME"]);
        assert_eq!(words("restart {host}:{port}", "::1").unwrap(), ["restart", "::1:2181"]);
        assert!(words(DEFAULT, "zk1.example.org").unwrap().contains(&"root@zk1.example.org".to_owned()));
    }

    #[test]
    fn what_is_no_command_says_why() {
        assert_eq!(words("", "zk1"), Err("it is empty".into()));
        assert_eq!(words("systemctl restart zookeeper", "zk1"), Err(InvalidVia::NoHost.to_string()));
        assert_eq!(words("ssh 'root@{host}", "zk1"), Err("a quote is not closed".into()));
    }

    #[test]
    fn a_host_is_no_option_and_no_second_word() {
        for host in ["-oProxyCommand=x", "a b", "a;b", "$(x)", "", "a\n"] {
            assert!(words("ssh {host}", host).is_err(), "{host}");
        }
    }
}
