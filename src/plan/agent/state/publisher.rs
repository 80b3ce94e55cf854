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
        Action, Connection, Ephemerals, HostReport, Joined, Published, Registered, Registration, StatusWrite,
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
        }
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
    pub(super) fn publish(&mut self, connection: Connection, wanted: HostReport, now: Instant) -> Vec<Action> {
        self.resting.retain(|_, until| now < *until);
        self.statuses.retain(|id, _| wanted.known.contains(id));
        let mut alone = self.due_statuses(&wanted, now);
        let at = (connection.epoch, connection.joins);
        let mut begun = Vec::new();
        let ephemerals = wanted.alive.as_ref().map(|alive| self.ephemerals(alive, &wanted));
        if let Some(ephemerals) = ephemerals.filter(|(paths, _)| self.is_due(at, paths)) {
            // Who is said to be ready is in `instances` by then.
            let coming: Vec<_> = alone.extract_if(.., |status| self.comes(&status.id, &ephemerals)).collect();
            self.unsettled.retain(|id, _| coming.iter().all(|coming| coming.id != *id));
            if !self.registering {
                let registration = self.registration(at, ephemerals, wanted.known, coming);
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
        self.writing.insert(id.clone());
        self.unsettled.remove(id);
        self.doubted.remove(id);
    }

    fn registration(
        &mut self,
        at: Joined,
        ephemerals: Ephemerals,
        known: BTreeSet<ReplicaId>,
        coming: Vec<StatusWrite>,
    ) -> Registration {
        self.registering = true;
        let look = std::mem::take(&mut self.doubtful);
        // The others have to be looked at first, and follow.
        let riders: Vec<_> = coming.into_iter().filter(|it| it.is_there).map(|it| (it.id, it.status)).collect();
        for (id, _) in &riders {
            self.writes(id);
        }
        self.coming.extend(ephemerals.1.keys().cloned());
        let stale = known.union(&self.forgotten).flat_map(|id| self.candidates(id)).collect();
        Registration { at, look, ephemerals, riders, stale, known, alive: layout::alive(&self.host) }
    }

    /// Whether the replica is in these ephemerals, and not with the same words in those that are in place.
    fn comes(&self, id: &ReplicaId, (paths, names): &Ephemerals) -> bool {
        let Some(name) = names.get(id) else { return false };
        let path = layout::instance(&id.service, name);
        self.applied.as_ref().and_then(|(_, applied)| applied.get(&path)) != paths.get(&path)
    }

    /// Takes in what a publication came to.
    pub(super) fn published(&mut self, connection: Option<Connection>, published: Published, now: Instant) -> Outcome {
        let Published { at, ephemerals, statuses, writes } = published;
        let mut outcome = Outcome { writes, ..Outcome::default() };
        // What failed over a connection that is gone is tried again over the next one at once.
        let retry = connection.filter(|it| (it.epoch, it.joins) == at).map(|_| now + RETRY);
        let mut errors = Vec::new();
        for (id, result) in statuses {
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
            for id in riders.iter().filter(|id| self.writing.remove(*id)) {
                // It did not ride, or nobody knows whether it did.
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
        let listed = self.maybe_listed();
        let mut before = if self.taken_over { listed } else { known.iter().cloned().collect() };
        before.retain(|id| !names.contains_key(id));
        outcome.unlisted = before;
        outcome.listed = names.keys().cloned().collect();
        self.names = names;
        self.applied = Some((at, paths));
        self.taken_over = true;
        self.forgotten.clear();
    }

    fn is_due(&self, at: Joined, paths: &BTreeMap<String, Vec<u8>>) -> bool {
        let holds = self.applied.as_ref().is_some_and(|(applied_at, applied)| *applied_at == at && applied == paths);
        (self.doubtful || !holds) && !self.resting.contains_key(&None)
    }

    /// The statuses to write now, each with whether its node is known to be there.
    fn due_statuses(&mut self, wanted: &HostReport, now: Instant) -> Vec<StatusWrite> {
        let mut due = Vec::new();
        self.unsettled.retain(|id, _| wanted.statuses.contains_key(id));
        for (id, status) in &wanted.statuses {
            let known = self.statuses.get(id);
            if known.is_some_and(|known| known.says_the_same(status)) {
                self.unsettled.remove(id);
            } else if !self.writing.contains(id) && !self.resting.contains_key(&Some(id.clone())) {
                let since = *self.unsettled.entry(id.clone()).or_insert(now);
                if !is_passing(status) || now >= since + SETTLE {
                    due.push(StatusWrite { id: id.clone(), status: status.clone(), is_there: known.is_some() });
                }
            }
        }
        due
    }

    fn ephemerals(&self, alive: &HostAlive, wanted: &HostReport) -> Ephemerals {
        let names = self.name(wanted.instances.keys());
        let mut paths = BTreeMap::from([(layout::alive(&self.host), encode(alive))]);
        for (id, name) in &names {
            paths.insert(layout::instance(&id.service, name), encode(&wanted.instances[id]));
        }
        (paths, names)
    }

    /// `<host>` for one replica of a service, `<host>@<number>` for its siblings; a name is kept while it is used.
    fn name<'a>(&self, ids: impl Iterator<Item = &'a ReplicaId> + Clone) -> BTreeMap<ReplicaId, String> {
        let kept = ids.clone().filter_map(|id| Some((id.clone(), self.names.get(id)?.clone())));
        let mut names: BTreeMap<ReplicaId, String> = kept.collect();
        for id in ids {
            let bare = self.host.to_string();
            let taken = names.iter().any(|(other, name)| other.service == id.service && *name == bare);
            names
                .entry(id.clone())
                .or_insert_with(|| if taken { format!("{}@{}", self.host, id.number) } else { bare });
        }
        names
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
        let wanted = HostReport { statuses, ..HostReport::default() };
        publisher.due_statuses(&wanted, now).into_iter().map(|due| due.status).collect()
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

        let comes = (BTreeMap::new(), BTreeMap::from([(id.clone(), "web1".to_owned())]));
        let under_way = publisher.registration((1, 1), comes, known.clone(), Vec::new());
        assert!(publisher.lists(&id), "from the moment on that it may land");
        let Registration { at, known, .. } = under_way;
        let result = Err("connection lost".to_owned());
        let registered = Registered { known: known.clone(), result, riders: Vec::new(), seen: false };
        let lost = Published { at, ephemerals: Some(registered), statuses: Vec::new(), writes: 0 };
        publisher.published(None, lost, Instant::now());
        assert!(publisher.lists(&id), "nobody knows whether it landed");
        assert!(publisher.is_due((1, 1), &BTreeMap::new()), "so one looks, even if it is not to be there any more");

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
