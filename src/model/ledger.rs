//! What an agent remembers of its replicas beyond its own life: the last accepted work, and what is in force of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Assignment, CheckedAssignment, Probes, ReplicaId, ServiceName, UnitName};

/// What the agent remembers of its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Each replica that this host has accepted and not given up.
    #[serde(default)]
    pub replicas: BTreeMap<ReplicaId, Record>,
    /// Work that was given up before it came into force, so that it is not tried again for ever.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<ReplicaId, Rejected>,
    /// Units that this host's configuration took from the agent while they were in use, and what they run with: that is
    /// not removed until the unit is the agent's again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<UnitName, Left>,
}

/// What a unit runs with that was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The service that it belonged to.
    pub service: ServiceName,
    /// The versions whose releases it may use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
    /// The configuration revision that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
}

impl Left {
    /// What the replica's unit may use.
    pub fn new(service: &ServiceName, record: &Record) -> Self {
        let works = [Some(&record.assignment), record.before.as_deref()].into_iter().flatten();
        let stale = record.stale.as_ref().and_then(|stale| stale.version.clone());
        let versions = works.filter_map(|work| work.version.clone()).chain(stale).collect();
        Self { service: service.clone(), versions, config_version: record.applied_config }
    }
}

impl Ledger {
    /// Whether nothing is lost when this comes to disk a moment late, where `saved` is: they differ in what to go back
    /// to and in whether it was tried at most, once the work is in force, and in trials that are over. A successor finds out again that it is.
    ///
    /// `changed` = where they may differ.
    pub fn may_wait(&self, saved: &Self, changed: &BTreeSet<ReplicaId>) -> bool {
        self.differs_at_most(saved, changed, |record, saved| {
            let on_trial = record.on_trial && saved.on_trial;
            let before = saved.before.clone().filter(|_| record.before.is_some());
            let untried = record.untried && saved.untried;
            *record == Record { before, on_trial, untried, ..saved.clone() }
        })
    }

    /// Whether they differ in trials that are over at most.
    pub fn may_wait_long(&self, saved: &Self, changed: &BTreeSet<ReplicaId>) -> bool {
        self.differs_at_most(saved, changed, |record, saved| {
            let on_trial = record.on_trial && saved.on_trial;
            *record == Record { on_trial, ..saved.clone() }
        })
    }

    fn differs_at_most(
        &self,
        saved: &Self,
        changed: &BTreeSet<ReplicaId>,
        alike: impl Fn(&Record, &Record) -> bool,
    ) -> bool {
        let same = |id| match (self.replicas.get(id), saved.replicas.get(id)) {
            (Some(record), Some(saved)) => record == saved || alike(record, saved),
            (record, saved) => record.is_none() && saved.is_none(),
        };
        (&self.rejected, &self.left) == (&saved.rejected, &saved.left) && changed.iter().all(same)
    }

    /// The replicas of which it says anything.
    pub fn ids(&self) -> impl Iterator<Item = &ReplicaId> {
        self.replicas.keys().chain(self.rejected.keys())
    }

    /// Whether both say the same of the replica.
    pub fn says_the_same_of(&self, id: &ReplicaId, other: &Self) -> bool {
        self.replicas.get(id) == other.replicas.get(id) && self.rejected.get(id) == other.rejected.get(id)
    }
}

/// Work that was given up: only other work is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its content: see [`content_key`].
    pub key: String,
    /// Why, for the operator.
    pub message: String,
}

/// An assignment's content as a short digest. The same for the same content, in every process and build that knows the
/// same fields.
pub fn content_key(assignment: &Assignment) -> String {
    let text = serde_json::to_vec(assignment).unwrap_or_default();
    let digest = Sha256::digest(text);
    hex::encode(&digest[..16])
}

/// What the agent remembers of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The last accepted work.
    pub assignment: CheckedAssignment,
    /// What the generated files were last written for: see [`restart_key`](super::restart_key). `None` = the ledger
    /// was lost, and the replica found by its files: nothing but its unit is known until the tree has said more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_key: Option<String>,
    /// The invocation that was started before the generated files were last changed in a way that a running
    /// process cannot see: it must be restarted. Any other invocation has read the files as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// The configuration revision that the running process has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_config: Option<u64>,
    /// What was in force before `assignment`, while that is not yet: what to go back to when it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<CheckedAssignment>>,
    /// It was stopped on purpose: what it ran then is not started again, only what is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// What its probes say of the work has yet to be confirmed by checks made since it changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
    /// Nothing of it was in force here yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untried: bool,
}

impl Record {
    /// A replica that was just accepted. What runs of it already is taken as it is.
    pub fn new(assignment: CheckedAssignment) -> Self {
        let applied_config = assignment.config_version;
        let on_trial = is_probed(&assignment);
        Self {
            assignment,
            prepared_key: None,
            stale: None,
            applied_config,
            before: None,
            rests: false,
            on_trial,
            untried: true,
        }
    }

    /// Its generated files are about to be written for this work.
    pub fn prepare(&mut self, assignment: &CheckedAssignment) {
        if self.assignment != *assignment {
            let known = !self.is_found();
            self.on_trial = is_probed(assignment);
            let old = std::mem::replace(&mut self.assignment, assignment.clone());
            if known {
                self.before.get_or_insert_with(|| Box::new(old));
            }
        }
    }

    /// The work is in force.
    pub fn accept(&mut self, assignment: &CheckedAssignment) {
        self.on_trial |= self.assignment != *assignment && is_probed(assignment);
        self.assignment.clone_from(assignment);
        self.applied_config = assignment.config_version;
        (self.before, self.rests, self.untried) = (None, false, false);
    }

