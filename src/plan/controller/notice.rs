//! What the operator should know: collected while planning, then written as conditions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Condition, ConditionKind, ReplicaNumber, ServiceName};

/// The most conditions a status carries.
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
        lines.take(MOST).collect()
    }
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
