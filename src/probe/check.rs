//! A probe's check, with everything that it takes from the replica filled in.

use tokio::time::timeout;

use super::{Target, exec::Exec, http::Http, zookeeper::FourLetters};
use crate::{
    connect,
    model::{Address, Probe, ProbeCheck, Span},
};

/// What is checked, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Always succeeds: whether the unit is active is its own unit's business.
    Systemd,
    /// A connection is accepted.
    Tcp(Address),
    /// A request is answered as wanted.
    Http(Http),
    /// A command exits with 0.
    Exec(Exec),
    /// A `ZooKeeper` server answers.
    ZooKeeper(FourLetters),
    /// Can't be made, because; manifests with such a probe are refused, what is written into the tree by hand isn't.
    Impossible(String),
}

impl Check {
    /// A probe's check of a replica.
    pub(super) fn new(probe: &Probe, target: &Target) -> Self {
        Self::possible(probe, target).unwrap_or_else(|reason| Self::Impossible(reason.to_owned()))
    }

    fn possible(probe: &Probe, target: &Target) -> Result<Self, &'static str> {
        let address = |host: &Option<String>, port: Option<u16>| {
            let port = port.or(target.port).ok_or("the probe names no port, and the service has none")?;
            Ok::<_, &'static str>(Address::new(host.as_deref(), port))
        };
        Ok(match probe.check().ok_or("the probe needs exactly one of systemd, tcp, http, exec and zookeeper")? {
            ProbeCheck::Systemd(_) => Self::Systemd,
            ProbeCheck::Tcp(tcp) => Self::Tcp(address(&tcp.host, tcp.port)?),
            ProbeCheck::Http(http) => Self::Http(Http::new(http, address(&http.host, http.port)?)?),
            ProbeCheck::Exec(exec) => Self::Exec(Exec::new(exec, &target.environment)?),
            ProbeCheck::ZooKeeper(zookeeper) => {
                Self::ZooKeeper(FourLetters::new(zookeeper, address(&zookeeper.host, zookeeper.port)?))
            }
        })
    }

    /// Makes the check, within `limit` as a whole. An error says what was asked and what went wrong.
    pub(super) async fn run(&self, limit: Span) -> Result<(), String> {
        match self {
            Self::Systemd => Ok(()),
            Self::Impossible(reason) => Err(reason.clone()),
            // Sees to its own time, because a process outlives a future that is dropped.
            Self::Exec(exec) => exec.run(limit).await,
            Self::Tcp(address) => within(limit, tcp(address)).await.map_err(|error| format!("tcp {address}: {error}")),
            Self::Http(http) => within(limit, http.run()).await.map_err(|error| format!("GET {}: {error}", http.url())),
            Self::ZooKeeper(words) => within(limit, words.run()).await.map_err(|error| format!("{words}: {error}")),
        }
    }
}

async fn tcp(address: &Address) -> Result<(), String> {
    connect::connect(address).await.map(drop).map_err(|error| connect::words(&error))
}

async fn within(limit: Span, check: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(limit.get(), check).await.unwrap_or_else(|_| Err(format!("no answer within {limit}")))
}
