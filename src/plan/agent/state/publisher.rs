//! What the tree is known to say of this host, and what is to be written: its `alive`, its replicas' `instances` (all
//! ephemeral, together in one transaction), and each replica's `status` when it changes.
//!
//! The ephemerals are written one transaction at a time, and so is each status; neither waits for the other. A status
//! that tells of a replica which comes into `instances` is part of that transaction. What has changed meanwhile goes out
//! with the next. What cannot be written rests for a moment, by itself, and is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    model::{HostAlive, HostName, Instance, ReplicaId, ReplicaState, ReplicaStatus, decode, encode},
    plan::agent::action::{
        Action, Connection, Ephemerals, Joined, Now, Published, Registered, Registration, StatusWrite,
    },
    tree::layout,
};

/// What a finished publication changed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Replicas that are out of `instances` from now on.
    pub(super) unlisted: Vec<ReplicaId>,
    /// Replicas that are in it.
    pub(super) listed: Vec<ReplicaId>,
    /// Why not everything could be written; it is tried again.
    pub(super) error: Option<String>,
    /// Transactions that were sent.
    pub(super) writes: u32,
}

/// How long something that could not be written rests. Everything else goes on.
const RETRY: Duration = Duration::from_secs(1);

/// How long a status that tells of a passing state (see [`is_passing`]) may be behind. What is over by then is never
/// written: a restart that takes 20 ms is one write, not five, and none of them stands in the way of the last.
const SETTLE: Duration = Duration::from_millis(50);

/// What is known to be in the tree.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    host: HostName,
    /// The ephemerals are being written.
    registering: bool,
    applied: Option<(Joined, BTreeMap<String, Vec<u8>>)>,
    names: BTreeMap<ReplicaId, String>,
    /// Replicas that a transaction brings into `instances` which is under way, or of which nobody knows whether it landed.
    coming: BTreeSet<ReplicaId>,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    /// Statuses that are being written.
    writing: BTreeSet<ReplicaId>,
    /// Since when the tree has not said the present, passing, state of these.
    unsettled: BTreeMap<ReplicaId, Instant>,
    /// Ephemerals were changed by another hand.
    doubtful: bool,
    /// Statuses that were while they are being written.
    doubted: BTreeSet<ReplicaId>,
    /// What could not be written, and until when it rests; `None` = the ephemerals.
    resting: BTreeMap<Option<ReplicaId>, Instant>,
    /// This process has registered: nothing of a predecessor is left.
    taken_over: bool,
    /// Replicas that were forgotten before that: a predecessor may have listed them.
    forgotten: BTreeSet<ReplicaId>,
    /// Replicas of which other things are known to be in the tree than before.
    moved: BTreeSet<ReplicaId>,
    /// What should be in `instances`.
    wanted: Ephemerals,
    /// Replicas of which the tree may not say what it should.
    unsaid: BTreeSet<ReplicaId>,
}

/// What the tree should say of this host, beside what is in `instances`.
pub(super) struct Report<'a> {
    /// `None` = the host is not to register yet.
    pub(super) alive: Option<&'a HostAlive>,
    /// What the agent sees of each replica.
    pub(super) statuses: &'a BTreeMap<ReplicaId, ReplicaStatus>,
    /// Of which replicas a status may be written.
    pub(super) is_ours: &'a dyn Fn(&ReplicaId) -> bool,
    /// Every replica that concerns this host: what a predecessor left of them is removed unless it is wanted.
    pub(super) known: &'a dyn Fn() -> BTreeSet<ReplicaId>,
}

impl Publisher {
    /// Nothing is known to be in the tree.
    pub(super) fn new(host: HostName) -> Self {
        Self {
            host,
            registering: false,
            applied: None,
            names: BTreeMap::new(),
            coming: BTreeSet::new(),
            statuses: BTreeMap::new(),
            writing: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            doubtful: false,
            doubted: BTreeSet::new(),
            resting: BTreeMap::new(),
            taken_over: false,
            forgotten: BTreeSet::new(),
            moved: BTreeSet::new(),
            wanted: Ephemerals::default(),
            unsaid: BTreeSet::new(),
        }
    }

