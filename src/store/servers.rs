//! The connection string `zk1:2181,zk2:2181,zk3:2181/prod`: which servers there are, and which of them answers.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    str::FromStr,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{net::TcpStream, time};

use super::StoreError;
use crate::model::{Address, InvalidAddress, read_number};

const DEFAULT_PORT: &str = "2181";

/// How long the next server waits while the one before has not answered. The first almost always does: an ensemble
/// must not get three connections for each that it serves.
const STAGGER: Duration = Duration::from_millis(100);

/// The servers of an ensemble and the part of its tree that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    text: String,
    addresses: Vec<String>,
    chroot: String,
}

impl FromStr for Servers {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let bad = |reason: &str| StoreError::BadServers { servers: text.to_owned(), reason: reason.to_owned() };
        let (hosts, chroot) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        if chroot.len() > 1 && (chroot.ends_with('/') || chroot.contains("//")) {
            return Err(bad("the path after the servers has an empty part"));
        }
        let addresses: Option<Vec<String>> = hosts.split(',').map(|host| address(host.trim())).collect();
        let addresses = addresses.ok_or_else(|| bad("each server is host:port, joined by ','"))?;
        Ok(Self { text: text.to_owned(), addresses, chroot: chroot.trim_end_matches('/').to_owned() })
    }
}

/// `host:port` of one server, the port defaulting to ZooKeeper's.
fn address(host: &str) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, port),
        _ => (host, DEFAULT_PORT),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    let known = !name.is_empty() && (bracketed || !name.contains([':', '[', ']']));
    (known && read_number::<u16>(port).is_ok_and(|port| port != 0)).then(|| format!("{name}:{port}"))
}

impl Servers {
    /// The connection string as given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The chroot, empty or as in `/prod`.
    pub(super) fn chroot(&self) -> &str {
        &self.chroot
    }

    /// The address of a server that accepts connections. Starts at a random one; gives each `limit` to accept.
    ///
    /// The client library hides why a server cannot be reached, and waits for the kernel's retries of a lost SYN
    /// (1 s, 3 s, 7 s). Asking first gives the operator the reason, and a healed link is found within `limit`.
    pub(super) async fn reach(&self, limit: Duration) -> Result<String, StoreError> {
        let first = usize::try_from(random() % self.addresses.len() as u64).unwrap_or(0);
        let (behind, ahead) = self.addresses.split_at(first);
        let mut attempts: FuturesUnordered<_> = ahead
            .iter()
            .chain(behind)
            .zip(0..)
            .map(|(address, turn)| async move { (address, accepts(address, STAGGER * turn, limit).await) })
            .collect();
        let mut reasons = Vec::new();
        while let Some((address, answer)) = attempts.next().await {
            match answer {
                Ok(()) => return Ok(address.clone()),
                Err(error) => reasons.push(format!("{address}: {error}")),
            }
        }
        reasons.sort();
        Err(StoreError::Unreachable { servers: self.text.clone(), reason: reasons.join(", ") })
    }
}

/// Where the servers of a connection string are, in its order.
///
/// # Errors
/// [`StoreError::BadServers`] when it is none.
pub fn addresses(text: &str) -> Result<Vec<Address>, StoreError> {
    let servers: Servers = text.parse()?;
    let bad = |error: InvalidAddress| StoreError::BadServers { servers: text.to_owned(), reason: error.to_string() };
    servers.addresses.iter().map(|address| address.parse().map_err(bad)).collect()
}

async fn accepts(address: &str, wait: Duration, limit: Duration) -> std::io::Result<()> {
    time::sleep(wait).await;
    time::timeout(limit, TcpStream::connect(address)).await??;
    Ok(())
}

/// A number that differs from process to process and call to call, to spread load; no secret.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(Vec<String>, String)> {
        text.parse::<Servers>().ok().map(|servers| (servers.addresses, servers.chroot))
    }

    #[test]
    fn reads_connection_strings() {
        let two = vec!["zk1:2181".to_owned(), "zk2:2182".to_owned()];
        assert_eq!(parsed("zk1,zk2:2182/prod/a"), Some((two.clone(), "/prod/a".to_owned())));
        assert_eq!(parsed("zk1, zk2:2182/"), Some((two, String::new())));
        assert_eq!(parsed("[::1]:2181"), Some((vec!["[::1]:2181".to_owned()], String::new())));
        assert_eq!(parsed("[::1]"), Some((vec!["[::1]:2181".to_owned()], String::new())));
        assert_eq!(parsed("10.0.0.1"), Some((vec!["10.0.0.1:2181".to_owned()], String::new())));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "/prod", "zk1,,zk2", "zk1:port", "zk1:0", "::1", "zk1//a", "zk1/a/", ":2181"] {
            assert!(text.parse::<Servers>().is_err(), "{text}");
        }
    }
}
