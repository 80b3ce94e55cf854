//! Lines like `server.1=zk1:2888:3888:participant;2181`, as zoo.cfg and `/zookeeper/config` have them.

use std::{collections::BTreeMap, net::Ipv6Addr};

use crate::model::{Address, read_number};

/// A member, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an address; an IPv6 one without its brackets.
    pub host: String,
    /// All of it: the host with its brackets, ports, role, client port.
    pub text: String,
    /// Where clients reach it, when the line says so: a host (`None`: the same) and a port.
    client: Option<(Option<String>, u16)>,
}

/// Why a text is not a [`Server`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a member: write HOST or HOST:2888:3888, an IPv6 address in brackets")]
pub struct InvalidServer {
    text: String,
}

impl Server {
    /// Reads what is behind `server.N =`, the ports between members being 2888 and 3888 unless it says otherwise: `HOST`,
    /// or `HOST:PORT:PORT[:ROLE]`, several of these joined by `|` (since 3.6), then perhaps `;` and where clients reach it.
    ///
    /// # Errors
    /// When a part of it is none of these. `packaging/lib/zookeeper` and ZooKeeper would refuse to start with it.
    pub fn parse(text: &str) -> Result<Self, InvalidServer> {
        let invalid = || InvalidServer { text: text.to_owned() };
        let (peers, client) = text.split_once(';').map_or((text, None), |(peers, client)| (peers, Some(client)));
        if let Some((host, "")) = split_host(text) {
            return Ok(Self { host: host.to_owned(), text: format!("{text}:2888:3888"), client: None });
        }
        let has_ports = |part| split_host(part).is_some_and(|(_, rest)| is_ports(rest));
        let client = client.map(|client| client_address(client).ok_or_else(invalid)).transpose()?;
        // One of several addresses stands for the member.
        let first = peers.split('|').next().and_then(split_host).filter(|_| peers.split('|').all(has_ports));
        let (host, _) = first.ok_or_else(invalid)?;
        Ok(Self { host: host.to_owned(), text: text.to_owned(), client })
    }

    /// As short as it can be written: a single address without the usual ports.
    pub fn short(&self) -> &str {
        self.text.strip_suffix(":2888:3888").filter(|host| !host.contains('|')).unwrap_or(&self.text)
    }

    /// Whether the line says where clients reach it.
    pub fn tells_client_port(&self) -> bool {
        self.client.is_some()
    }

    /// Where clients reach it; `port` where the line does not say.
    pub fn client(&self, port: u16) -> Address {
        match &self.client {
            Some((host, port)) => Address::new(Some(host.as_deref().unwrap_or(&self.host)), *port),
            None => Address::new(Some(&self.host), port),
        }
    }
}

/// The host without brackets, which only IPv6 addresses have, and what is behind it.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    // Not ::ffff:192.0.2.1, which is an IPv4 address.
    let is_ipv6 = host.contains(':') && !host.contains('.');
    (is_host(host) && is_ipv6 == text.starts_with('[')).then_some((host, rest))
}

/// `:2888:3888`, perhaps with a role.
fn is_ports(text: &str) -> bool {
    let port = |part: Option<&str>| part.is_some_and(|port| read_number::<u16>(port).is_ok_and(|port| port != 0));
    let is_role = |role: &str| ["participant", "observer"].iter().any(|known| role.eq_ignore_ascii_case(known));
    let mut parts = text.split(':');
    parts.next() == Some("")
        && port(parts.next())
        && port(parts.next())
        && parts.next().is_none_or(is_role)
        && parts.next().is_none()
}

/// A host name or an address. A word that begins with `-` would be an option of whatever it is handed to.
pub(super) fn is_host(host: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(word);
    named || host.parse::<Ipv6Addr>().is_ok()
}

/// `2181`, `0.0.0.0:2181` or `zk1:2181`; an address that stands for all of a host's does not tell where to connect.
fn client_address(text: &str) -> Option<(Option<String>, u16)> {
    let Some((host, port)) = text.rsplit_once(':') else { return Some((None, read_number(text).ok()?)) };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let all = matches!(host, "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0");
    (all || is_host(host)).then_some(((!all).then(|| host.to_owned()), read_number(port).ok()?))
}

/// The members that `/zookeeper/config` or a zoo.cfg names, by their numbers; lines that are none are passed over.
pub fn servers(text: &str) -> BTreeMap<u32, Server> {
    let line = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let number = key.trim().strip_prefix("server.")?.parse().ok()?;
        Some((number, Server::parse(value.trim()).ok()?))
    };
    text.lines().filter_map(line).collect()
}
