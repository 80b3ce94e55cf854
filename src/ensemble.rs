//! Asking an ensemble's members how they are, each by itself, with ZooKeeper's four-letter words.
//!
//! A session would tell nothing of a member that does not serve, and nothing of the others. All members are asked at
//! once: one that is dead costs its own patience and nobody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use futures_util::future::{join, join_all, join3};
use tokio::time::timeout;

use crate::{
    connect,
    model::{
        Address,
        ensemble::{Answer, Mntr, Mode, Report, Server, Silence, Srvr, answers, servers},
    },
    plan::ensemble::members::{self, Known, Named},
    store::{self, SessionConfig, StoreError},
    tree::layout,
};

/// How much of an answer is read, in bytes. `mntr` has 20 KiB, and more with many namespaces.
const MOST: usize = 1024 * 1024;

/// How long a member's name may take to resolve: a dead name server costs 5 s (resolv.conf(5)), and there may be two.
const LOOKUP: Duration = Duration::from_secs(12);

/// The timeout of the session in which `/zookeeper/config` is read: it is closed at once.
const SESSION: Duration = Duration::from_secs(5);

/// A member, and whether the operator named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where clients reach it.
    pub address: Address,
    /// Whether the connection string names it.
    pub listed: bool,
}

/// The members that a connection string names, in its order.
///
/// # Errors
/// When it is none.
pub fn listed(servers: &str) -> Result<Vec<Member>, StoreError> {
    let mut members: Vec<Member> = Vec::new();
    for address in store::addresses(servers)? {
        if members.iter().all(|member| member.address != address) {
            members.push(Member { address, listed: true });
        }
    }
    Ok(members)
}

/// Asks all of these at once, and gives each `patience` to answer.
pub async fn survey(members: &[Member], patience: Duration) -> Vec<Report> {
    join_all(members.iter().map(|member| report(member, patience))).await
}

/// What one member says of itself. Its name may take longer to resolve than the member may to answer.
pub async fn report(Member { address, listed }: &Member, patience: Duration) -> Report {
    if let Err(why) = resolve(address).await {
        let silent = Silence::Unreachable(why);
        let (ruok, srvr, mntr) = (Err(silent.clone()), Err(silent.clone()), Err(silent));
        return Report { address: address.clone(), listed: *listed, ruok, srvr, mntr };
    }
    let (ruok, srvr, mntr) =
        join3(say("ruok", address, patience), say("srvr", address, patience), say("mntr", address, patience)).await;
    Report {
        address: address.clone(),
        listed: *listed,
        ruok: ruok.and_then(|text| answers::ruok(&text)),
        srvr: srvr.and_then(|text| Srvr::parse(&text)),
        mntr: mntr.and_then(|text| Mntr::parse(&text)),
    }
}

async fn say(word: &str, address: &Address, patience: Duration) -> Answer<String> {
    match timeout(patience, connect::say(word, address, MOST)).await {
        Ok(Ok(text)) if text.len() >= MOST => Err(Silence::Strange(format!("more than {MOST} bytes"))),
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Silence::Refused),
        Ok(Err(error)) => Err(Silence::Unreachable(connect::words(&error))),
        Err(_) => Err(Silence::Unreachable(format!("no answer within {}", crate::model::Span::from(patience)))),
    }
}

/// Whether these are all that there are: each serves, and their numbers are those that the leader tells.
pub fn is_all(reports: &[Report]) -> bool {
    let modes: Vec<Mode> = reports.iter().filter_map(Report::mode).collect();
    let leader = reports.iter().find(|report| report.mode() == Some(Mode::Leader));
    let told = leader.and_then(|leader| leader.mntr.as_ref().ok()).and_then(|mntr| mntr.learners);
    modes.len() == reports.len() && (modes == [Mode::Standalone] || told == Some(modes.len() as u64 - 1))
}

