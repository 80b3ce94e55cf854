//! `[zookeeper]`: where the ensemble is.

use std::{str::FromStr, time::Duration};

use serde::Deserialize;

use super::fragment::lay;
use crate::model::{Span, read_number};

/// How to reach ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperSettings {
    /// The connection string: `zk1:2181,zk2:2181,zk3:2181/prod`.
    pub servers: String,
    /// The session's timeout that is asked for; the ensemble may grant another, between 2 and 20 of its ticks.
    pub session_timeout: Duration,
}

impl ZooKeeperSettings {
    /// Used where nothing is configured: short enough for a quick failover, long enough for a JVM's pause.
    pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(15);

    /// These servers, and the default for everything else.
    pub fn new(servers: Servers) -> Self {
        Self { servers: servers.0, session_timeout: Self::DEFAULT_SESSION_TIMEOUT }
    }
}

/// A connection string that is well-formed: `HOST:PORT[,HOST:PORT]…[/CHROOT]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Servers(String);

impl Servers {
    /// The connection string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self("127.0.0.1:2181".to_owned())
    }
}

/// Why a text is not a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {problem}: write HOST:PORT[,HOST:PORT]…[/CHROOT], as in zk1:2181,zk2:2181,zk3:2181/prod")]
pub struct InvalidServers {
    text: String,
    problem: String,
}

impl FromStr for Servers {
    type Err = InvalidServers;

    fn from_str(text: &str) -> Result<Self, InvalidServers> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(InvalidServers { text: text.to_owned(), problem }),
        }
    }
}

impl TryFrom<String> for Servers {
    type Error = InvalidServers;

    fn try_from(text: String) -> Result<Self, InvalidServers> {
        text.parse()
    }
}

fn problem(text: &str) -> Option<String> {
    let (servers, chroot) = text.find('/').map_or((text, None), |slash| {
        let (servers, chroot) = text.split_at(slash);
        (servers, Some(chroot))
    });
    servers.split(',').find_map(server_problem).or_else(|| chroot.and_then(chroot_problem))
}

fn server_problem(server: &str) -> Option<String> {
    if server.is_empty() {
        return Some("has an empty place where a server should be".to_owned());
    }
    let Some((host, port)) = server.rsplit_once(':') else {
        return Some(format!("has no port for {server}"));
    };
    if !is_host(host) {
        return Some(format!("has no usable host in {server}"));
    }
    match read_number::<u16>(port) {
        Ok(1..) => None,
        _ => Some(format!("has no usable port in {server}")),
    }
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !host.is_empty() && host.chars().all(word)
}

fn chroot_problem(chroot: &str) -> Option<String> {
    if chroot.contains(',') {
        return Some("has a chroot before the last server; it comes once, at the end".to_owned());
    }
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    let bad = !chroot[1..].split('/').all(good);
    bad.then(|| format!("has a chroot {chroot} that is not a ZooKeeper path"))
}

/// A session timeout within reason.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Span")]
pub(super) struct SessionTimeout(Duration);

impl TryFrom<Span> for SessionTimeout {
    type Error = String;

    fn try_from(span: Span) -> Result<Self, String> {
        let (least, most) = (Span::from_secs(1), Span::from_secs(60));
        match span {
            span if span < least => Err(format!("{span} is too short for a session; {least} to {most} are possible")),
            span if span > most => Err(format!("{span} is too long for a session; {least} to {most} are possible")),
            span => Ok(Self(span.get())),
        }
    }
}

/// `[zookeeper]` of one file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZooKeeperFragment {
    servers: Option<Servers>,
    session_timeout: Option<SessionTimeout>,
}

impl ZooKeeperFragment {
    pub(super) fn merge(&mut self, over: Self) {
        lay(&mut self.servers, over.servers);
        lay(&mut self.session_timeout, over.session_timeout);
    }

    pub(super) fn settle(self) -> ZooKeeperSettings {
        let mut settings = ZooKeeperSettings::new(self.servers.unwrap_or_default());
        if let Some(timeout) = self.session_timeout {
            settings.session_timeout = timeout.0;
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::Servers;

    fn problem(text: &str) -> String {
        text.parse::<Servers>().map_or_else(|error| error.to_string(), |_| "good".to_owned())
    }

    #[test]
    fn connection_strings_that_are_good() {
        for text in ["127.0.0.1:2181", "zk1:2181,zk2:2181,zk3:2181/prod", "[::1]:2181/a/b", "zk_1.example.org:1"] {
            assert_eq!(problem(text), "good", "{text}");
        }
        assert_eq!(problem(Servers::default().as_str()), "good");
    }

    #[test]
    fn connection_strings_that_are_not_say_why() {
        for (text, why) in [
            ("", "empty place"),
            ("zk1:2181,", "empty place"),
            ("zk1", "no port for zk1"),
            ("zk1:2181,zk2", "no port for zk2"),
            (":2181", "no usable host"),
            ("zk 1:2181", "no usable host"),
            ("::1:2181", "no usable host"),
            ("[::g]:2181", "no usable host"),
            ("zk1:0", "no usable port"),
            ("zk1:+1", "no usable port"),
            ("zk1:65536", "no usable port"),
            ("zk1:2181/prod,zk2:2181", "chroot before the last server"),
            ("zk1:2181/", "not a ZooKeeper path"),
            ("zk1:2181/a//b", "not a ZooKeeper path"),
            ("zk1:2181/a/", "not a ZooKeeper path"),
            ("zk1:2181/../b", "not a ZooKeeper path"),
        ] {
            assert!(problem(text).contains(why), "{text}: {}", problem(text));
        }
    }
}
