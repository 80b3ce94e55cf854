//! What the agent writes to the tree: its host's `alive`, its replicas' `instances` (all ephemeral, together in one
//! transaction), and each replica's `status` when it changes.
//!
//! One publication is under way at a time. It runs beside the agent's loop, so that a slow or lost ZooKeeper holds
//! up nothing else; what has changed meanwhile goes out with the next. What can't be written rests for a moment, by
//! itself, and is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

pub(super) use super::publication::Published;
use super::publication::{Connection, Ephemerals, Publication};
use crate::{
    model::{HostAlive, HostName, Instance, ReplicaId, ReplicaStatus, decode, encode},
    store::{Barrier, Presence, Up, layout},
};

/// What the tree should say of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `None` = the host is not to register yet.
    pub(super) alive: Option<HostAlive>,
    /// The replicas that are up and ready.
    pub(super) instances: BTreeMap<ReplicaId, Instance>,
    /// What the agent sees of each replica.
    pub(super) statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    /// Every replica that concerns this host: what a predecessor left of them is removed unless wanted.
    pub(super) known: BTreeSet<ReplicaId>,
}

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
    /// What was written is in the mirror's batches by now.
    pub(super) seen: bool,
}

/// How long something that could not be written rests. Everything else goes on.
const RETRY: Duration = Duration::from_secs(1);

/// What is known to be in the tree.
#[derive(Debug)]
pub(super) struct Publisher {
    host: HostName,
    barrier: Barrier,
    /// Away while a publication is under way.
    presence: Option<Presence>,
    applied: Option<(Connection, BTreeMap<String, Vec<u8>>)>,
    names: BTreeMap<ReplicaId, String>,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    /// Ephemerals were changed by another hand.
    doubtful: bool,
    /// Statuses that were, since the last publication began.
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
    pub(super) fn new(host: HostName, presence: Presence, barrier: Barrier) -> Self {
        Self {
            host,
            barrier,
            presence: Some(presence),
            applied: None,
            names: BTreeMap::new(),
            statuses: BTreeMap::new(),
            doubtful: false,
            doubted: BTreeSet::new(),
            resting: BTreeMap::new(),
            taken_over: false,
            forgotten: BTreeSet::new(),
        }
    }

    /// Whether the replica is in `instances`, as far as is known.
    pub(super) fn lists(&self, id: &ReplicaId) -> bool {
        self.names.contains_key(id)
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

    /// Whether this process has registered at all.
    pub(super) fn has_taken_over(&self) -> bool {
        self.taken_over
    }

    /// When something that could not be written is due again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.resting.values().min().copied()
    }

    /// There is another connection: nothing rests any more.
    pub(super) fn relinked(&mut self) {
        self.resting.clear();
    }

    /// The session is gone, and its ephemerals with it: the replicas that they listed.
    pub(super) fn session_lost(&mut self) -> Vec<ReplicaId> {
        self.applied = None;
        std::mem::take(&mut self.names).into_keys().collect()
    }

    /// Something of `id`, or of the host, was changed by another hand: look before believing. A publication under way
    /// may have looked before that.
    pub(super) fn doubt(&mut self, id: Option<&ReplicaId>) {
        self.doubtful = true;
        if let Some(id) = id {
            self.statuses.remove(id);
            self.doubted.insert(id.clone());
        }
    }

    /// Forgets what was written of a replica that is no longer this host's.
    pub(super) fn forget(&mut self, id: &ReplicaId) {
        self.statuses.remove(id);
        self.doubted.insert(id.clone());
        if !self.taken_over {
            self.forgotten.insert(id.clone());
        }
    }