/// Whether two of these addresses may lead to one member: their names resolve to one machine, and the ports are the same.
pub async fn may_be_doubled(members: &[Member]) -> bool {
    let asked =
        join_all(members.iter().map(async |Member { address, .. }| (address.port, addresses(address).await))).await;
    let is_again = |at: usize, (port, ips): &(u16, BTreeSet<IpAddr>)| {
        asked[..at].iter().any(|(other, others)| port == other && !ips.is_disjoint(others))
    };
    asked.iter().enumerate().any(|(at, one)| is_again(at, one))
}

/// What `/zookeeper/config` says of the members that are listed.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The members that nobody listed.
    pub new: Vec<Member>,
    /// The addresses that lead to a member which is listed before, too.
    pub doubles: Vec<Address>,
}

/// Compares the `members` that are listed with those that `/zookeeper/config` names. A session with each that serves tells
/// which it is; where there is none, its addresses do. Where the configuration names no client port, the others' is taken.
///
/// # Errors
/// When it cannot be read at any of those that serve.
pub async fn discover(members: &[Member], serving: &[Address], patience: Duration) -> Result<Discovery, StoreError> {
    let asked = join_all(serving.iter().map(async |address| (address, read_config(address, patience).await))).await;
    let servers: BTreeMap<&Address, u8> =
        asked.iter().filter_map(|(address, said)| Some((*address, said.as_ref().ok()?.0))).collect();
    let Some(config) = asked.iter().find_map(|(_, said)| said.as_ref().ok().map(|(_, config)| config)) else {
        let why = asked.into_iter().find_map(|(_, said)| said.err());
        return why.map_or_else(|| Ok(Discovery::default()), Err);
    };
    let known = join_all(members.iter().map(async |Member { address, .. }| Known {
        address: address.clone(),
        ips: addresses(address).await,
        server: servers.get(address).copied(),
    }));
    let port = members.first().map_or(2181, |member| member.address.port);
    let named = join_all(config.iter().map(async |(id, server)| {
        let address = server.client(port);
        Named { id: *id, ips: addresses(&address).await, address, tells_port: server.tells_client_port() }
    }));
    let (known, named) = join(known, named).await;
    let unlisted = members::unlisted(&known, &named).into_iter();
    let new = unlisted.map(|member| Member { address: member.address.clone(), listed: false }).collect();
    Ok(Discovery { new, doubles: members::doubles(&known, &named).into_iter().cloned().collect() })
}

/// What a name resolves to; with the loopback addresses, if this machine is meant.
async fn addresses(address: &Address) -> BTreeSet<IpAddr> {
    let mut ips = resolve(address).await.unwrap_or_default();
    // Only to an address of its own can a machine bind (but for ip_nonlocal_bind(7); a session tells better anyway).
    if ips.iter().any(|ip| UdpSocket::bind((*ip, 0)).is_ok()) {
        ips.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
    }
    ips
}

/// A member's addresses; they are remembered for as long as it takes to ask it.
async fn resolve(address: &Address) -> Result<BTreeSet<IpAddr>, String> {
    match timeout(LOOKUP, connect::look_up(address)).await {
        Ok(Ok(found)) => Ok(found.iter().map(SocketAddr::ip).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("its name has not resolved within {LOOKUP:?}: does a name server hang?")),
    }
}

/// The server that answers there ([`members::server_of`]), and the members that it knows.
async fn read_config(serving: &Address, patience: Duration) -> Result<(u8, BTreeMap<u32, Server>), StoreError> {
    let unreachable = |_| StoreError::Unreachable {
        servers: serving.to_string(),
        reason: format!("no session within {}", crate::model::Span::from(patience)),
    };
    let config = SessionConfig { servers: serving.to_string(), session_timeout: SESSION };
    let client = timeout(patience, store::connect_once(config)).await.map_err(unreachable)??;
    let server = members::server_of(client.session_id());
    let read = timeout(patience, client.get(layout::ENSEMBLE)).await.map_err(unreachable);
    client.close(patience).await;
    let node = read??;
    Ok((server, node.map(|node| servers(&String::from_utf8_lossy(&node.data))).unwrap_or_default()))
}
