//! What this host is to run: the assignments in the tree, and while those are out of reach the ledger's.
//!
//! The replica's `desired` is the authority, the assignment its index on this host. When an assignment vanishes,
//! the replica is given up only once its `desired` has been read and names another host, or is gone: an index that
//! somebody deleted by hand stops nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    model::{CheckedAssignment, HostAlive, HostName, HostSpec, Ledger, ReplicaId, decode},
    plan::agent::memory::Backoff,
    tree::{
        layout::{self, Place},
        node::{Change, Node},
    },
};

/// How long a replica rests that is kept though its assignment is missing, before its `desired` is read again.
const KEPT: Backoff = Backoff::new(1, 128);

/// So often it is read again: by then the tree is read in full, which asks again.
const MOST_ASKED: u32 = 8;

/// Where the work comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nowhere yet: ZooKeeper is being asked. Nothing is started or stopped.
    Waiting,
    /// ZooKeeper is out of reach since the agent's start: the ledger's replicas run on, or are started.
    Ledger,
    /// The tree, as last seen.
    Tree,
}

/// What is wanted of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is this host's.
    Ours(CheckedAssignment),
    /// It was, and whether it still is has yet to be found out: it is left as it is.
    Unsure(CheckedAssignment),
    /// It was, and is no more: what this host prepared it as.
    Gone(CheckedAssignment),
}

/// An assignment that no check lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The znode's version.
    pub version: i32,
    /// Path, key and reason.
    pub why: String,
}

/// A replica that is kept though its assignment is missing.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// How often its `desired` was read again.
    asked: u32,
    /// When it is next.
    ask_at: Option<Instant>,
}

/// This host's work.
#[derive(Clone, Debug)]
pub struct Work {
    host: HostName,
    machine_id: String,
    basis: Basis,
    /// The machine that holds this host's name in the tree, while it is another: its work is not this host's.
    held_by: Option<String>,
    /// Whose `alive` the tree has.
    alive: Option<i64>,
    tree: BTreeMap<ReplicaId, CheckedAssignment>,
    versions: BTreeMap<ReplicaId, i32>,
    unreadable: BTreeMap<ReplicaId, Unreadable>,
    present: BTreeSet<ReplicaId>,
    given_up: BTreeSet<ReplicaId>,
    kept: BTreeMap<ReplicaId, Kept>,
    operators_labels: BTreeMap<String, String>,
}

/// What a change of the tree asks of the agent beyond planning again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The host's `alive` changed: whose it is now.
    Alive(Option<i64>),
    /// New or changed work.
    Fresh(ReplicaId),
    /// The controller wrote the same work again: it misses something that this agent should have written.
    Nudged(ReplicaId),
    /// The work is not acted on, and why; the last good one stays in force.
    Unreadable(ReplicaId, String),
    /// Some labels of the host are left out: the path, and what is wrong with each.
    BadLabels(String, Vec<String>),
}

impl Work {
    /// No work known yet.
    pub fn new(host: HostName, machine_id: String) -> Self {
        Self {
            host,
            machine_id,
            held_by: None,
            basis: Basis::Waiting,
            alive: None,
            tree: BTreeMap::new(),
            versions: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            present: BTreeSet::new(),
            given_up: BTreeSet::new(),
            kept: BTreeMap::new(),
            operators_labels: BTreeMap::new(),
        }
    }

    /// Where the work comes from.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The tree has been read in full.
    pub fn synced(&mut self) {
        self.kept.clear();
        self.basis = Basis::Tree;
    }

    /// ZooKeeper did not answer in time: go on with the ledger.
    pub fn out_of_reach(&mut self) {
        if self.basis == Basis::Waiting {
            self.basis = Basis::Ledger;
        }
    }

    /// Takes a change of the tree in. `ledger` tells work that is known from work that is new.
    pub fn apply(&mut self, change: &Change, ledger: &Ledger) -> Effect {
        match Place::of(&change.path) {
            Place::Alive(host) if host == self.host => {
                self.alive = change.node.as_ref().map(|node| node.ephemeral_owner);
                let alive = change.node.as_ref().and_then(|node| decode::<HostAlive>(&node.data).ok());
                self.held_by = alive.map(|alive| alive.machine_id).filter(|machine| *machine != self.machine_id);
                Effect::Alive(self.alive)
            }
            Place::Assignment(host, id) if host == self.host => match &change.node {
                Some(node) => self.assigned(id, node, ledger),
                None => self.withdrawn(&id, ledger),
            },
            Place::Host(host) if host == self.host => {
                let spec = change.node.as_ref().and_then(|node| decode::<HostSpec>(&node.data).ok());
                let spec = spec.unwrap_or_default();
                let bad: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
                self.operators_labels = spec.good_labels();
                if bad.is_empty() { Effect::None } else { Effect::BadLabels(change.path.clone(), bad) }
            }
            _ => Effect::None,
        }
    }