    /// Starts writing what differs; `None` when nothing does, or a publication is under way.
    pub(super) fn publish(
        &mut self,
        link: &Up,
        wanted: Wanted,
        now: Instant,
    ) -> Option<impl Future<Output = Published> + use<>> {
        self.resting.retain(|_, until| now < *until);
        self.statuses.retain(|id, _| wanted.known.contains(id));
        let statuses = self.changed_statuses(&wanted);
        let ephemerals = wanted.alive.as_ref().map(|alive| self.ephemerals(alive, &wanted));
        let ephemerals = ephemerals.filter(|(paths, _)| self.is_due(link, paths));
        if ephemerals.is_none() && statuses.is_empty() {
            return None;
        }
        let mut presence = self.presence.take()?;
        if std::mem::take(&mut self.doubtful) {
            presence.invalidate();
        }
        self.doubted.clear();
        let stale = wanted.known.union(&self.forgotten).flat_map(|id| self.candidates(id)).collect();
        let at = (link.epoch, link.joins);
        let (client, barrier) = (link.client.clone(), self.barrier.clone());
        let publication = Publication { client, at, presence, stale, known: wanted.known, barrier };
        Some(publication.run(ephemerals, statuses))
    }

    /// Takes in what a publication came to.
    pub(super) fn published(&mut self, link: Option<&Up>, published: Published, now: Instant) -> Outcome {
        self.presence = Some(published.presence);
        let mut outcome = Outcome { writes: published.writes, seen: published.seen, ..Outcome::default() };
        let mut errors = Vec::new();
        // What failed over a connection that is gone is tried anew over the next one at once.
        let current = link.filter(|up| (up.epoch, up.joins) == published.at);
        for (id, result) in published.statuses {
            let written = result.map_err(|error| errors.push(error)).ok().flatten();
            if written.is_none() && current.is_some() {
                self.resting.insert(Some(id.clone()), now + RETRY);
            }
            match written.filter(|_| !self.doubted.contains(&id)) {
                Some(status) => drop(self.statuses.insert(id, status)),
                None => drop(self.statuses.remove(&id)),
            }
        }
        match published.ephemerals {
            Some(Ok(ephemerals)) if link.is_some_and(|up| up.epoch == published.at.0) => {
                self.applied(published.at, ephemerals, &published.known, &mut outcome);
            }
            Some(Err(error)) => {
                errors.push(error);
                self.resting.extend(current.map(|_| (None, now + RETRY)));
            }
            _ => {}
        }
        outcome.error = errors.into_iter().next();
        outcome
    }

    /// The ephemerals are in place. With the first ones of a process it is certain, too, what a predecessor has not
    /// left in `instances`.
    fn applied(&mut self, at: Connection, applied: Ephemerals, known: &BTreeSet<ReplicaId>, outcome: &mut Outcome) {
        let (paths, names) = applied;
        let before: Vec<_> = if self.taken_over { self.names.keys().collect() } else { known.iter().collect() };
        outcome.unlisted = before.into_iter().filter(|id| !names.contains_key(*id)).cloned().collect();
        outcome.listed = names.keys().cloned().collect();
        self.names = names;
        self.applied = Some((at, paths));
        self.taken_over = true;
        self.forgotten.clear();
    }

    fn is_due(&self, link: &Up, paths: &BTreeMap<String, Vec<u8>>) -> bool {
        let at = (link.epoch, link.joins);
        let holds = self.applied.as_ref().is_some_and(|(applied_at, applied)| *applied_at == at && applied == paths);
        (self.doubtful || !holds) && !self.resting.contains_key(&None)
    }

    fn changed_statuses(&self, wanted: &Wanted) -> Vec<(ReplicaId, ReplicaStatus, bool)> {
        let due = |(id, status): &(&ReplicaId, &ReplicaStatus)| {
            let known = self.statuses.get(*id).is_some_and(|known| known.says_the_same(status));
            !known && !self.resting.contains_key(&Some((*id).clone()))
        };
        let known = |id: &ReplicaId| self.statuses.contains_key(id);
        wanted.statuses.iter().filter(due).map(|(id, status)| (id.clone(), status.clone(), known(id))).collect()
    }

    fn ephemerals(&self, alive: &HostAlive, wanted: &Wanted) -> Ephemerals {
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
