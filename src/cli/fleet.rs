//! The tree as people look at it: services with their replicas, hosts with their work.
//!
//! Tolerant: a document that does not parse is kept with the reason, and everything else is still shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    model::{
        Accepted, Assignment, Desired, DocumentError, HostAlive, HostName, HostSpec, Instance, ReplicaDesired,
        ReplicaId, ReplicaNumber, ReplicaState, ReplicaStatus, Rollout, RolloutAction, RolloutOrder, RolloutState,
        ServiceName, ServiceSpec, ServiceStatus, decode,
    },
    tree::{
        layout::{self, Place},
        node::Node,
    },
};

/// One document, as it is in the tree.
#[derive(Clone, Debug)]
pub(super) struct Document<T> {
    /// The node's version (`Stat.version`).
    pub(super) version: i32,
    /// The transaction that wrote it (`Stat.mzxid`).
    pub(super) mzxid: i64,
    /// What the node holds, if that is JSON.
    pub(super) json: Option<Value>,
    /// What it means, or why it means nothing.
    pub(super) read: Result<T, DocumentError>,
    /// No more was read than that the node is there.
    is_unread: bool,
}

impl<T: DeserializeOwned> Document<T> {
    pub(super) fn of(node: &Node) -> Self {
        let (json, read) = (serde_json::from_slice(&node.data).ok(), decode(&node.data));
        // Each node was written by a transaction.
        Self { version: node.version, mzxid: node.mzxid, json, read, is_unread: node.mzxid == 0 }
    }
}

/// What a document means, when there is one and it means something.
pub(super) fn read<T>(document: Option<&Document<T>>) -> Option<&T> {
    document.and_then(|document| document.read.as_ref().ok())
}

/// A service.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) spec: Option<Document<ServiceSpec>>,
    pub(super) desired: Option<Document<Desired>>,
    pub(super) status: Option<Document<ServiceStatus>>,
    pub(super) replicas: BTreeMap<ReplicaNumber, Replica>,
    /// Ready replicas, by their node's name.
    pub(super) instances: BTreeMap<String, Document<Instance>>,
    /// Rollouts, by their number; the last is the one that counts.
    pub(super) rollouts: BTreeMap<u64, Document<Rollout>>,
    /// The operator's last word on a rollout. There is none as long as the node holds anything else.
    pub(super) order: Option<Document<RolloutOrder>>,
}

/// A replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) desired: Option<Document<ReplicaDesired>>,
    pub(super) status: Option<Document<ReplicaStatus>>,
}

/// A host.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) spec: Option<Document<HostSpec>>,
    pub(super) alive: Option<Document<HostAlive>>,
    pub(super) assigned: BTreeMap<ReplicaId, Document<Assignment>>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    pub(super) services: BTreeMap<ServiceName, Service>,
    pub(super) hosts: BTreeMap<HostName, Host>,
    /// How many controllers are connected, the leader and its standbys.
    pub(super) controllers: usize,
    /// Nodes beside the services and hosts that have no such name, and why not.
    pub(super) misnamed: BTreeMap<String, String>,
}