    /// The replicas of which other things are known to be in the tree since this was last asked.
    pub(super) fn take_moved(&mut self) -> BTreeSet<ReplicaId> {
        std::mem::take(&mut self.moved)
    }

    /// The replica should be in `instances` with these words, or not at all.
    pub(super) fn list(&mut self, id: &ReplicaId, instance: Option<&Instance>) {
        match instance {
            Some(instance) => {
                let name = self.wanted.1.get(id).cloned().unwrap_or_else(|| self.name(id));
                self.wanted.0.insert(layout::instance(&id.service, &name), encode(instance));
                self.wanted.1.insert(id.clone(), name);
            }
            None => {
                if let Some(name) = self.wanted.1.remove(id) {
                    self.wanted.0.remove(&layout::instance(&id.service, &name));
                }
            }
        }
    }

    /// Nothing should be in `instances` any more.
    pub(super) fn list_nothing(&mut self) {
        self.wanted = Ephemerals::default();
    }

    /// What the agent sees of the replica may have changed.
    pub(super) fn say(&mut self, id: &ReplicaId) {
        self.unsaid.insert(id.clone());
    }

    /// There is nothing to be said of the replica any more.
    pub(super) fn say_nothing(&mut self, id: &ReplicaId) {
        self.say(id);
        if self.statuses.remove(id).is_some() {
            self.moved.insert(id.clone());
        }
    }

    /// Other things are known to be in the tree of the replica than before.
    fn moves(&mut self, id: &ReplicaId) {
        self.moved.insert(id.clone());
        self.unsaid.insert(id.clone());
    }

    /// `<host>` for one replica of a service, `<host>@<number>` for its siblings; the one that is in the tree is kept.
    fn name(&self, id: &ReplicaId) -> String {
        let numbered = format!("{}@{}", self.host, id.number);
        let names = self.names.get(id).cloned().into_iter().chain([self.host.to_string()]);
        let mut free = names.filter(|name| !self.wanted.0.contains_key(&layout::instance(&id.service, name)));
        free.next().unwrap_or(numbered)
    }

    /// Whether the replica is in `instances`, or may be: who is to stop it takes it out first.
    pub(super) fn lists(&self, id: &ReplicaId) -> bool {
        self.names.contains_key(id) || self.coming.contains(id)
    }

    /// Whether the tree says that the replica is down, by what this process wrote, or may say so in a moment.
    pub(super) fn may_say_it_is_down(&self, id: &ReplicaId) -> bool {
        self.writing.contains(id) || self.statuses.get(id).is_some_and(ReplicaStatus::is_down)
    }

    /// The replica's entry in `instances`, as this process wrote it.
    pub(super) fn instance(&self, id: &ReplicaId) -> Option<Instance> {
        let path = layout::instance(&id.service, self.names.get(id)?);
        let (_, paths) = self.applied.as_ref()?;
        decode(paths.get(&path)?).ok()
    }

    /// Whether the ephemerals of this session are in place.
    pub(super) fn is_registered(&self, epoch: u64) -> bool {
        self.applied.as_ref().is_some_and(|((applied, _), _)| *applied == epoch)
    }

    /// Whether the ephemerals are being written.
    pub(super) fn is_registering(&self) -> bool {
        self.registering
    }

    /// Whether this process has registered at all.
    pub(super) fn has_taken_over(&self) -> bool {
        self.taken_over
    }

