//! How an ensemble does, judged from what each of its members says.

use std::fmt;

use crate::model::{
    Address,
    ensemble::{Mode, Report, Silence},
};

/// How an ensemble does as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every member serves, every follower is synced.
    Healthy,
    /// It serves, but something is wrong.
    Degraded,
    /// No member that answers serves anybody.
    NoQuorum,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::NoQuorum => "no quorum",
        })
    }
}

/// Something that is wrong with an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A member does not serve.
    Down(Address, Silence),
    /// A member is cut off from its quorum, and serves reads all the same.
    ReadOnly(Address),
    /// Servers that know nothing of each other are listed as one ensemble.
    Strangers(Vec<Address>),
    /// The others follow a leader that is not among those that answer.
    NoLeader,
    /// More than one says that it leads.
    Leaders(Vec<Address>),
    /// More members have a vote than are known: how many do, and how many are known.
    Unknown {
        /// How many have a vote.
        voters: u64,
        /// How many of them are known.
        known: u64,
    },
    /// The leader counts fewer synced followers than there are.
    Unsynced {
        /// How many are synced.
        synced: u64,
        /// How many there are.
        followers: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |members: &[Address]| members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Down(member, why @ Silence::NotAllowed) => write!(f, "{member}: srvr is {why}"),
            Self::Down(member, why) => write!(f, "{member} {}", sentence(why)),
            Self::ReadOnly(member) => write!(f, "{member} is read-only: it is cut off from the quorum"),
            Self::Strangers(members) => {
                write!(f, "{} run without an ensemble: each has a tree of its own", list(members))
            }
            Self::NoLeader => f.write_str("the leader is not among the members that answer"),
            Self::Leaders(members) => write!(f, "{} each say that they lead", list(members)),
            Self::Unknown { voters, known } => {
                write!(f, "{voters} members have a vote, but only {known} are known: list all of them")
            }
            Self::Unsynced { synced, followers } => write!(f, "only {synced} of {followers} followers are synced"),
        }
    }
}

/// What goes behind a member's address.
fn sentence(why: &Silence) -> String {
    match why {
        Silence::NotServing => why.to_string(),
        _ => format!("is {why}"),
    }
}

/// How an ensemble does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// In a word.
    pub state: State,
    /// The member that leads.
    pub leader: Option<Address>,
    /// How many members have a vote, as far as is known.
    pub voters: u64,
    /// How many of those serve.
    pub serving: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Health {
    /// Judges what the members said.
    pub fn of(reports: &[Report]) -> Self {
        let problems = problems(reports);
        let serves = |mode: Mode| mode != Mode::ReadOnly;
        let state = match reports.iter().filter_map(Report::mode).any(serves) {
            false => State::NoQuorum,
            true if problems.is_empty() => State::Healthy,
            true => State::Degraded,
        };
        let votes = |mode: &Mode| matches!(mode, Mode::Leader | Mode::Follower | Mode::Standalone);
        let serving = count(reports.iter().filter_map(Report::mode).filter(votes));
        Self {
            state,
            leader: leaders(reports).first().map(|leader| leader.address.clone()),
            voters: voters(reports).unwrap_or(0).max(known_voters(reports)),
            serving,
            problems,
        }
    }

    /// How many voters it takes to serve.
    pub const fn needed(&self) -> u64 {
        self.voters / 2 + 1
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

fn leaders(reports: &[Report]) -> Vec<&Report> {
    reports.iter().filter(|report| report.mode() == Some(Mode::Leader)).collect()
}

/// How many have a vote; the leader's word, else the largest that anybody says.
fn voters(reports: &[Report]) -> Option<u64> {
    let word = |report: &Report| report.mntr.as_ref().ok().and_then(|mntr| mntr.quorum_size);
    leaders(reports).into_iter().find_map(word).or_else(|| reports.iter().filter_map(word).max())
}

/// Whoever does not say that it is an observer counts as a voter.
fn known_voters(reports: &[Report]) -> u64 {
    count(reports.iter().filter(|report| report.mode() != Some(Mode::Observer)))
}

/// All that is wrong, members first.
pub fn problems(reports: &[Report]) -> Vec<Problem> {
    let mut found: Vec<Problem> = reports.iter().filter_map(member_problem).collect();
    let standalone: Vec<Address> = addresses(reports.iter().filter(|it| it.mode() == Some(Mode::Standalone)));
    if !standalone.is_empty() {
        let alone = reports.len() == 1;
        found.extend((!alone).then_some(Problem::Strangers(standalone)));
        return found;
    }
    if reports.iter().any(|report| report.mode().is_some()) {
        found.extend(leader_problem(reports));
    }
    found
}

fn addresses<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<Address> {
    reports.map(|report| report.address.clone()).collect()
}

fn member_problem(report: &Report) -> Option<Problem> {
    match &report.srvr {
        Err(why) => Some(Problem::Down(report.address.clone(), why.clone())),
        Ok(srvr) if srvr.mode == Mode::ReadOnly => Some(Problem::ReadOnly(report.address.clone())),
        Ok(_) => None,
    }
}

fn leader_problem(reports: &[Report]) -> Option<Problem> {
    let leaders = leaders(reports);
    let [leader] = leaders.as_slice() else {
        let several = addresses(leaders.into_iter());
        return Some(if several.is_empty() { Problem::NoLeader } else { Problem::Leaders(several) });
    };
    let (voters, known) = (voters(reports).unwrap_or(0), known_voters(reports));
    if voters > known {
        return Some(Problem::Unknown { voters, known });
    }
    let followers = count(reports.iter().filter(|report| report.mode() == Some(Mode::Follower)));
    let synced = leader.synced_followers()?;
    (synced < followers).then_some(Problem::Unsynced { synced, followers })
}
