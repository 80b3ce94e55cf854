//! The rolling restart of an ensemble, one member at a time: observers, then followers, the leader last.
//!
//! ```text
//!            ┌────────── Back ◄───────────┐ another process, serves, the ensemble is healthy
//!            ▼                            │
//!  look ─► Between ─── Restart ───────► Turn ─── not back within the timeout ──► Stop
//!            │ all are up and synced
//!            └─ Done                       what stands in the way may pass: Wait
//! ```
//!
//! The order is chosen again before each step, from what the members are then: the leader may have changed. No more than
//! one member is ever down by our doing, and none is taken down while anything else is wrong.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::health::{self, Problem};
use crate::model::{
    Address,
    ensemble::{Mntr, Mode, Report, Silence, Zxid},
};

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a member may take to come back, and the ensemble to be healthy.
    pub timeout: Duration,
    /// Whether a server without an ensemble may be restarted: nothing serves meanwhile.
    pub standalone: bool,
    /// Members that are left alone: those that an earlier run has restarted.
    pub skip: BTreeSet<Address>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This member is to be restarted now; what it is.
    Restart(Address, Mode),
    /// The member that was restarted is back; what it is, and how long that took.
    Back(Address, Mode, Duration),
    /// Nothing yet, because.
    Wait(String),
    /// Nothing more.
    Stop(Stop),
    /// All are restarted.
    Done,
}

/// Why a rolling restart does not begin, or does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing was restarted, because.
    Refused(String),
    /// It was waited for long enough: for whom, if for one, and what still stood in the way.
    TimedOut(Option<Address>, String),
}

/// What stands in the way of the next restart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Blocker {
    Problem(Problem),
    /// Found in `/zookeeper/config` only.
    Unlisted(Address),
    /// No ensemble.
    Standalone(Address),
    /// `mntr` is not answered.
    Mute(Address, Silence),
    /// The leader does not tell how many followers are synced: it has only just begun to lead, or is about to stop.
    Uncounted(Address),
    /// A member lacks a transaction that the leader had processed at the last look.
    Behind(Address, Zxid, Zxid),
}

impl Blocker {
    /// Whether it may pass by itself before anything was restarted. One that is down may come back, too; but nobody knows
    /// when, and meanwhile a restart would be the second loss.
    const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Behind(..)
                | Self::Uncounted(_)
                | Self::Problem(Problem::Unsynced { .. } | Problem::NoLeader | Problem::Leaders(_))
        )
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => write!(f, "{problem}"),
            Self::Unlisted(member) => write!(
                f,
                "{member} is a member, but not listed: name all members (-z), so that none is restarted that you did not name"
            ),
            Self::Standalone(member) => {
                write!(
                    f,
                    "{member} is a server without an ensemble: nothing serves while it restarts (--force does it)"
                )
            }
            Self::Mute(member, why @ Silence::NotAllowed) => write!(
                f,
                "{member}: mntr is {why}, so that nothing tells whether followers are synced: \
                 set 4lw.commands.whitelist=srvr,ruok,mntr on all members"
            ),
            Self::Mute(member, why) => write!(f, "{member}: mntr: {why}"),
            Self::Uncounted(member) => {
                write!(f, "{member} leads, but its mntr does not tell how many followers are synced")
            }
            Self::Behind(member, has, wants) => write!(f, "{member} is behind: it has {has}, the leader had {wants}"),
        }
    }
}

/// A rolling restart on its way. Times are since its beginning.
#[derive(Clone, Debug)]
pub struct Rolling {
    options: Options,
    done: BTreeSet<Address>,
    state: State,
    /// What the leader had processed at the last look: a member that is in sync has that by now.
    floor: Zxid,
}

#[derive(Clone, Debug)]
enum State {
    /// Nobody is down by our doing, since then.
    Between(Duration),
    /// A member was told to restart.
    Turn(Turn),
}

#[derive(Clone, Debug)]
struct Turn {
    member: Address,
    began: Duration,
    /// What the process said that is to end.
    before: Mntr,
    /// Nobody listened meanwhile: the process has ended.
    gone: bool,
}

impl Turn {
    fn look(&mut self, report: &Report) {
        let another = report.mntr.as_ref().is_ok_and(|mntr| mntr.is_another_process(&self.before));
        self.gone |= report.srvr == Err(Silence::Refused) || another;
    }
}

impl Rolling {
    /// Nothing has been restarted yet.
    pub const fn new(options: Options) -> Self {
        Self { options, done: BTreeSet::new(), state: State::Between(Duration::ZERO), floor: Zxid(0) }
    }

    /// The members that need no restart any more: those that have been restarted, and those that were to be skipped.
    pub fn finished(&self) -> BTreeSet<&Address> {
        self.done.iter().chain(&self.options.skip).collect()
    }

    /// The members that this run has restarted.
    pub const fn restarted(&self) -> &BTreeSet<Address> {
        &self.done
    }

    /// The members that are left alone.
    pub const fn skipped(&self) -> &BTreeSet<Address> {
        &self.options.skip
    }

    /// The member that is being restarted, and since when.
    pub const fn in_turn(&self) -> Option<(&Address, Duration)> {
        match &self.state {
            State::Turn(turn) => Some((&turn.member, turn.began)),
            State::Between(_) => None,
        }
    }

