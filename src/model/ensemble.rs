//! A ZooKeeper ensemble: what its members say of themselves, and the files that name them. Pure.

pub mod answers;
pub mod file;
mod server;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, num::ParseIntError, str::FromStr, time::Duration};

pub use self::server::{InvalidServer, Server, servers};
use super::Address;

/// The number of a transaction: the leader's epoch, and a count within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Whether a leader has only just begun: no transaction of its epoch has been made, so that nobody else can have it.
    pub const fn is_epochs_first(self) -> bool {
        self.0.trailing_zeros() >= 32
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for Zxid {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map(Self)
    }
}

/// What a member is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Orders all writes.
    Leader,
    /// Votes, and follows the leader.
    Follower,
    /// Follows the leader without a vote.
    Observer,
    /// A server without an ensemble.
    Standalone,
    /// Cut off from its quorum, serving reads all the same (`readonlymode.enabled`).
    ReadOnly,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Leader, Self::Follower, Self::Observer, Self::Standalone, Self::ReadOnly];

    /// As ZooKeeper says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
        }
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a member did not say what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Its host answers that nobody listens: there is no such process.
    Refused,
    /// It could not be reached, because; or it did not answer.
    Unreachable(String),
    /// It runs, and has no quorum (yet).
    NotServing,
    /// Its `4lw.commands.whitelist` lacks the word.
    NotAllowed,
    /// It said something else: its first line.
    Strange(String),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("down: connection refused"),
            Self::Unreachable(why) => write!(f, "down: {why}"),
            Self::NotServing => f.write_str("runs, but serves nobody: it has no quorum"),
            Self::NotAllowed => f.write_str("not in its 4lw.commands.whitelist"),
            Self::Strange(line) => write!(f, "not a ZooKeeper server's answer: \"{line}\""),
        }
    }
}

/// What a member said to a four-letter word.
pub type Answer<T> = Result<T, Silence>;

/// How long requests took since the member began to serve, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// The average.
    pub avg: f64,
    /// The longest.
    pub max: u64,
}

/// The answer to `srvr`, which every server gives unless it was told not to.
#[derive(Clone, Debug, PartialEq)]
pub struct Srvr {
    /// ZooKeeper's version, without the build.
    pub version: String,
    /// How long requests took.
    pub latency: Latency,
    /// Connections, ours included.
    pub connections: u64,
    /// Requests that wait.
    pub outstanding: u64,
    /// The last transaction that it has processed.
    pub zxid: Zxid,
    /// What it is.
    pub mode: Mode,
    /// How many nodes the tree has.
    pub znodes: u64,
}

/// What is used of the answer to `mntr`. `None`: this version, or a server in this mode, does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mntr {
    /// Of the leader: followers that have caught up, or are sent what they lack.
    pub synced_followers: Option<u64>,
    /// Of the leader: everybody who follows it, observers included.
    pub learners: Option<u64>,
    /// How many members have a vote.
    pub quorum_size: Option<u64>,
    /// Sessions of the whole ensemble.
    pub sessions: Option<u64>,
    /// Watches that are set at this member.
    pub watches: Option<u64>,
    /// Counters that a process begins at 0 and never lowers, unless it is told `srst`. `zk_uptime` is none of them: it
    /// begins again with each election.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Mntr {
    /// Whether this is another process than `before`: one of its counters is lower. False when nothing tells.
    pub fn is_another_process(&self, before: &Self) -> bool {
        before.counters.iter().any(|(name, was)| self.counters.get(name).is_some_and(|is| is < was))
    }
}

/// One member, as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where it was asked.
    pub address: Address,
    /// Whether the connection string names it; else it was found in `/zookeeper/config`.
    pub listed: bool,
    /// To `ruok`: whether it is running in a state without errors.
    pub ruok: Answer<()>,
    /// To `srvr`.
    pub srvr: Answer<Srvr>,
    /// To `mntr`.
    pub mntr: Answer<Mntr>,
}

impl Report {
    /// A member that answered nothing.
    pub fn silent(address: Address, listed: bool, why: &Silence) -> Self {
        Self { address, listed, ruok: Err(why.clone()), srvr: Err(why.clone()), mntr: Err(why.clone()) }
    }

    /// Its mode, if it serves. `mntr` has it as well: one of the two is enough.
    pub fn mode(&self) -> Option<Mode> {
        self.srvr.as_ref().ok().map(|srvr| srvr.mode)
    }

    /// Of a leader: how many followers are synced, as far as it tells.
    pub fn synced_followers(&self) -> Option<u64> {
        self.mntr.as_ref().ok().and_then(|mntr| mntr.synced_followers)
    }
}

/// How long a member is given to answer, unless the operator says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(2);
