//! Asking an ensemble's members how they are, each by itself, with ZooKeeper's four-letter words.
//!
//! A session would tell nothing of a member that does not serve, and nothing of the others. All members are asked at
//! once: one that is dead costs its own patience and nobody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::{join_all, join3};
use tokio::time::timeout;

use crate::{
    connect,
    model::{
        Address,
        ensemble::{Answer, Mntr, Mode, Report, Server, Silence, Srvr, answers, servers},
    },
    store::{self, SessionConfig, StoreError, layout},
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

/// The members that `/zookeeper/config` names beside `members`, as a member that serves has it. Where it names no client
/// port, the others' is taken.
///
/// # Errors
/// When it can't be read.
pub async fn discover(members: &[Member], serving: &Address, patience: Duration) -> Result<Vec<Member>, StoreError> {
    let config = read_config(serving, patience).await?;
    let port = members.first().map_or(serving.port, |member| member.address.port);
    let resolved = async |address: Address| {
        let ips = resolve(&address).await.unwrap_or_default();
        (address, ips)
    };
    let known = join_all(members.iter().map(|member| resolved(member.address.clone()))).await;
    let named = join_all(config.values().map(|server| resolved(server.client(port)))).await;
    let is_known = |server: &Server, (address, ips): &(Address, BTreeSet<IpAddr>)| {
        known.iter().any(|(other, others)| {
            let host = other.host.eq_ignore_ascii_case(&address.host) || !others.is_disjoint(ips);
            host && (other.port == address.port || !server.tells_client_port())
        })
    };
    let new = config.values().zip(named).filter(|(server, named)| !is_known(server, named));
    Ok(new.map(|(_, (address, _))| Member { address, listed: false }).collect())
}

/// A member's addresses; they are remembered for as long as it takes to ask it.
async fn resolve(address: &Address) -> Result<BTreeSet<IpAddr>, String> {
    match timeout(LOOKUP, connect::look_up(address)).await {
        Ok(Ok(found)) => Ok(found.iter().map(SocketAddr::ip).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("its name has not resolved within {LOOKUP:?}: does a name server hang?")),
    }
}

async fn read_config(serving: &Address, patience: Duration) -> Result<BTreeMap<u32, Server>, StoreError> {
    let unreachable = |_| StoreError::Unreachable {
        servers: serving.to_string(),
        reason: format!("no session within {}", crate::model::Span::from(patience)),
    };
    let config = SessionConfig { servers: serving.to_string(), session_timeout: SESSION };
    let client = timeout(patience, store::connect_once(config)).await.map_err(unreachable)??;
    let read = timeout(patience, client.get(layout::ENSEMBLE)).await.map_err(unreachable);
    client.close(patience).await;
    let node = read??;
    Ok(node.map(|node| servers(&String::from_utf8_lossy(&node.data))).unwrap_or_default())
}
