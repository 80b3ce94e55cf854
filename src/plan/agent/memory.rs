//! What an agent remembers of a replica for as long as its process lives: what failed, how often, and when that is tried
//! again. Lost with the process, and not needed for safety. All that changes it is here.

use std::time::{Duration, Instant};

use crate::model::Verb;

/// How long something rests before it is tried again: longer each time, up to a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) const fn new(first: u64, longest: u64) -> Self {
        Self { first: Duration::from_secs(first), longest: Duration::from_secs(longest) }
    }

    /// The rest of what failed so often before: the first, doubled each time.
    pub(super) fn rest(self, before: u32) -> Duration {
        self.first.saturating_mul(1 << before.min(10)).min(self.longest)
    }
}

/// Between starts of a unit that fails, or ends by itself.
pub(super) const STARTS: Backoff = Backoff::new(10, 300);

/// Between attempts at what the agent does: files, jobs, fetches.
const STEPS: Backoff = Backoff::new(5, 60);

/// How long a unit must have been active before its earlier starts are forgiven.
const RUNS_WELL: Duration = Duration::from_secs(60);

/// What is remembered of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What is wanted has changed since the last start: a failure of before does not count.
    pub(super) fresh: bool,
    /// Starts since the replica last ran well.
    pub(super) attempts: u32,
    /// The last start.
    pub(super) last_start: Option<Instant>,
    /// When its unit was seen to have failed.
    pub(super) failed_at: Option<Instant>,
    /// When it left `instances`, while it is out.
    pub(super) unlisted_at: Option<Instant>,
    /// What keeps its steps from being done.
    pub(super) step: Trouble,
    /// What keeps its newer work from the host.
    pub(super) staging: Trouble,
    /// What happened to it that a person may want to know of, though it is over.
    pub(super) note: Option<String>,
    /// When it was restarted because its liveness probe failed, the oldest first.
    pub(super) revived: Vec<Instant>,
    /// What systemd did not even begin to start the last times; `None` = it began the last time.
    pub(super) obstructed: Option<Obstructed>,
    /// It was stopped because restarts did not make its liveness probe succeed: why it failed.
    pub(super) dead: Option<String>,
}

/// Starts in a row that came to nothing before any process of the unit ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstructed {
    /// How many.
    pub(super) count: u32,
    /// What stood in the way the last time.
    pub(super) why: String,
}

/// Something that failed, and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What went wrong last; `None` = nothing.
    pub(super) problem: Option<String>,
    /// When it is tried again.
    pub(super) retry_at: Option<Instant>,
    /// How often it failed in a row.
    pub(super) failures: u32,
}

impl Trouble {
    const NONE: Self = Self { problem: None, retry_at: None, failures: 0 };

    /// It failed, and rests. Whether that is news.
    fn failed(&mut self, problem: &str, now: Instant) -> bool {
        let is_news = self.problem.as_deref() != Some(problem);
        let retry_at = Some(now + STEPS.rest(self.failures));
        *self = Self { problem: Some(problem.to_owned()), retry_at, failures: self.failures + 1 };
        is_news
    }
}

impl Memory {
    /// Nothing remembered.
    pub const NEW: Self = Self {
        fresh: false,
        attempts: 0,
        last_start: None,
        failed_at: None,
        unlisted_at: None,
        step: Trouble::NONE,
        staging: Trouble::NONE,
        note: None,
        revived: Vec::new(),
        obstructed: None,
        dead: None,
    };