    /// Takes note of the member that is being restarted, while its restart is under way; true once its process is known
    /// to have ended.
    pub fn look(&mut self, report: &Report) -> bool {
        match &mut self.state {
            State::Turn(turn) if turn.member == report.address => {
                turn.look(report);
                turn.gone
            }
            _ => false,
        }
    }

    /// The order in which members would be restarted, as they are now.
    pub fn order<'a>(&self, view: &'a [Report]) -> Vec<(&'a Address, Mode)> {
        let pending = |report: &&Report| !self.finished().contains(&report.address);
        let mut order: Vec<_> =
            view.iter().filter(pending).filter_map(|report| Some((&report.address, report.mode()?))).collect();
        order.sort_by_key(|(_, mode)| match mode {
            Mode::Observer | Mode::ReadOnly => 0,
            Mode::Follower | Mode::Standalone => 1,
            Mode::Leader => 2,
        });
        order
    }

    /// What comes next, seeing all members as they are `at` this time.
    pub fn next(&mut self, view: &[Report], at: Duration) -> Step {
        for report in view {
            self.look(report);
        }
        let step = match &self.state {
            State::Between(since) => self.between(view, *since, at),
            State::Turn(turn) => self.turn(turn, view, at),
        };
        self.take(&step, view, at);
        step
    }

    fn between(&self, view: &[Report], since: Duration, at: Duration) -> Step {
        let nobody = self.done.is_empty();
        match self.blocker(view) {
            Some(blocker) if nobody && !blocker.may_pass() => Step::Stop(Stop::Refused(blocker.to_string())),
            Some(blocker) => self.patience(None, &blocker, since, at),
            None => self.start_next(view),
        }
    }

    fn start_next(&self, view: &[Report]) -> Step {
        match (self.order(view).first(), self.unproven_leader(view)) {
            (None, _) => Step::Done,
            (Some(_), Some(leader)) => Step::Stop(Stop::Refused(format!(
                "{leader} leads and is skipped: restart it first, so that another leads: \
                 members whose new list lacks it could not follow it"
            ))),
            (Some((member, mode)), None) => Step::Restart((*member).clone(), *mode),
        }
    }

    /// The leader, if nothing shows that a member can follow it after its restart: it is skipped, and no other member has
    /// been restarted, by this run or (skipped, too, and following it) by an earlier one.
    fn unproven_leader<'a>(&self, view: &'a [Report]) -> Option<&'a Address> {
        let leader = &view.iter().find(|report| report.mode() == Some(Mode::Leader))?.address;
        let is_alone = self.options.skip.contains(leader) && self.finished().len() == 1;
        is_alone.then_some(leader)
    }

    fn turn(&self, turn: &Turn, view: &[Report], at: Duration) -> Step {
        let back = view.iter().find(|report| report.address == turn.member).and_then(Report::mode);
        let wait = |why: &dyn fmt::Display| self.patience(Some(&turn.member), why, turn.began, at);
        match (back, self.blocker(view)) {
            (_, Some(blocker)) => wait(&blocker),
            (Some(mode), None) if turn.gone => Step::Back(turn.member.clone(), mode, at.saturating_sub(turn.began)),
            (_, None) => wait(&format!("{} has not restarted yet: it is still the same process", turn.member)),
        }
    }

    fn patience(&self, member: Option<&Address>, why: &dyn fmt::Display, since: Duration, at: Duration) -> Step {
        if at.saturating_sub(since) > self.options.timeout {
            return Step::Stop(Stop::TimedOut(member.cloned(), why.to_string()));
        }
        Step::Wait(why.to_string())
    }

    fn take(&mut self, step: &Step, view: &[Report], at: Duration) {
        match step {
            Step::Restart(member, _) => {
                let said = view.iter().find(|report| report.address == *member);
                let before = said.and_then(|report| report.mntr.clone().ok()).unwrap_or_default();
                self.state = State::Turn(Turn { member: member.clone(), began: at, before, gone: false });
            }
            Step::Back(member, ..) => {
                self.done.insert(member.clone());
                self.state = State::Between(at);
            }
            Step::Wait(_) | Step::Stop(_) | Step::Done => {}
        }
        let mut said = view.iter().filter_map(|report| report.srvr.as_ref().ok());
        // The first number of an epoch is the leader's alone, until something is written.
        let leader = said.find(|srvr| srvr.mode == Mode::Leader && !srvr.zxid.is_epochs_first());
        self.floor = leader.map_or(self.floor, |leader| self.floor.max(leader.zxid));
    }

    /// The first thing that stands in the way.
    fn blocker(&self, view: &[Report]) -> Option<Blocker> {
        let unlisted = view.iter().find(|report| !report.listed).map(|it| Blocker::Unlisted(it.address.clone()));
        unlisted
            .or_else(|| health::problems(view).into_iter().next().map(Blocker::Problem))
            .or_else(|| view.iter().find_map(|report| self.of_member(report)))
    }

    fn of_member(&self, report: &Report) -> Option<Blocker> {
        let address = || report.address.clone();
        let srvr = report.srvr.as_ref().ok()?;
        if srvr.mode == Mode::Standalone && !self.options.standalone {
            return Some(Blocker::Standalone(address()));
        }
        if let Err(why) = &report.mntr {
            return Some(Blocker::Mute(address(), why.clone()));
        }
        if srvr.mode == Mode::Leader && report.synced_followers().is_none() {
            return Some(Blocker::Uncounted(address()));
        }
        (srvr.zxid < self.floor).then(|| Blocker::Behind(address(), srvr.zxid, self.floor))
    }
}

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;
