//! `/etc/zkops/ensemble.conf`: who is a member. `packaging/lib/zookeeper` reads the same at each start of a member.

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use super::{Server, servers};
use crate::model::read_number;

/// The members by their numbers, which never change: with data of another number in place, a member refuses to start.
pub type Members = BTreeMap<u8, Server>;

/// What a file says, as far as it is ours: any other key goes to ZooKeeper as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// The `server.N` lines.
    pub members: Members,
    /// The `id` line: the member that this host is, where its name does not tell.
    pub id: Option<u8>,
}

/// Why a file, or a list of members, is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A line of a file.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A list.
    #[error("{0}")]
    List(String),
}

/// A line's key and value, if it is neither empty nor a comment.
fn key_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim())))
}

/// Whether a line says who is a member, or which of them this host is.
fn is_ours(line: &str) -> bool {
    key_value(line).is_some_and(|(key, _)| key == "id" || key.starts_with("server."))
}

/// Reads the number of a member.
///
/// # Errors
/// When it is none: ZooKeeper takes 1 to 255.
pub fn number(text: &str) -> Result<u8, String> {
    let parsed = read_number(text).ok().filter(|number| *number > 0);
    parsed.ok_or_else(|| format!("\"{text}\": a member's number is 1 to 255"))
}

impl Conf {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut conf = Self::default();
        for (line, (key, value)) in (1..).zip(text.lines()).filter_map(|(at, line)| Some((at, key_value(line)?))) {
            conf.take(key, value).map_err(|problem| Invalid::Line { line, problem })?;
        }
        Ok(conf)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("\"{key}\" is not KEY = VALUE"));
        }
        if key == "id" {
            self.id = Some(number(value)?);
        } else if let Some(member) = key.strip_prefix("server.") {
            let server = Server::parse(value).map_err(|error| error.to_string())?;
            if self.members.insert(number(member)?, server).is_some() {
                return Err(format!("\"{key}\" is there twice"));
            }
        }
        Ok(())
    }

    /// The file `text` with these members and this `id` instead of its own; everything else in it stays.
    pub fn write_into(&self, text: &str) -> String {
        let first = text.lines().position(is_ours).unwrap_or(usize::MAX);
        let mut lines: Vec<&str> = text.lines().filter(|line| !is_ours(line)).collect();
        let own = self.lines();
        lines.splice(first.min(lines.len())..first.min(lines.len()), own.lines());
        lines.join("\n") + "\n"
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for (number, server) in &self.members {
            let _ = writeln!(text, "server.{number} = {}", server.short());
        }
        if let Some(id) = self.id {
            let _ = writeln!(text, "id = {id}");
        }
        text
    }
}

/// How many members were added, taken away or are elsewhere. Where one was added or taken away, any two majorities, of
/// the old list and of the new one, share somebody; where more, two leaders can come. So they can where one is elsewhere
/// (`1, 3` of `1, 2, 3` and `2, 9` of `1, 2, 9`), unless the old host never starts again ([`moved`]).
pub fn differences(before: &Members, after: &Members) -> usize {
    let changed = |number: &&u8| before.get(number) != after.get(number);
    before.keys().chain(after.keys().filter(|number| !before.contains_key(number))).filter(changed).count()
}

/// The numbers whose host is another, with the old host and the new one.
pub fn moved<'a>(before: &'a Members, after: &'a Members) -> Vec<(u8, &'a str, &'a str)> {
    let hosts = |(number, old): (&u8, &'a Server)| Some((*number, old.host.as_str(), after.get(number)?.host.as_str()));
    before.iter().filter_map(hosts).filter(|(_, old, new)| !old.eq_ignore_ascii_case(new)).collect()
}

/// The members that a zoo.cfg of `packaging/lib/zookeeper` names.
pub fn in_zoo_cfg(text: &str) -> Members {
    servers(text).into_iter().filter_map(|(number, server)| Some((u8::try_from(number).ok()?, server))).collect()
}

/// The members that a host's own name or address names, as `packaging/lib/zookeeper` finds them.
pub fn named(members: &Members, host: &str, is_own_address: impl Fn(&str) -> bool) -> Vec<u8> {
    let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let by = |same: &dyn Fn(&str) -> bool| -> Vec<u8> {
        members.iter().filter(|(_, server)| same(&server.host)).map(|(number, _)| *number).collect()
    };
    let whole = by(&|name| name.eq_ignore_ascii_case(host) || (is_address(name) && is_own_address(name)));
    if !whole.is_empty() {
        return whole;
    }
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    by(&|name| !is_address(name) && label(name) == label(host))
}

/// A list of members as people give it: `zk1,zk2,zk3`, numbered from 1, or with their numbers, `1=zk1,2=zk2,4=zk4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(pub Members);

impl FromStr for List {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let mut members = Members::new();
        for (at, word) in (1..).zip(&words) {
            let (member, server) = entry(at, word).map_err(Invalid::List)?;
            if let Some(twin) = members.values().find(|other: &&Server| other.host.eq_ignore_ascii_case(&server.host)) {
                return Err(Invalid::List(format!("{} is there twice", twin.host)));
            }
            if members.insert(member, server).is_some() {
                return Err(Invalid::List(format!("two members have the number {member}")));
            }
        }
        match words.iter().filter(|word| word.contains('=')).count() {
            given if given == 0 || given == words.len() => Ok(Self(members)),
            _ => Err(Invalid::List("give a number (N=HOST) to all members, or to none".to_owned())),
        }
    }
}

fn entry(at: usize, word: &str) -> Result<(u8, Server), String> {
    let (member, server) = match word.split_once('=') {
        Some((member, server)) => (number(member)?, server),
        None => (number(&at.to_string())?, word),
    };
    Ok((member, Server::parse(server).map_err(|error| error.to_string())?))
}