    /// When something that is not written now is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let settled = self.unsettled.values().map(|since| *since + SETTLE);
        self.resting.values().copied().chain(settled).min()
    }

    /// Whether nothing is being written, or about to be.
    pub(super) fn is_idle(&self) -> bool {
        !self.registering && self.writing.is_empty() && self.unsettled.is_empty()
    }

    /// There is another connection: nothing rests any more.
    pub(super) fn relinked(&mut self) {
        self.resting.clear();
    }

    /// The session is gone, and its ephemerals with it: the replicas that they listed, or may have.
    pub(super) fn session_lost(&mut self) -> Vec<ReplicaId> {
        self.applied = None;
        self.maybe_listed()
    }

    /// The replicas that were in `instances`, or may have been, to be replaced by what is there now.
    fn maybe_listed(&mut self) -> Vec<ReplicaId> {
        let mut listed = std::mem::take(&mut self.coming);
        listed.extend(std::mem::take(&mut self.names).into_keys());
        self.moved.extend(listed.iter().cloned());
        listed.into_iter().collect()
    }

    /// Something of `id`, or of the host, was changed by another hand: look before believing. A write under way may have
    /// looked before that.
    pub(super) fn doubt(&mut self, id: Option<&ReplicaId>) {
        self.doubtful = true;
        if let Some(id) = id {
            self.doubt_status(id);
        }
    }

    fn doubt_status(&mut self, id: &ReplicaId) {
        self.moves(id);
        self.statuses.remove(id);
        self.doubted.extend(self.writing.get(id).cloned());
    }

    /// Nobody waits any more for what is being written.
    pub(super) fn abandon(&mut self) {
        self.writing.clear();
    }

    /// Forgets what was written of a replica that is no longer this host's.
    pub(super) fn forget(&mut self, id: &ReplicaId) {
        self.doubt_status(id);
        if !self.taken_over {
            self.forgotten.insert(id.clone());
        }
    }

    /// Has written what differs and is not being written.
    pub(super) fn publish(&mut self, connection: Connection, report: &Report<'_>, now: Now) -> Vec<Action> {
        let mut alone = self.due_statuses(report, now);
        let at = (connection.epoch, connection.joins);
        let mut begun = Vec::new();
        if let Some(alive) = report.alive.map(encode).filter(|alive| self.is_due(at, alive)) {
            // Who is said to be ready is in `instances` by then.
            let coming: Vec<_> = alone.extract_if(.., |status| self.comes(&status.id)).collect();
            self.unsettled.retain(|id, _| coming.iter().all(|coming| coming.id != *id));
            if !self.registering {
                let registration = self.registration(at, alive, (report.known)(), coming);
                begun.push(Action::Register(Box::new(registration)));
            }
        }
        if !alone.is_empty() {
            for status in &alone {
                self.writes(&status.id);
            }
            begun.push(Action::WriteStatuses { at, all: alone });
        }
        begun
    }

    /// A status is being written from now on.
    fn writes(&mut self, id: &ReplicaId) {
        self.moved.insert(id.clone());
        self.writing.insert(id.clone());
        self.unsettled.remove(id);
        self.doubted.remove(id);
    }

    fn registration(
        &mut self,
        at: Joined,
        alive: Vec<u8>,
        known: BTreeSet<ReplicaId>,
        coming: Vec<StatusWrite>,
    ) -> Registration {
        self.registering = true;
        let look = std::mem::take(&mut self.doubtful);
        let mut ephemerals = self.wanted.clone();
        ephemerals.0.insert(layout::alive(&self.host), alive);
        // The others have to be looked at first, and follow.
        let riders: Vec<_> = coming.into_iter().filter(|it| it.is_there).map(|it| (it.id, it.status)).collect();
        for (id, _) in &riders {
            self.writes(id);
        }
        let coming = ephemerals.1.keys().filter(|id| !self.names.contains_key(*id));
        self.moved.extend(coming.clone().cloned());
        self.coming.extend(coming.cloned());
        let stale = known.union(&self.forgotten).flat_map(|id| self.candidates(id)).collect();
        Registration { at, look, ephemerals, riders, stale, known, alive: layout::alive(&self.host) }
    }

    /// Whether the replica should be in `instances`, and is not yet with the same words.
    fn comes(&self, id: &ReplicaId) -> bool {
        let Some(name) = self.wanted.1.get(id) else { return false };
        let path = layout::instance(&id.service, name);
        self.applied.as_ref().and_then(|(_, applied)| applied.get(&path)) != self.wanted.0.get(&path)
    }

    /// Takes in what a publication came to.
    pub(super) fn published(&mut self, connection: Option<Connection>, published: Published, now: Instant) -> Outcome {
        let Published { at, ephemerals, statuses, writes } = published;
        let mut outcome = Outcome { writes, ..Outcome::default() };
        // What failed over a connection that is gone is tried again over the next one at once.
        let retry = connection.filter(|it| (it.epoch, it.joins) == at).map(|_| now + RETRY);
        let mut errors = Vec::new();
        for (id, result) in statuses {
            self.moves(&id);
            self.writing.remove(&id);
            let written = result.map_err(|error| errors.push(error)).ok().flatten();
            if written.is_none() {
                self.resting.extend(retry.map(|at| (Some(id.clone()), at)));
            }
            match written.filter(|_| !self.doubted.contains(&id)) {
                Some(status) => drop(self.statuses.insert(id, status)),
                None => drop(self.statuses.remove(&id)),
            }
        }
        if let Some(Registered { known, result, riders, .. }) = ephemerals {
            self.registering = false;
            for id in &riders {
                if !self.writing.remove(id) {
                    continue;
                }
                // It did not ride, or nobody knows whether it did.
                self.moves(id);
                self.statuses.remove(id);
            }
            match result {
                Ok(ephemerals) if connection.is_some_and(|it| it.epoch == at.0) => {
                    self.applied(at, ephemerals, &known, &mut outcome);
                }
                Ok(_) => {}
                Err(error) => {
                    errors.push(error);
                    // It may have landed: what is there is looked at, even if it is just what was there before.
                    self.doubtful = true;
                    self.resting.extend(retry.map(|at| (None, at)));
                }
            }
        }
        outcome.error = errors.into_iter().next();
        outcome
    }

    /// The ephemerals are in place. With the first ones of a process it is certain, too, what a predecessor has not
    /// left in `instances`.
    fn applied(&mut self, at: Joined, applied: Ephemerals, known: &BTreeSet<ReplicaId>, outcome: &mut Outcome) {
        let (paths, names) = applied;
        outcome.listed = names.keys().filter(|id| !self.names.contains_key(*id)).cloned().collect();
        let listed = std::mem::take(&mut self.coming).into_iter().chain(std::mem::take(&mut self.names).into_keys());
        let mut before: BTreeSet<_> =
            if self.taken_over { listed.collect() } else { listed.chain(known.iter().cloned()).collect() };
        before.retain(|id| !names.contains_key(id));
        outcome.unlisted = before.into_iter().collect();
        self.names = names;
        self.applied = Some((at, paths));
        self.taken_over = true;
        self.forgotten.clear();
    }

    fn is_due(&self, at: Joined, alive: &Vec<u8>) -> bool {
        let path = layout::alive(&self.host);
        let holds = |(applied_at, applied): &(Joined, BTreeMap<String, Vec<u8>>)| {
            let instances = applied.iter().filter(|(applied, _)| **applied != path);
            *applied_at == at && applied.get(&path) == Some(alive) && instances.eq(&self.wanted.0)
        };
        (self.doubtful || !self.applied.as_ref().is_some_and(holds)) && !self.resting.contains_key(&None)
    }

    /// The statuses to write now, each with whether its node is known to be there.
    fn due_statuses(&mut self, report: &Report<'_>, now: Now) -> Vec<StatusWrite> {
        let rested = self.resting.iter().filter(|(_, until)| **until <= now.instant);
        self.unsaid.extend(rested.filter_map(|(id, _)| id.clone()));
        self.resting.retain(|_, until| now.instant < *until);
        self.unsaid.extend(self.unsettled.keys().cloned());
        let mut due = Vec::new();
        for id in std::mem::take(&mut self.unsaid) {
            let Some(status) = report.statuses.get(&id).filter(|_| (report.is_ours)(&id)) else {
                self.unsettled.remove(&id);
                continue;
            };
            let known = self.statuses.get(&id);
            if known.is_some_and(|known| known.says_the_same(status)) {
                self.unsettled.remove(&id);
                continue;
            }
            let is_there = known.is_some();
            if !self.writing.contains(&id) && !self.resting.contains_key(&Some(id.clone())) {
                let since = *self.unsettled.entry(id.clone()).or_insert(now.instant);
                if !is_passing(status) || now.instant >= since + SETTLE {
                    let status = ReplicaStatus { updated: now.time, ..status.clone() };
                    due.push(StatusWrite { id: id.clone(), status, is_there });
                }
            }
            self.unsaid.insert(id);
        }
        due
    }

    fn candidates(&self, id: &ReplicaId) -> [String; 2] {
        let numbered = format!("{}@{}", self.host, id.number);
        [layout::instance(&id.service, self.host.as_str()), layout::instance(&id.service, &numbered)]
    }
}