impl Fleet {
    /// Sorts the nodes of a tree into what they are about; other nodes are left out.
    pub(super) fn of<'n>(nodes: impl IntoIterator<Item = (&'n String, &'n Node)>) -> Self {
        let mut fleet = Self::default();
        for (path, node) in nodes {
            fleet.controllers += usize::from(parent(path) == Some(layout::ELECTION));
            fleet.misnamed.extend(misnamed(path).map(|why| (path.clone(), why)));
            fleet.add(Place::of(path), node);
        }
        fleet
    }

    /// What is in the tree and nothing is done about, a sentence each.
    pub(super) fn left_alone(&self) -> Vec<String> {
        let misnamed = self.misnamed.iter().map(|(path, why)| format!("{path} is left alone: {why}"));
        let unwanted = self.services.iter().filter(|(_, it)| it.desired.is_none() && it.status.is_none());
        let unwanted = unwanted.map(|(name, _)| {
            let path = layout::desired(name);
            format!("nothing of {name} runs: {path} is missing; write it, with `zkops apply` or by hand")
        });
        misnamed.chain(unwanted).collect()
    }

    /// Why a change has no answer yet.
    pub(super) fn no_answer(&self) -> &'static str {
        match self.controllers {
            0 => "no controller is connected: is zkops-controller.service running?",
            _ => "the controller has not taken it up yet",
        }
    }

    fn add(&mut self, place: Place, node: &Node) {
        match place {
            Place::Service(name) => self.service(name).spec = Some(Document::of(node)),
            Place::Desired(name) => self.service(name).desired = Some(Document::of(node)),
            Place::Status(name) => self.service(name).status = Some(Document::of(node)),
            Place::Instance(service, name) => {
                self.service(service).instances.insert(name, Document::of(node));
            }
            Place::Replica(id) => {
                self.replica(id);
            }
            Place::ReplicaDesired(id) => self.replica(id).desired = Some(Document::of(node)),
            Place::ReplicaStatus(id) => self.replica(id).status = Some(Document::of(node)),
            Place::Host(name) => self.host(name).spec = Some(Document::of(node)),
            Place::Alive(name) => self.host(name).alive = Some(Document::of(node)),
            Place::Assignment(host, id) => {
                self.host(host).assigned.insert(id, Document::of(node));
            }
            Place::Rollout(service, number) => {
                self.service(service).rollouts.insert(number, Document::of(node));
            }
            Place::Rollouts(service) => self.service(service).order = Some(Document::of(node)),
            Place::Instances(_)
            | Place::Configs(_)
            | Place::Config(..)
            | Place::Moves(_)
            | Place::Assigned(_)
            | Place::Other => {}
        }
    }

    fn service(&mut self, name: ServiceName) -> &mut Service {
        self.services.entry(name).or_default()
    }

    fn replica(&mut self, id: ReplicaId) -> &mut Replica {
        self.service(id.service).replicas.entry(id.number).or_default()
    }

    fn host(&mut self, name: HostName) -> &mut Host {
        self.hosts.entry(name).or_default()
    }

    /// Whether the host's agent is there.
    pub(super) fn is_alive(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|host| host.alive.is_some())
    }

    /// What a replica is doing, in one word.
    pub(super) fn state(&self, replica: &Replica) -> State {
        let Some(desired) = read(replica.desired.as_ref()) else { return State::Unplaced };
        let Some(node) = &desired.node else { return State::Unplaced };
        if !self.is_alive(node) {
            return State::Lost;
        }
        replica.status_on(node).map_or(State::Seen(ReplicaState::Pending), |status| State::Seen(status.state))
    }
}

