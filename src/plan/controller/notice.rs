//! What the operator should know: collected while planning, then written as conditions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;

use crate::model::{Condition, ConditionKind, ReplicaNumber, ServiceName};

/// The most conditions a status carries; each kind that holds has one at least.
const MOST: usize = 20;
/// The longest message, in characters: part of it may be an agent's or a document's.
const LONGEST: usize = 500;
/// How many replicas a message names.
const NAMED: usize = 3;

/// What holds of one service, not yet dated. Equal notices of several replicas become one.
#[derive(Default)]
pub(super) struct Notices {
    entries: BTreeMap<(ConditionKind, String, String), BTreeSet<ReplicaNumber>>,
}

impl Notices {
    /// Notes `text` about `subject` (a host or a path; `""` when it is about the replica itself).
    pub(super) fn add(&mut self, kind: ConditionKind, subject: &str, replica: Option<ReplicaNumber>, text: &str) {
        let text = clip(text, LONGEST);
        self.entries.entry((kind, subject.to_owned(), text)).or_default().extend(replica);
    }

    /// Kind and message of each condition.
    pub(super) fn messages(&self, service: &ServiceName) -> Vec<(ConditionKind, String)> {
        let lines = self.entries.iter().map(|((kind, subject, text), replicas)| {
            let replicas = list(service, replicas);
            let message = match (subject.as_str(), replicas.as_str()) {
                ("", "") => text.clone(),
                ("", replicas) => format!("{replicas}: {text}"),
                (subject, "") => format!("{subject}: {text}"),
                (subject, replicas) => format!("{subject}: {text} ({replicas})"),
            };
            (*kind, message)
        });
        let mut by_kind: BTreeMap<ConditionKind, Vec<String>> = BTreeMap::new();
        lines.for_each(|(kind, message)| by_kind.entry(kind).or_default().push(message));
        let each = share(&by_kind.values().map(Vec::len).collect::<Vec<_>>());
        by_kind.into_iter().flat_map(|(kind, messages)| shortened(messages, each).map(move |it| (kind, it))).collect()
    }
}

/// How many of each kind there may be, so that they are no more than [`MOST`] in all.
fn share(counts: &[usize]) -> usize {
    let all = |each: usize| counts.iter().map(|count| *count.min(&each)).sum::<usize>();
    (2..=MOST).rev().find(|each| all(*each) <= MOST).unwrap_or(1)
}

/// The first few; the last of these says how many more there are.
fn shortened(mut messages: Vec<String>, most: usize) -> impl Iterator<Item = String> {
    let more = messages.len().saturating_sub(most);
    messages.truncate(most);
    if let Some(last) = messages.last_mut().filter(|_| more > 0) {
        let _ = write!(last, "; and {more} more like this");
    }
    messages.into_iter()
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

/// Dates the conditions: one that held before keeps its `since`, even when its figures changed.
pub(super) fn date(messages: Vec<(ConditionKind, String)>, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let dated = messages.into_iter().map(|(kind, message)| {
        let since = since(kind, &message, before).unwrap_or(now);
        Condition { kind, message, since }
    });
    dated.collect()
}

fn since(kind: ConditionKind, message: &str, before: &[Condition]) -> Option<Timestamp> {
    let subject = |text: &str| text.split(": ").next().map(str::to_owned);
    let mut same = before.iter().filter(|condition| condition.kind == kind);
    let about_one_thing = matches!(kind, ConditionKind::Progressing | ConditionKind::FailoverHeld);
    same.find(|condition| about_one_thing || subject(&condition.message) == subject(message))
        .map(|condition| condition.since)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn many_of_one_kind_hide_none_of_another() {
        let mut notices = Notices::default();
        for host in 0..30 {
            notices.add(ConditionKind::Failed, &format!("web{host:02}"), None, "exited with status 1");
        }
        notices.add(ConditionKind::RolloutPaused, "", None, "rollout 2 is paused");
        notices.add(ConditionKind::FailoverHeld, "", None, "3 of 4 hosts are lost");
        let told = notices.messages(&"webapp".parse().unwrap());
        assert_eq!(told.len(), MOST);
        let of = |kind| told.iter().filter(move |(it, _)| *it == kind).map(|(_, text)| text.as_str());
        assert_eq!(of(ConditionKind::Failed).next_back(), Some("web17: exited with status 1; and 12 more like this"));
        assert_eq!((of(ConditionKind::RolloutPaused).count(), of(ConditionKind::FailoverHeld).count()), (1, 1));
    }

    #[test]
    fn each_kind_has_its_share() {
        assert_eq!(share(&[1, 2, 3]), MOST);
        assert_eq!(share(&[30, 30]), MOST / 2);
        assert_eq!(share(&[30, 1, 30, 30]), 6);
        assert_eq!(share(&[30; 15]), 1);
    }
}