/// Whether the status tells of nothing but a step on the way to somewhere. That a process is not ready is one, whatever
/// its probe says: one that has just been started refuses connections.
fn is_passing(status: &ReplicaStatus) -> bool {
    let on_its_way = match status.state {
        ReplicaState::Pending | ReplicaState::Starting | ReplicaState::Draining | ReplicaState::Stopping => {
            status.message.is_none()
        }
        ReplicaState::Running => !status.ready || status.unconfirmed,
        ReplicaState::Stopped | ReplicaState::Failed | ReplicaState::Refused => false,
    };
    on_its_way && !status.rejected
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn status(state: &str, ready: bool, message: Option<&str>) -> ReplicaStatus {
        let status = json!({
            "state": state, "node": "web1", "ready": ready, "message": message, "updated": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(status).unwrap()
    }

    /// What is due of one replica that says this.
    fn due(publisher: &mut Publisher, status: &ReplicaStatus, now: Instant) -> Vec<ReplicaStatus> {
        let statuses = BTreeMap::from([("webapp.0000000001".parse().unwrap(), status.clone())]);
        publisher.say(statuses.keys().next().unwrap());
        let report = Report { alive: None, statuses: &statuses, is_ours: &|_| true, known: &BTreeSet::new };
        let now = Now { instant: now, time: status.updated };
        publisher.due_statuses(&report, now).into_iter().map(|due| due.status).collect()
    }

    fn unconnected() -> Publisher {
        Publisher::new("web1".parse().unwrap())
    }

    /// Whoever stops a process must know that clients may find it.
    #[test]
    fn what_may_be_in_instances_is_taken_out_of_it_first() {
        let mut publisher = unconnected();
        let id: ReplicaId = "webapp.0000000001".parse().unwrap();
        let known = BTreeSet::from([id.clone()]);
        publisher.applied((1, 1), Ephemerals::default(), &known, &mut Outcome::default());
        assert!(!publisher.lists(&id));

        let instance: Instance =
            serde_json::from_value(json!({ "replica": 1, "started": "2026-01-01T00:00:00Z" })).unwrap();
        publisher.list(&id, Some(&instance));
        let under_way = publisher.registration((1, 1), Vec::new(), known.clone(), Vec::new());
        assert!(publisher.lists(&id), "from the moment on that it may land");
        let Registration { at, known, .. } = under_way;
        let result = Err("connection lost".to_owned());
        let registered = Registered { known: known.clone(), result, riders: Vec::new(), seen: false };
        let lost = Published { at, ephemerals: Some(registered), statuses: Vec::new(), writes: 0 };
        publisher.published(None, lost, Instant::now());
        assert!(publisher.lists(&id), "nobody knows whether it landed");
        publisher.list(&id, None);
        assert!(publisher.is_due((1, 1), &Vec::new()), "so one looks, even if it is not to be there any more");

        let mut outcome = Outcome::default();
        publisher.applied((1, 2), Ephemerals::default(), &known, &mut outcome);
        assert_eq!((publisher.lists(&id), outcome.unlisted), (false, vec![id]), "its drain time begins");
    }

    #[test]
    fn what_passes_is_written_when_it_lasts_and_what_has_an_end_to_tell_at_once() {
        let mut publisher = unconnected();
        let now = Instant::now();
        let (stopping, refused) =
            (status("stopping", true, None), status("running", false, Some("readiness: refused")));
        assert_eq!(due(&mut publisher, &stopping, now), []);
        assert_eq!(due(&mut publisher, &refused, now + SETTLE / 2), []);
        assert_eq!(publisher.next_due(), Some(now + SETTLE), "counted from the first that the tree does not say");
        assert_eq!(due(&mut publisher, &refused, now + SETTLE), std::slice::from_ref(&refused));
        let rejected = ReplicaStatus { rejected: true, ..refused };
        let dead = status("stopping", true, Some("liveness: refused"));
        for telling in [status("running", true, None), status("failed", true, Some("it exits")), rejected, dead] {
            assert_eq!(due(&mut publisher, &telling, now), [telling]);
        }
    }
}