    /// When a unit that failed, or ended by itself, may be started again: at once the first time, then 10 s after
    /// the last start, doubling up to 5 minutes. A failed one stays failed for at least 10 s: a replica that takes longer than
    /// its back-off to crash would be started again at once each time, and the controller could never move it.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let after_start =
            self.last_start.filter(|_| self.attempts > 0).map(|last| last + STARTS.rest(self.attempts - 1));
        let after_failure = self.failed_at.map(|failed| failed + STARTS.rest(0));
        after_start.max(after_failure)
    }

    /// Its unit has failed.
    pub fn failed(&mut self, now: Instant) {
        self.failed_at = Some(now);
    }

    /// Whether nothing of what is wanted was tried yet.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What happened to it that is over.
    pub fn note(&self) -> Option<&String> {
        self.note.as_ref()
    }

    /// Something happened to it that a person may want to know of.
    pub fn noted(&mut self, note: String) {
        self.note = Some(note);
    }

    /// What is wanted of it has changed: earlier failures don't count.
    pub fn refreshed(&mut self) {
        *self = Self { fresh: true, last_start: self.last_start, unlisted_at: self.unlisted_at, ..Self::NEW };
    }

    /// It is in `instances`.
    pub fn listed(&mut self) {
        self.unlisted_at = None;
    }

    /// It is in `instances` no more; the first time counts.
    pub fn unlisted(&mut self, now: Instant) {
        self.unlisted_at.get_or_insert(now);
    }

    /// Its unit is told something. `has_ended` = its process had ended, so that a restart is a start.
    pub fn ordered(&mut self, verb: Verb, has_ended: bool, now: Instant) {
        match verb {
            Verb::Restart if has_ended => self.started(now),
            Verb::Start => {
                self.started(now);
                self.dead = None;
            }
            // What was given up stays so until it is started.
            Verb::Stop if self.dead.is_some() => {}
            Verb::Stop | Verb::Restart | Verb::Reload => self.attempts = 0,
        }
    }

    fn started(&mut self, now: Instant) {
        (self.attempts, self.last_start, self.fresh, self.failed_at) = (self.attempts + 1, Some(now), false, None);
    }

    /// systemd began to start its unit, however that went on; or all that is wanted is in force.
    pub fn began(&mut self) {
        self.obstructed = None;
    }

    /// systemd did not even begin to start its unit. Whether that is news.
    pub fn obstructed(&mut self, why: &str) -> bool {
        let before = self.obstructed.take();
        let is_news = before.as_ref().is_none_or(|before| before.why != why);
        let count = before.map_or(1, |before| before.count.saturating_add(1));
        self.obstructed = Some(Obstructed { count, why: why.to_owned() });
        is_news
    }

    /// Its unit is restarted because its liveness probe fails; so many restarts are remembered at most.
    pub fn revived(&mut self, most: u32, now: Instant) {
        self.revived.push(now);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.revived.drain(..self.revived.len().saturating_sub(most));
    }

    /// Its unit is stopped because restarts did not bring it to life. That counts as a start that failed.
    pub fn gave_up(&mut self, why: &str, now: Instant) {
        self.dead = Some(why.to_owned());
        (self.attempts, self.last_start) = (self.attempts + 1, Some(now));
    }

    /// Its unit is down. If it ran well before that, its earlier starts are forgiven.
    pub fn went_down(&mut self, now: Instant) {
        if self.last_start.is_some_and(|start| now.saturating_duration_since(start) >= RUNS_WELL) {
            self.attempts = 0;
        }
    }

    /// A step ended well.
    pub fn step_done(&mut self) {
        self.step = Trouble::NONE;
    }

    /// A step failed, and rests. Whether that is news.
    pub fn step_failed(&mut self, problem: &str, now: Instant) -> bool {
        self.step.failed(problem, now)
    }

    /// Its newer work could not be brought onto the host; that is tried again. Whether it is news.
    pub fn staging_failed(&mut self, problem: &str, now: Instant) -> bool {
        self.staging.failed(problem, now)
    }

    /// Nothing is to be brought onto the host any more.
    pub fn staging_over(&mut self) {
        self.staging = Trouble::NONE;
    }

    /// What its newer work needs may be there now, as ZooKeeper is back: it is tried at once.
    pub fn stage_at_once(&mut self) {
        self.staging.retry_at = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rests_double_up_to_a_limit() {
        let rests = |backoff: Backoff| [0, 1, 2, 3, 4, 5, 6, 40, u32::MAX].map(|before| backoff.rest(before).as_secs());
        assert_eq!(rests(STEPS), [5, 10, 20, 40, 60, 60, 60, 60, 60]);
        assert_eq!(rests(STARTS), [10, 20, 40, 80, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn a_step_that_fails_rests_longer_each_time_until_one_is_done() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        assert!(memory.step_failed("disk full", now));
        assert!(!memory.step_failed("disk full", now));
        assert!(memory.step_failed("read-only", now), "another problem is news");
        assert_eq!((memory.step.failures, memory.step.retry_at), (3, Some(now + 20 * SECOND)));
        assert_eq!(memory.staging, Trouble::NONE, "each has its own");
        memory.step_done();
        assert_eq!(memory, Memory::NEW);
    }

    #[test]
    fn starts_in_a_row_rest_until_one_ran_well() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        assert_eq!(memory.next_start(), None);
        memory.ordered(Verb::Start, false, now);
        memory.ordered(Verb::Start, false, now);
        assert_eq!(memory.next_start(), Some(now + 20 * SECOND));
        memory.went_down(now + 59 * SECOND);
        assert_eq!(memory.attempts, 2);
        memory.went_down(now + 60 * SECOND);
        assert_eq!((memory.attempts, memory.next_start()), (0, None));
    }

    #[test]
    fn what_is_asked_for_is_no_failed_start_but_a_restart_of_what_has_ended_is() {
        let now = Instant::now();
        for (verb, has_ended, attempts) in [
            (Verb::Start, false, 3),
            (Verb::Restart, true, 3),
            (Verb::Restart, false, 0),
            (Verb::Reload, false, 0),
            (Verb::Stop, true, 0),
        ] {
            let mut memory = Memory { attempts: 2, ..Memory::NEW };
            memory.ordered(verb, has_ended, now);
            assert_eq!(memory.attempts, attempts, "{verb} {has_ended}");
        }
    }

    #[test]
    fn what_was_given_up_stays_so_until_it_is_started() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        memory.gave_up("liveness: 500", now);
        memory.ordered(Verb::Stop, false, now);
        assert_eq!((memory.attempts, memory.dead.as_deref()), (1, Some("liveness: 500")));
        assert_eq!(memory.next_start(), Some(now + 10 * SECOND));
        memory.ordered(Verb::Start, false, now);
        assert_eq!((memory.attempts, memory.dead), (2, None));
    }

    #[test]
    fn obstacles_count_while_they_are_in_a_row() {
        let mut memory = Memory::NEW;
        assert!(memory.obstructed("db.service is missing"));
        assert!(!memory.obstructed("db.service is missing"));
        assert!(memory.obstructed("a condition does not hold"));
        assert_eq!(memory.obstructed.as_ref().map(|it| it.count), Some(3));
        memory.began();
        assert!(memory.obstructed("db.service is missing"));
        assert_eq!(memory.obstructed.as_ref().map(|it| it.count), Some(1));
    }

    #[test]
    fn so_many_restarts_are_remembered_as_the_limit_counts() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        (0..5).for_each(|second| memory.revived(3, now + second * SECOND));
        assert_eq!(memory.revived, [2, 3, 4].map(|second| now + second * SECOND));
        memory.revived(0, now);
        assert_eq!(memory.revived, []);
    }

    #[test]
    fn other_work_begins_again_but_for_when_it_was_started_and_unlisted() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        memory.ordered(Verb::Start, false, now);
        memory.unlisted(now);
        memory.unlisted(now + SECOND);
        memory.step_failed("disk full", now);
        memory.staging_failed("503", now);
        memory.noted("its files were put back".to_owned());
        memory.refreshed();
        let (last_start, unlisted_at) = (Some(now), Some(now));
        assert_eq!(memory, Memory { fresh: true, last_start, unlisted_at, ..Memory::NEW });
        memory.listed();
        assert_eq!(memory.unlisted_at, None);
    }

    #[test]
    fn what_could_not_be_fetched_is_tried_at_once_when_zookeeper_is_back() {
        let (mut memory, now) = (Memory::NEW, Instant::now());
        memory.staging_failed("503", now);
        memory.stage_at_once();
        assert_eq!((memory.staging.retry_at, memory.staging.failures), (None, 1));
        memory.staging_over();
        assert_eq!(memory, Memory::NEW);
    }
}
