//! A probe's check, with everything that it takes from the replica filled in.

use std::{fmt, future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{exec::Exec, failure::Failure, http::Http, zookeeper::FourLetters};
use crate::{
    connect,
    model::{Address, OWN_ADDRESS, Probe, ProbeCheck, Probing, Span},
    source::command,
};

/// How long after its time a check must end at least for that to be the agent's doing.
const LATE: Duration = Duration::from_secs(1);

/// Why a check of the host's own address cannot be made.
const NO_ADDRESS: &str = "the probe asks {address}, and this host has none: set `address` in its agent.toml";

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
    /// Cannot be made, because; manifests with such a probe are refused, what is written into the tree by hand isn't.
    Impossible(String),
}

impl Check {
    /// A probe's check of a replica.
    pub(super) fn new(probe: &Probe, target: &Probing) -> Self {
        Self::possible(probe, target).unwrap_or_else(|reason| Self::Impossible(reason.to_owned()))
    }

    fn possible(probe: &Probe, target: &Probing) -> Result<Self, &'static str> {
        let address = |host: &Option<String>, port: Option<u16>| {
            let port = port.or(target.port).ok_or("the probe names no port, and the service has none")?;
            let host = match host.as_deref() {
                Some(OWN_ADDRESS) => Some(target.address.as_deref().ok_or(NO_ADDRESS)?),
                host => host,
            };
            Ok::<_, &'static str>(Address::new(host, port))
        };
        Ok(match probe.check().ok_or("the probe needs exactly one of systemd, tcp, http, exec and zookeeper")? {
            ProbeCheck::Systemd(_) => Self::Systemd,
            ProbeCheck::Tcp(tcp) => Self::Tcp(address(&tcp.host, tcp.port)?),
            ProbeCheck::Http(http) => Self::Http(Http::new(http, address(&http.host, http.port)?)?),
            ProbeCheck::Exec(exec) => Self::Exec(Exec::new(exec, &target.environment, command::runs_in_units())?),
            ProbeCheck::ZooKeeper(zookeeper) => {
                Self::ZooKeeper(FourLetters::new(zookeeper, address(&zookeeper.host, zookeeper.port)?))
            }
        })
    }

    /// The least time from the end of one such check to the next.
    pub(super) fn rest(&self) -> Duration {
        match self {
            Self::Exec(exec) => exec.rest(),
            _ => Duration::ZERO,
        }
    }

    /// Where the replica is asked, if over the network.
    fn address(&self) -> Option<&Address> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Http(http) => Some(http.address()),
            Self::ZooKeeper(words) => Some(words.address()),
            Self::Systemd | Self::Exec(_) | Self::Impossible(_) => None,
        }
    }

    /// Makes the check, within `limit` as a whole. An error says what was asked and what went wrong.
    pub(super) async fn run(&self, limit: Span) -> Result<(), Failure> {
        let began = Instant::now();
        let result = match self {
            Self::Systemd => Ok(()),
            Self::Impossible(reason) => Err(reason.clone().into()),
            // Sees to its own time, because a process outlives a future that is dropped, and begins late if it must wait.
            Self::Exec(exec) => return exec.run(limit).await,
            Self::Tcp(_) | Self::Http(_) | Self::ZooKeeper(_) => self.ask(limit).await,
        };
        match result {
            Err(Failure::Replica(why)) => Err(judge_lateness(why, limit.get(), began.elapsed())),
            result => result,
        }
    }

    /// The time that a lookup takes is part of the check's; one that takes all of it is none of the replica's doing.
    async fn ask(&self, limit: Span) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(limit.get());
        if let Some(address) = self.address() {
            let found = within(deadline, connect::look_up(address)).await;
            let late = || Failure::NotAsked(format!("\"{}\" cannot be looked up within {limit}", address.host));
            let found = found.ok_or_else(late).and_then(|found| found.map_err(|error| Failure::io(&error.into())));
            found.map_err(|failure| failure.of(self))?;
        }
        let answer = match self {
            Self::Tcp(address) => within(deadline, tcp(address)).await,
            Self::Http(http) => within(deadline, http.run()).await,
            Self::ZooKeeper(words) => within(deadline, words.run()).await,
            Self::Systemd | Self::Exec(_) | Self::Impossible(_) => Some(Ok(())),
        };
        let late = || Err(Failure::Replica(format!("no answer within {limit}")));
        answer.unwrap_or_else(late).map_err(|failure| failure.of(self))
    }
}

/// What is asked, as people write it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd => f.write_str("systemd"),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Http(http) => write!(f, "GET {}", http.url()),
            Self::Exec(exec) => exec.fmt(f),
            Self::ZooKeeper(words) => words.fmt(f),
            Self::Impossible(reason) => f.write_str(reason),
        }
    }
}

async fn tcp(address: &Address) -> Result<(), Failure> {
    connect::connect(address).await.map(drop).map_err(|error| Failure::io(&error))
}

/// `None` = not before the deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// A check that ended long after its time was up says that this agent was held up (stopped, say, or its machine was), not
/// that the replica was.
pub(super) fn judge_lateness(why: String, limit: Duration, took: Duration) -> Failure {
    let late = took.saturating_sub(limit);
    if late >= LATE.max(limit) {
        return Failure::NotAsked(format!("this agent was held up for {} s: {why}", late.as_secs()));
    }
    Failure::Replica(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_long_after_its_time_says_nothing_of_the_replica() {
        let judge =
            |limit, took| judge_lateness("no answer".into(), Duration::from_millis(limit), Duration::from_millis(took));
        for (limit, took) in [(1000, 1001), (1000, 1999), (5000, 9999), (100, 1099)] {
            assert_eq!(judge(limit, took), Failure::Replica("no answer".into()), "{limit} {took}");
        }
        for (limit, took) in [(1000, 2000), (5000, 10_000), (100, 1100)] {
            assert!(matches!(judge(limit, took), Failure::NotAsked(_)), "{limit} {took}");
        }
    }
}