/// Why the node next to the services or hosts is none of them.
fn misnamed(path: &str) -> Option<String> {
    match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["services", name] => name.parse::<ServiceName>().err().map(|error| error.to_string()),
        ["hosts", name] => name.parse::<HostName>().err().map(|error| error.to_string()),
        _ => None,
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl Service {
    /// The description in force: the last that was accepted, else the one that is there.
    pub(super) fn spec_in_force(&self) -> Option<&ServiceSpec> {
        let accepted = read(self.status.as_ref()).and_then(|status| status.accepted.as_ref());
        accepted.map(|accepted| &accepted.service).or_else(|| read(self.spec.as_ref()))
    }

    /// The desired state that is written, else the last accepted one.
    pub(super) fn desired_or_accepted(&self) -> Option<&Desired> {
        let accepted = read(self.status.as_ref()).and_then(|status| status.accepted.as_ref());
        read(self.desired.as_ref()).or(accepted.map(|accepted| &accepted.desired))
    }

    /// The numbers of the replicas that are up and ready.
    pub(super) fn ready(&self) -> BTreeSet<ReplicaNumber> {
        self.instances.values().filter_map(|instance| Some(instance.read.as_ref().ok()?.replica)).collect()
    }

    /// How many replicas are up and ready; also when it was read no more than that their nodes are there.
    pub(super) fn listed(&self) -> usize {
        self.ready().len() + self.instances.values().filter(|instance| instance.is_unread).count()
    }

    /// The documents in force.
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        read(self.status.as_ref())?.accepted.as_ref()
    }

    /// The rollout that counts.
    pub(super) fn newest_rollout(&self) -> Option<(u64, &Rollout)> {
        let (number, document) = self.rollouts.last_key_value()?;
        Some((*number, document.read.as_ref().ok()?))
    }

    /// How many replicas are healthy with what this rollout brings, and how many there are to be.
    pub(super) fn rollout_progress(&self, number: u64, rollout: &Rollout) -> (u32, u32) {
        let summary = read(self.status.as_ref()).and_then(|status| status.rollout.as_ref());
        match summary.filter(|summary| summary.number == number) {
            Some(summary) => (summary.healthy, summary.total),
            None => (rollout.healthy, self.desired_or_accepted().map_or(0, |desired| desired.replicas)),
        }
    }

    /// Whether the rollout brings what is in force now, rather than what was wanted before.
    pub(super) fn is_wanted(&self, rollout: &Rollout) -> bool {
        let Some(Accepted { service, desired }) = self.accepted() else { return true };
        let revision = &rollout.revision;
        revision.version == desired.version
            && revision.config_version == desired.config_version
            && service.is_brought_by(revision)
    }

    /// The operator's word on the newest rollout that the controller has not carried out yet.
    pub(super) fn open_order(&self) -> Option<&RolloutOrder> {
        let document = self.order.as_ref()?;
        let order = document.read.as_ref().ok()?;
        let (number, rollout) = self.newest_rollout()?;
        let again = rollout.state == RolloutState::RolledBack && order.action == RolloutAction::Resume;
        let can_be = !rollout.state.has_ended() || again;
        (order.rollout == number && can_be && rollout.order < Some(document.version)).then_some(order)
    }

    /// Whether the controller has answered to what is written now.
    pub(super) fn is_observed(&self) -> bool {
        let Some(status) = read(self.status.as_ref()) else { return false };
        let seen =
            |observed: Option<i32>, written: Option<i32>| written.is_none_or(|written| observed >= Some(written));
        seen(status.observed_desired, self.desired.as_ref().map(|document| document.version))
            && seen(status.observed_service, self.spec.as_ref().map(|document| document.version))
    }
}

impl Replica {
    /// What its host's agent says of it; what another host's agent once said no longer counts.
    pub(super) fn status_on(&self, host: &HostName) -> Option<&ReplicaStatus> {
        read(self.status.as_ref()).filter(|status| status.node == *host)
    }

    /// What the agent of the host that it is placed on says of it.
    pub(super) fn current_status(&self) -> Option<&ReplicaStatus> {
        self.status_on(self.host()?)
    }

    /// The host it is placed on.
    pub(super) fn host(&self) -> Option<&HostName> {
        read(self.desired.as_ref())?.node.as_ref()
    }
}

impl Host {
    /// Its labels: the agent's own, overridden by the operator's.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = read(self.alive.as_ref()).map(|alive| alive.labels.clone()).unwrap_or_default();
        labels.extend(self.word().labels);
        labels
    }

    /// The operator's word on it; an empty node is no word.
    pub(super) fn word(&self) -> HostSpec {
        read(self.spec.as_ref()).cloned().unwrap_or_default()
    }
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is on no host.
    Unplaced,
    /// Its host's agent is gone, so nobody knows.
    Lost,
    /// What its host's agent says.
    Seen(ReplicaState),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Unplaced => "unplaced",
            Self::Lost => "lost",
            Self::Seen(state) => state.as_str(),
        })
    }
}
