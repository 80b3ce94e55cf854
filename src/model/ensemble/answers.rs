//! Reading what members say to four-letter words: text for people, which has stayed the same since 3.4.

use std::str::FromStr;

use super::{Answer, Latency, Mntr, Mode, Silence, Srvr};

/// The process's counters that are looked at, to tell one process from the next. More than one, because a busy member
/// soon has more of one than it had before.
const COUNTERS: [&str; 4] =
    ["zk_bytes_received_count", "zk_looking_count", "zk_connection_request_count", "zk_commit_count"];

/// A refusal that any word may be answered with.
fn refusal(text: &str) -> Option<Silence> {
    let first = text.lines().next().unwrap_or_default().trim();
    match first {
        "" => Some(Silence::Unreachable("an empty answer".to_owned())),
        _ if first.contains("not currently serving requests") => Some(Silence::NotServing),
        _ if first.contains("not executed because it is not in the whitelist") => Some(Silence::NotAllowed),
        _ => None,
    }
}

fn strange(text: &str) -> Silence {
    let first = text.lines().next().unwrap_or_default();
    Silence::Strange(first.chars().filter(|c| !c.is_control()).take(80).collect())
}

/// The answer to `ruok`.
pub fn ruok(text: &str) -> Answer<()> {
    match refusal(text) {
        _ if text.trim() == "imok" => Ok(()),
        Some(refusal) => Err(refusal),
        None => Err(strange(text)),
    }
}

impl Srvr {
    /// Reads the answer to `srvr`.
    ///
    /// # Errors
    /// The refusal that it is, or that it is something else.
    pub fn parse(text: &str) -> Answer<Self> {
        if let Some(refusal) = refusal(text) {
            return Err(refusal);
        }
        Self::fields(text).ok_or_else(|| strange(text))
    }

    fn fields(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        let number = |name| field(name).and_then(|value| value.parse().ok()).unwrap_or_default();
        Some(Self {
            version: version(field("Zookeeper version")?),
            latency: field("Latency min/avg/max").and_then(latency).unwrap_or_default(),
            connections: number("Connections"),
            outstanding: number("Outstanding"),
            zxid: field("Zxid")?.parse().ok()?,
            mode: Mode::of(field("Mode")?)?,
            znodes: number("Node count"),
        })
    }
}

/// `3.8.4` of `3.8.4-9316c2a7a97e…, built on 2024-02-12 22:16 UTC`.
fn version(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(text.len());
    text[..end].to_owned()
}

fn latency(text: &str) -> Option<Latency> {
    let mut parts = text.split('/');
    let mut next = || parts.next().map(str::trim);
    let (min, avg, max) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    Some(Latency { min, avg, max })
}

impl Mntr {
    /// Reads the answer to `mntr`.
    ///
    /// # Errors
    /// The refusal that it is, or that it is something else.
    pub fn parse(text: &str) -> Answer<Self> {
        if let Some(refusal) = refusal(text) {
            return Err(refusal);
        }
        if !text.lines().any(|line| line.starts_with("zk_version\t")) {
            return Err(strange(text));
        }
        let counters = COUNTERS.into_iter().filter_map(|name| Some((name, number(text, name)?))).collect();
        Ok(Self {
            synced_followers: number(text, "zk_synced_followers"),
            learners: number(text, "zk_learners"),
            quorum_size: number(text, "zk_quorum_size"),
            sessions: number(text, "zk_global_sessions"),
            watches: number(text, "zk_watch_count"),
            counters,
        })
    }
}

fn number<T: FromStr>(text: &str, name: &str) -> Option<T> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
    value.trim().parse().ok()
}