    /// The host's labels: the agent's own, and over them the operator's.
    pub fn labels(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        own.iter().chain(&self.operators_labels).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn assigned(&mut self, id: ReplicaId, node: &Node, ledger: &Ledger) -> Effect {
        self.present.insert(id.clone());
        self.given_up.remove(&id);
        self.kept.remove(&id);
        let assignment = match decode::<CheckedAssignment>(&node.data) {
            Ok(assignment) => assignment,
            Err(error) => {
                let why = format!("{}: {error}", layout::assignment(&self.host, &id));
                self.unreadable.insert(id.clone(), Unreadable { version: node.version, why: why.clone() });
                return Effect::Unreadable(id, why);
            }
        };
        self.unreadable.remove(&id);
        self.versions.insert(id.clone(), node.version);
        let known = self.tree.get(&id).or_else(|| ledger.replicas.get(&id).map(|record| &record.assignment));
        let seen_before = self.tree.contains_key(&id);
        let same = known == Some(&assignment);
        self.tree.insert(id.clone(), assignment);
        match (same, seen_before) {
            (false, _) => Effect::Fresh(id),
            (true, true) => Effect::Nudged(id),
            (true, false) => Effect::None,
        }
    }

    /// The assignment is gone. What this agent never prepared (it refused it, say) is not its to stop.
    fn withdrawn(&mut self, id: &ReplicaId, ledger: &Ledger) -> Effect {
        if !ledger.replicas.contains_key(id) {
            self.tree.remove(id);
        }
        self.present.remove(id);
        self.versions.remove(id);
        self.unreadable.remove(id);
        Effect::None
    }

    /// Whether the replica's assignment is missing though this host runs it: its `desired` must be read.
    pub fn is_unconfirmed(&self, id: &ReplicaId, ledger: &Ledger) -> bool {
        let is_known = ledger.replicas.contains_key(id) || self.tree.contains_key(id);
        self.is_told() && is_known && !self.is_settled(id)
    }

    /// Whether what the tree says is said to this machine.
    fn is_told(&self) -> bool {
        self.basis == Basis::Tree && self.held_by.is_none()
    }

    fn is_settled(&self, id: &ReplicaId) -> bool {
        self.present.contains(id) || self.given_up.contains(id) || self.kept.contains_key(id)
    }

    /// The replica's `desired` was read: it is still this host's, only its index is missing. Whether that is new.
    pub fn keep(&mut self, id: &ReplicaId, now: Instant) -> bool {
        let asked = self.kept.get(id).map_or(0, |kept| kept.asked + 1);
        let ask_at = (asked < MOST_ASKED).then(|| now + KEPT.rest(asked));
        self.kept.insert(id.clone(), Kept { asked, ask_at }).is_none()
    }

    /// The replicas that are kept though their assignment is missing, and when their `desired` must be read again.
    pub fn kept(&self) -> impl Iterator<Item = (&ReplicaId, Instant)> {
        let kept = self.kept.iter().filter(|_| self.is_told());
        kept.filter_map(|(id, kept)| Some((id, kept.ask_at?)))
    }

    /// The replica's `desired` was read: it is another host's, or gone.
    pub fn give_up(&mut self, id: &ReplicaId) {
        if !self.present.contains(id) {
            self.kept.remove(id);
            self.given_up.insert(id.clone());
        }
    }

    /// The replica is stopped and its files are gone.
    pub fn forget(&mut self, id: &ReplicaId) {
        self.given_up.remove(id);
        self.kept.remove(id);
        if !self.present.contains(id) {
            self.tree.remove(id);
        }
    }

    /// Why the replica's assignment is not acted on, if so.
    pub fn unreadable(&self, id: &ReplicaId) -> Option<&Unreadable> {
        self.unreadable.get(id)
    }

    /// Why the replica's assignment is not acted on, if there is nothing else of it.
    pub fn unusable(&self, id: &ReplicaId, ledger: &Ledger) -> Option<&Unreadable> {
        let is_known = self.tree.contains_key(id) || ledger.replicas.contains_key(id);
        self.unreadable.get(id).filter(|_| !is_known)
    }

    /// The machine that holds this host's name in the tree, if it is another.
    pub fn held_by(&self) -> Option<&str> {
        self.held_by.as_deref()
    }

    /// The session whose `alive` the tree has, as last seen.
    pub fn alive_owner(&self) -> Option<i64> {
        self.alive
    }

    /// The znode version of the replica's assignment, while the tree has one.
    pub fn version(&self, id: &ReplicaId) -> Option<i32> {
        self.versions.get(id).copied()
    }

    /// Whether the tree has an assignment for the replica, readable or not.
    pub fn is_present(&self, id: &ReplicaId) -> bool {
        self.present.contains(id)
    }

    /// What the tree wants of this host's replicas, as last seen.
    pub fn wanted(&self) -> &BTreeMap<ReplicaId, CheckedAssignment> {
        &self.tree
    }

    /// The replicas of which the tree has said anything.
    pub fn ids(&self) -> impl Iterator<Item = &ReplicaId> {
        self.tree.keys().chain(&self.present).chain(&self.given_up).chain(self.kept.keys())
    }

    /// What is wanted of the replica, if it concerns this host.
    pub fn claim(&self, id: &ReplicaId, ledger: &Ledger) -> Option<Claim> {
        if self.basis == Basis::Waiting {
            return None;
        }
        let record = ledger.replicas.get(id);
        let prepared = record.map(|record| record.assignment.clone());
        if self.held_by.is_some() {
            // What the tree says is for the other machine; what runs here is left as it is.
            return prepared.map(Claim::Unsure);
        }
        if self.given_up.contains(id) {
            // What the tree said last may never have been in force, or not even allowed here.
            return prepared.map(Claim::Gone);
        }
        let in_tree = self.tree.get(id).cloned();
        let settled = if self.basis == Basis::Tree { self.is_settled(id) } else { true };
        let known = in_tree.is_some() || record.is_some_and(|record| !record.is_found());
        let claim = if settled && known { Claim::Ours } else { Claim::Unsure };
        in_tree.or(prepared).map(claim)
    }
}