    /// Whether this work, but for its mode, was in force here already and still is what the ledger has.
    pub fn was_in_force(&self, wanted: &CheckedAssignment) -> bool {
        !self.untried && self.before.is_none() && self.assignment.with_mode(wanted.mode) == *wanted
    }

    /// The work cannot come into force: back to what was before; whether there is anything to go back to.
    pub fn go_back(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.on_trial = is_probed(&before);
        self.assignment = before.with_mode(self.assignment.mode);
        true
    }

    /// Whether only its unit is known, from a generated file that was found: the ledger had been lost.
    pub fn is_found(&self) -> bool {
        self.prepared_key.is_none()
    }

    /// The version that this invocation of its unit runs.
    pub fn running_version(&self, invocation: &str) -> Option<&String> {
        match &self.stale {
            Some(stale) if stale.invocation == invocation => stale.version.as_ref(),
            _ => self.assignment.version.as_ref(),
        }
    }
}

fn is_probed(assignment: &Assignment) -> bool {
    assignment.template.probes != Probes::default()
}

/// A unit's invocation that is out of date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// systemd's `InvocationID`.
    pub invocation: String,
    /// The version that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the generated files were written for when it was started ([`Record::prepared_key`]): when that is wanted
    /// again, it is up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Desired, Mode, ReplicaDesired, ReplicaNumber, ServiceSpec};

    fn ledger() -> Ledger {
        let spec = ServiceSpec::new("webapp@.service".parse().unwrap());
        let desired = ReplicaDesired::unplaced(&Desired::default());
        let record = Record::new(
            Assignment::new(&spec.revision(&Desired::default()), &desired, ReplicaNumber(1)).check().unwrap(),
        );
        Ledger { replicas: BTreeMap::from([("webapp.0000000001".parse().unwrap(), record)]), ..Ledger::default() }
    }

    #[test]
    fn work_was_in_force_once_it_was_accepted_and_until_other_work_is_prepared() {
        let mut record = ledger().replicas.into_values().next().unwrap();
        let work = record.assignment.clone();
        let other = Assignment { version: Some("v2".to_owned()), ..(*work).clone() }.check().unwrap();
        assert!(!record.was_in_force(&work), "new work is in the ledger before it is started");
        record.prepared_key = Some("v1".to_owned());
        record.accept(&work);
        assert!(record.was_in_force(&work) && !record.was_in_force(&other));
        let disabled = work.with_mode(Mode::Disabled);
        assert!(record.was_in_force(&disabled));
        record.prepare(&other);
        assert!(!record.was_in_force(&other) && !record.was_in_force(&work));
        assert!(record.go_back() && record.was_in_force(&work));
        // An earlier release's ledger does not say: what it has was in force.
        let mut old = serde_json::to_value(Record::new(work.clone())).unwrap();
        assert_eq!(old.as_object_mut().unwrap().remove("untried"), Some(true.into()));
        assert!(serde_json::from_value::<Record>(old).unwrap().was_in_force(&work));
    }

    #[test]
    fn only_that_nothing_is_to_go_back_to_any_more_may_wait() {
        let changed = ledger().replicas.into_keys().collect();
        let with = |change: fn(&mut Record)| {
            let mut ledger = ledger();
            ledger.replicas.values_mut().for_each(change);
            ledger
        };
        let before = with(|record| record.before = Some(Box::new(record.assignment.clone())));
        assert!(ledger().may_wait(&before, &changed));
        assert!(!before.may_wait(&ledger(), &changed), "it has just begun");
        let changes: [fn(&mut Record); 4] = [
            |record| record.applied_config = Some(7),
            |record| record.rests = true,
            |record| record.assignment = record.assignment.with_mode(Mode::Disabled),
            |record| record.stale = Some(Stale { invocation: "1".to_owned(), version: None, key: None }),
        ];
        assert!(changes.into_iter().all(|change| !with(change).may_wait(&before, &changed)));
        let key = content_key(&ledger().replicas.into_values().next().unwrap().assignment);
        let rejected = Rejected { key, message: String::new() };
        let rejected = BTreeMap::from([("webapp.0000000001".parse().unwrap(), rejected)]);
        assert!(!Ledger { rejected, ..ledger() }.may_wait(&before, &changed));
        assert!(!Ledger::default().may_wait(&before, &changed));
    }

    #[test]
    fn what_was_in_force_last_is_what_to_go_back_to() {
        let mut record = ledger().replicas.into_values().next().unwrap();
        let with = |version: &str| record.assignment.with(|it| it.version = Some(version.to_owned()));
        let (one, two, three) = (with("v1"), with("v2"), with("v3"));
        record.prepare(&one);
        assert!(!record.go_back(), "nothing is known of what was found by its files");
        record.prepared_key = Some(String::new());
        record.accept(&one);
        assert!(!record.go_back());
        record.prepare(&one);
        assert_eq!(record.before, None, "the same work");
        record.prepare(&two);
        record.prepare(&three);
        assert!(record.go_back());
        assert_eq!((&record.assignment, &record.before), (&one, &None));
        record.prepare(&two);
        record.accept(&two);
        assert!(!record.go_back());
    }

    #[test]
    fn an_assignments_content_tells_it_from_others() {
        let one = ledger().replicas.into_values().next().unwrap().assignment;
        let other = one.with(|it| it.config_version = Some(8));
        assert_eq!(content_key(&one), content_key(&one.clone()));
        assert_ne!(content_key(&one), content_key(&other));
        assert_eq!(content_key(&one).len(), 32);
    }
}
