//! What is on this host of the replicas' releases and configurations: looked at beside the loop (a disk may take its time,
//! and so may dpkg), then known by what this agent does itself.

use std::collections::BTreeMap;

use super::State;
use crate::{
    model::{CheckedAssignment, ReplicaId, ServiceName},
    plan::agent::action::{Action, Artifacts},
};

/// How many pieces of work of one replica are known: what is wanted, what was prepared for it, and what ran before that and may
/// be in force still.
const MOST: usize = 3;

/// What was found for each replica, of each piece of its work.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    of: BTreeMap<ReplicaId, Vec<Work>>,
    begun: u64,
}

/// A piece of work.
#[derive(Clone, Debug)]
struct Work {
    assignment: CheckedAssignment,
    /// What was found; `None` = nobody has looked yet.
    found: Option<Artifacts>,
    look: Look,
}

/// Whether somebody looks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Over,
    Due,
    /// Under this number: another look's answer is old.
    UnderWay(u64),
}

impl Seen {
    /// What is there of the replica's work; `None` = that is to be looked at first.
    pub(super) fn look(&mut self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Artifacts> {
        if !needs_any(assignment) {
            return Some(Artifacts::NONE_NEEDED);
        }
        let known = self.of.entry(id.clone()).or_default();
        if let Some(work) = known.iter().find(|work| needs_the_same(&work.assignment, assignment)) {
            return work.found;
        }
        known.push(Work { assignment: assignment.clone(), found: None, look: Look::Due });
        known.drain(..known.len().saturating_sub(MOST));
        None
    }

    /// What is to be looked at: from now on somebody does.
    fn begin(&mut self) -> Vec<Action> {
        let all = self.of.iter_mut().flat_map(|(id, works)| works.iter_mut().map(move |work| (id, work)));
        let mut begun = Vec::new();
        for (id, work) in all.filter(|(_, work)| work.look == Look::Due) {
            self.begun += 1;
            work.look = Look::UnderWay(self.begun);
            let (id, assignment) = (id.clone(), Box::new(work.assignment.clone()));
            begun.push(Action::LookAtArtifacts { id, number: self.begun, assignment });
        }
        begun
    }

    /// Whether nothing is to be looked at first.
    pub(super) fn is_settled(&self) -> bool {
        self.of.values().flatten().all(|work| work.found.is_some())
    }

    /// A look ended.
    pub(super) fn seen(&mut self, id: &ReplicaId, number: u64, artifacts: Artifacts) {
        let known = self.of.get_mut(id).into_iter().flatten();
        for work in known.filter(|work| work.look == Look::UnderWay(number)) {
            (work.found, work.look) = (Some(artifacts), Look::Over);
        }
    }

    /// Something of the replica's work was brought onto the host, and this is there of it now.
    pub(super) fn learn(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, found: Artifacts) {
        if !needs_any(assignment) {
            return;
        }
        let known = self.of.entry(id.clone()).or_default();
        known.retain(|work| !needs_the_same(&work.assignment, assignment));
        known.push(Work { assignment: assignment.clone(), found: Some(found), look: Look::Over });
        known.drain(..known.len().saturating_sub(MOST));
    }

    /// Something of the replica changed on disk.
    pub(super) fn forget(&mut self, id: &ReplicaId) {
        self.of.remove(id);
    }

    /// Something that none of the service's replicas needs was removed. What is known stands until it was looked at again.
    pub(super) fn doubt_service(&mut self, service: &ServiceName) {
        let of_service = self.of.iter_mut().filter(|(id, _)| id.service == *service);
        of_service.flat_map(|(_, works)| works).for_each(|work| work.look = Look::Due);
    }
}

impl State {
    /// Has that looked at which is not known.
    pub(super) fn look_at_artifacts(&mut self) {
        let due = self.artifacts.begin();
        self.actions.extend(due);
    }
}

/// Whether anything has to be on the host before the work can run.
pub fn needs_any(assignment: &CheckedAssignment) -> bool {
    !assignment.template.credentials.is_empty()
        || (!assignment.template.source.is_none() && assignment.version.is_some())
        || (assignment.template.config.is_some() && assignment.config_version.is_some())
}

/// Whether the two need the same.
pub(super) fn needs_the_same(one: &CheckedAssignment, other: &CheckedAssignment) -> bool {
    let (mine, others) = (&one.template, &other.template);
    (one.version == other.version && mine.source == others.source)
        && (one.config_version == other.config_version && mine.config == others.config)
        && (&one.unit, mine.port, &mine.credentials) == (&other.unit, others.port, &others.credentials)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::{model::assigned, plan::agent::Links};

    fn version(version: &str) -> CheckedAssignment {
        let source = json!({ "exec": { "command": ["/bin/true"] } });
        let wanted = json!({ "mode": "enabled", "unit": "webapp.service", "version": version, "source": source });
        serde_json::from_value(assigned(wanted)).unwrap()
    }

    const STAGED: Artifacts = Artifacts { staged: true, links: Links { release: false, config: true } };

    fn begun(seen: &mut Seen) -> u64 {
        let [Action::LookAtArtifacts { number, .. }] = seen.begin()[..] else { panic!() };
        number
    }

    #[test]
    fn what_is_not_known_is_looked_at_once_and_an_old_answer_is_passed_over() {
        let (mut seen, id) = (Seen::default(), "webapp.0000000001".parse().unwrap());
        assert!(seen.look(&id, &version("v1")).is_none() && !seen.is_settled());
        let first = begun(&mut seen);
        assert!(seen.look(&id, &version("v1")).is_none());
        assert!(seen.begin().is_empty(), "somebody looks already");
        seen.learn(&id, &version("v1"), Artifacts::NONE_NEEDED);
        seen.seen(&id, first, STAGED);
        assert!(seen.look(&id, &version("v1")).unwrap().links.release, "it was looked at before the job's end");
        seen.doubt_service(&id.service);
        assert!(seen.look(&id, &version("v1")).is_some() && seen.is_settled(), "what is known stands meanwhile");
        let second = begun(&mut seen);
        seen.seen(&id, second, STAGED);
        assert!(!seen.look(&id, &version("v1")).unwrap().links.release);
    }
    /// With one fewer known, each decision would look at all of them again, and each answer would bring a decision.
    #[test]
    fn all_that_a_decision_asks_for_stays_known() {
        let (mut seen, id) = (Seen::default(), "webapp.0000000001".parse().unwrap());
        for wanted in ["v3", "v4"] {
            for version in [wanted, "v2", "v1"].map(version) {
                let _ = seen.look(&id, &version);
                for action in seen.begin() {
                    let Action::LookAtArtifacts { number, .. } = action else { panic!() };
                    seen.seen(&id, number, STAGED);
                }
            }
            for version in [wanted, "v2", "v1"].map(version) {
                assert!(seen.look(&id, &version).is_some(), "{version:?}");
            }
            assert!(seen.begin().is_empty());
        }
    }
}
