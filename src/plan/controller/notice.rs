//! What the operator should know: collected while planning, then written as conditions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;

use super::words::{Subject, Why};
use crate::model::{Condition, ConditionKind, Reason, ReplicaNumber, ServiceName};

/// The most conditions a status carries; each kind that holds has one at least.
const MOST: usize = 20;
/// The longest message, in characters: part of it may be an agent's or a document's.
const LONGEST: usize = 500;
/// How many replicas a message names.
const NAMED: usize = 3;

/// What holds of one service, not yet dated. Equal notices of several replicas become one.
#[derive(Default)]
pub(super) struct Notices {
    entries: BTreeMap<Entry, BTreeSet<ReplicaNumber>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    kind: ConditionKind,
    subject: Subject,
    text: String,
    reason: Reason,
}

/// A condition without its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undated {
    kind: ConditionKind,
    reason: Reason,
    subject: Option<String>,
    replicas: Vec<ReplicaNumber>,
    message: String,
}

impl Notices {
    /// Notes what holds of `subject`, for a replica.
    pub(super) fn add(&mut self, subject: Subject, replica: Option<ReplicaNumber>, why: &impl Why) {
        let (kind, reason, text) = (why.kind(), why.reason(), clip(&why.to_string(), LONGEST));
        self.entries.entry(Entry { kind, subject, text, reason }).or_default().extend(replica);
    }

    /// The conditions, so many as a status carries.
    pub(super) fn conditions(&self, service: &ServiceName) -> Vec<Undated> {
        let mut by_kind: BTreeMap<ConditionKind, Vec<Undated>> = BTreeMap::new();
        for (entry, replicas) in &self.entries {
            by_kind.entry(entry.kind).or_default().push(entry.undated(service, replicas));
        }
        let each = share(&by_kind.values().map(Vec::len).collect::<Vec<_>>());
        by_kind.into_values().flat_map(|conditions| shortened(conditions, each)).collect()
    }
}

impl Entry {
    fn undated(&self, service: &ServiceName, replicas: &BTreeSet<ReplicaNumber>) -> Undated {
        let Self { kind, subject, text, reason } = self;
        let named = list(service, replicas);
        let message = match (subject.label(), named.as_str()) {
            (None, "") => text.clone(),
            (None, replicas) => format!("{replicas}: {text}"),
            (Some(subject), "") => format!("{subject}: {text}"),
            (Some(subject), replicas) => format!("{subject}: {text} ({replicas})"),
        };
        let replicas = replicas.iter().take(Condition::MAX_REPLICAS).copied().collect();
        Undated { kind: *kind, reason: *reason, subject: subject.path(service), replicas, message }
    }
}

impl Undated {
    /// Whether a condition that was written before says this.
    pub(super) fn is(&self, before: &Condition) -> bool {
        let Condition { kind, reason, subject, replicas, message, since: _ } = before;
        (self.kind, self.reason, &self.subject) == (*kind, *reason, subject)
            && (&self.replicas, &self.message) == (replicas, message)
    }

    /// Whether it is about the same thing: what holds of one thing holds on, whatever the reason at present; of the service
    /// and its replicas, one thing is what holds for one reason.
    fn is_about_the_same(&self, before: &Condition) -> bool {
        let same = self.subject.is_some() || self.reason == before.reason;
        self.kind == before.kind && self.subject == before.subject && same
    }

    fn dated(self, before: &[Condition], now: Timestamp) -> Condition {
        let since = before.iter().find(|before| self.is_about_the_same(before)).map_or(now, |before| before.since);
        let Self { kind, reason, subject, replicas, message } = self;
        Condition { kind, reason, subject, replicas, message, since }
    }
}

/// How many of each kind there may be, so that they are no more than [`MOST`] in all.
fn share(counts: &[usize]) -> usize {
    let all = |each: usize| counts.iter().map(|count| *count.min(&each)).sum::<usize>();
    (2..=MOST).rev().find(|each| all(*each) <= MOST).unwrap_or(1)
}

/// The first few; the last of these says how many more there are.
fn shortened(mut conditions: Vec<Undated>, most: usize) -> impl Iterator<Item = Undated> {
    let more = conditions.len().saturating_sub(most);
    conditions.truncate(most);
    if let Some(last) = conditions.last_mut().filter(|_| more > 0) {
        let _ = write!(last.message, "; and {more} more like this");
    }
    conditions.into_iter()
}

