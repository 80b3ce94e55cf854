//! The connection string `zk1:2181,zk2:2181,zk3:2181/prod`: which servers there are, and which of them answers.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::SocketAddr,
    str::FromStr,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{net::TcpStream, time};

use super::StoreError;
use crate::{
    connect::{Resolver, words},
    model::{Address, InvalidAddress, read_number},
};

/// The names of ZooKeeper's servers, more at once than an ensemble has members.
static NAMES: Resolver = Resolver::keeping(16);

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
    /// The chroot, empty or as in `/prod`.
    pub(super) fn chroot(&self) -> &str {
        &self.chroot
    }

    /// A server that accepts connections; `last` is the one to be asked last, since it did not serve just now. One name
    /// may stand for several servers.
    ///
    /// The client library hides why a server cannot be reached, and waits for the kernel's retries of a lost SYN
    /// (1 s, 3 s, 7 s). Asking first gives the operator the reason, and a healed link is found within the limits.
    pub(super) async fn reach(&self, limits: Limits, last: Option<&Reached>) -> Result<Reached, StoreError> {
        let servers = self.shuffled(last.map(|last| last.server.as_str()));
        let last = last.map(|last| last.address);
        let attempts = servers.into_iter().map(|server| reach_one(server, limits, last));
        first_of(attempts, STAGGER).await.map_err(|reasons| self.unreachable(reasons))
    }

    /// The servers from a random one on, so that an ensemble's members get their share each.
    pub(super) fn shuffled(&self, last: Option<&str>) -> Vec<String> {
        let first = usize::try_from(random() % self.addresses.len() as u64).unwrap_or(0);
        let (behind, ahead) = self.addresses.split_at(first);
        let mut all: Vec<String> = ahead.iter().chain(behind).cloned().collect();
        // Stable: the others stay in their order.
        all.sort_by_key(|server| Some(server.as_str()) == last);
        all
    }

    /// The failure of reaching any.
    pub(super) fn unreachable(&self, mut reasons: Vec<String>) -> StoreError {
        reasons.sort();
        StoreError::Unreachable { servers: self.text.clone(), reason: reasons.join(", ") }
    }
}

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For its name to resolve, where it never has.
    pub(super) lookup: Duration,
    /// For each of its addresses to accept a connection.
    pub(super) connect: Duration,
}

/// A server that accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// As the connection string has it.
    pub(super) server: String,
    /// Where it was found.
    pub(super) address: SocketAddr,
}

/// One server, at the first of its addresses that accepts a connection; `last` is asked last. Why it cannot be reached,
/// for people.
async fn reach_one(server: String, limits: Limits, last: Option<SocketAddr>) -> Result<Reached, String> {
    let mut refusals = Vec::new();
    for address in in_turn(look_up(&server, limits.lookup).await?, last) {
        match accepts(address, limits.connect).await {
            Ok(()) => return Ok(Reached { server, address }),
            Err(why) => refusals.push(why),
        }
    }
    refusals.dedup();
    Err(format!("{server}: {}", refusals.join(", ")))
}

/// The addresses in the resolver's order (RFC 6724), from the one after `last` on.
fn in_turn(mut addresses: Vec<SocketAddr>, last: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(at) = addresses.iter().position(|address| Some(*address) == last) {
        addresses.rotate_left(at + 1);
    }
    addresses
}

/// Whether a connection to the address is accepted; why not, for people.
pub(super) async fn accepts(address: SocketAddr, limit: Duration) -> Result<(), String> {
    match time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// A server's addresses. A lookup that takes longer than `limit` goes on, and serves the next who asks. Why there are
/// none, for people.
pub(super) async fn look_up(server: &str, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let because = |why: String| format!("{server}: {why}");
    let Address { host, port } = server.parse().map_err(|error: InvalidAddress| because(error.to_string()))?;
    match time::timeout(limit, NAMES.look_up(&host, port)).await {
        Ok(found) => found.map_err(|error| because(error.to_string())),
        Err(_) => Err(because(format!("its name has not resolved within {limit:?}: does a name server hang?"))),
    }
}

/// The first success. The next attempt begins when one has failed, or when all so far have kept silent for `stagger`.
///
/// # Errors
/// Why each of them failed.
pub(super) async fn first_of<T, E, F: Future<Output = Result<T, E>>>(
    attempts: impl IntoIterator<Item = F>,
    stagger: Duration,
) -> Result<T, Vec<E>> {
    let mut waiting = attempts.into_iter().fuse().peekable();
    let mut begun: FuturesUnordered<F> = waiting.next().into_iter().collect();
    let mut failures = Vec::new();
    loop {
        let more = waiting.peek().is_some();
        tokio::select! {
            Some(ended) = begun.next() => match ended {
                Ok(success) => return Ok(success),
                Err(failure) => failures.push(failure),
            },
            () = time::sleep(stagger), if more => {}
            else => return Err(failures),
        }
        begun.extend(waiting.next());
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

/// A number that differs from process to process and call to call, to spread load; no secret.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::{pending, ready};

    use futures_util::future::Either;

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_failure_lets_the_next_begin_at_once() {
        let attempts = [Err("a"), Ok("b"), Err("never asked")].map(ready);
        assert_eq!(first_of(attempts, LONG).await, Ok("b"));
        assert_eq!(first_of([Err::<(), _>("a"), Err("b")].map(ready), LONG).await, Err(vec!["a", "b"]));
        assert_eq!(first_of([Ok::<_, ()>("a")].map(ready), LONG).await, Ok("a"));
    }

    #[tokio::test]
    async fn silence_lets_the_next_begin_after_a_moment() {
        let attempts = [Either::Left(pending()), Either::Left(pending()), Either::Right(ready(Ok::<_, ()>("c")))];
        assert_eq!(first_of(attempts, SHORT).await, Ok("c"));
    }

    #[test]
    fn who_did_not_serve_is_asked_last() {
        let servers: Servers = "zk1,zk2,zk3".parse().unwrap();
        for _ in 0..20 {
            let order = servers.shuffled(Some("zk2:2181"));
            assert_eq!((order.len(), order[2].as_str()), (3, "zk2:2181"));
        }
    }

    #[test]
    fn of_a_name_with_several_addresses_the_one_that_did_not_serve_is_asked_last() {
        let [a, b, c] = ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"].map(|address| address.parse().unwrap());
        assert_eq!(in_turn(vec![a, b], None), [a, b]);
        assert_eq!(in_turn(vec![a, b], Some(a)), [b, a]);
        assert_eq!(in_turn(vec![a, b], Some(b)), [a, b]);
        assert_eq!(in_turn(vec![a, b, c], Some(a)), [b, c, a], "not back to one that did not serve before");
    }

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