/// `webapp.0000000001, webapp.0000000002 and 5 more`
fn list(service: &ServiceName, replicas: &BTreeSet<ReplicaNumber>) -> String {
    let named: Vec<_> = replicas.iter().take(NAMED).map(|number| format!("{service}.{number}")).collect();
    let more = replicas.len().saturating_sub(NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

pub(super) fn clip(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

/// Dates the conditions: one that held before keeps its `since`, even when its figures or its replicas changed.
pub(super) fn date(conditions: Vec<Undated>, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    conditions.into_iter().map(|condition| condition.dated(before, now)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A reason with words of its own.
    struct Told(ConditionKind, Reason, &'static str);

    impl std::fmt::Display for Told {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.2)
        }
    }

    impl Why for Told {
        fn kind(&self) -> ConditionKind {
            self.0
        }

        fn reason(&self) -> Reason {
            self.1
        }
    }

    fn host(name: &str) -> Subject {
        Subject::Host(name.parse().unwrap())
    }

    fn conditions(notices: &Notices, before: &[Condition], now: i64) -> Vec<Condition> {
        let now = Timestamp::from_second(now).unwrap();
        date(notices.conditions(&"webapp".parse().unwrap()), before, now)
    }

    #[test]
    fn many_of_one_kind_hide_none_of_another() {
        let mut notices = Notices::default();
        for number in 0..30 {
            let why = Told(ConditionKind::Failed, Reason::NoFeasibleHost, "exited with status 1");
            notices.add(host(&format!("web{number:02}")), None, &why);
        }
        let paused = Told(ConditionKind::RolloutPaused, Reason::PausedByOperator, "paused by ann");
        notices.add(Subject::Rollout(2), None, &paused);
        let held = Told(ConditionKind::FailoverHeld, Reason::TooManyHostsLost, "3 of 4 hosts are lost");
        notices.add(Subject::Service, None, &held);
        let told = conditions(&notices, &[], 0);
        assert_eq!(told.len(), MOST);
        let of = |kind| told.iter().filter(move |it| it.kind == kind).map(|it| it.message.as_str());
        assert_eq!(of(ConditionKind::Failed).next_back(), Some("web17: exited with status 1; and 12 more like this"));
        assert_eq!(of(ConditionKind::RolloutPaused).collect::<Vec<_>>(), ["rollout 2: paused by ann"]);
        assert_eq!(of(ConditionKind::FailoverHeld).count(), 1);
    }

    #[test]
    fn a_condition_says_of_what_and_of_whom_for_programs_too() {
        let mut notices = Notices::default();
        for number in 1..=50 {
            let why = Told(ConditionKind::HostLost, Reason::AwaitingReturn, "is gone");
            notices.add(host("web1"), Some(ReplicaNumber(number)), &why);
        }
        let [told] = &conditions(&notices, &[], 0)[..] else { unreachable!("one condition") };
        assert_eq!((told.reason, told.subject.as_deref()), (Reason::AwaitingReturn, Some("/hosts/web1")));
        assert_eq!(told.replicas, (1..=20).map(ReplicaNumber).collect::<Vec<_>>(), "no more than fit");
        let named = "webapp.0000000001, webapp.0000000002, webapp.0000000003 and 47 more";
        assert_eq!(told.message, format!("web1: is gone ({named})"));
    }

    #[test]
    fn other_replicas_words_and_reasons_leave_the_date_as_it_is() {
        let at = |subject: &Subject, number, reason, text, before: &[Condition], now| {
            let mut notices = Notices::default();
            notices.add(subject.clone(), Some(ReplicaNumber(number)), &Told(ConditionKind::Waiting, reason, text));
            conditions(&notices, before, now)
        };
        let since = |conditions: &[Condition]| conditions.iter().map(|it| it.since.as_second()).collect::<Vec<_>>();
        let first = at(&Subject::Service, 1, Reason::BudgetSpent, "its update waits", &[], 10);
        let other_replica = at(&Subject::Service, 2, Reason::BudgetSpent, "leaving: waits", &first, 20);
        assert_eq!(since(&other_replica), [10]);
        assert_eq!(since(&at(&Subject::Service, 2, Reason::ForeignNode, "a node", &other_replica, 30)), [30]);
        let first = at(&host("web1"), 1, Reason::HeldBack, "it stays here", &[], 10);
        assert_eq!(since(&at(&host("web1"), 1, Reason::NoFeasibleHost, "no other host", &first, 20)), [10]);
        assert_eq!(since(&at(&host("web2"), 1, Reason::HeldBack, "it stays here", &first, 20)), [20]);
    }

    #[test]
    fn each_kind_has_its_share() {
        assert_eq!(share(&[1, 2, 3]), MOST);
        assert_eq!(share(&[30, 30]), MOST / 2);
        assert_eq!(share(&[30, 1, 30, 30]), 6);
        assert_eq!(share(&[30; 15]), 1);
    }
}
