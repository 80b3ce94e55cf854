//! The tree as the controller sees it: a typed snapshot, kept up to date change by change.
//!
//! Nothing here decides. A document that cannot be read is kept as its error, because "someone wrote nonsense" is
//! something to plan for; nodes that zkops does not know are kept by path, because they block deletions.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::de::DeserializeOwned;

use crate::{
    model::{
        Assignment, Desired, DocumentError, HostAlive, HostName, HostSpec, Instance, Moves, Problem, ReplicaDesired,
        ReplicaId, ReplicaNumber, ReplicaStatus, Rollout, RolloutOrder, ServiceName, ServiceSpec, ServiceStatus,
        decode,
    },
    tree::layout::Place,
};

/// A node's document, or why its data is none, and the version of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc<T> {
    /// The document.
    pub value: Result<T, DocumentError>,
    /// The node's version (`Stat.version`).
    pub version: i32,
}

impl<T> Doc<T> {
    /// The document, when it can be read.
    pub fn good(&self) -> Option<&T> {
        self.value.as_ref().ok()
    }
}

/// A node as the mirror hands it over: its data and its version.
type Node<'n> = (&'n [u8], i32);

/// The part of the tree below `/services` and `/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// By name; a service is here while any node of it exists.
    pub services: BTreeMap<ServiceName, ServiceView>,
    /// By name; a host is here while any node of it exists.
    pub hosts: BTreeMap<HostName, HostView>,
    /// Children of `/services` and `/hosts` whose name is none: path → what is wrong with it.
    pub problems: BTreeMap<String, String>,
}

/// One service's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceView {
    /// `/services/<svc>`; what [`ServiceSpec::problems`] finds counts as unreadable.
    pub spec: Option<Doc<ServiceSpec>>,
    /// `/services/<svc>/desired`; what [`Desired::problems`] finds counts as unreadable.
    pub desired: Option<Doc<Desired>>,
    /// `/services/<svc>/status`; what [`ServiceStatus::problems`] finds counts as unreadable.
    pub status: Option<Doc<ServiceStatus>>,
    /// The version of `/services/<svc>/instances`, when it exists.
    pub instances_version: Option<i32>,
    /// `/services/<svc>/instances/*`, by name: `<host>` or `<host>@<number>`.
    pub instances: BTreeMap<String, Doc<Instance>>,
    /// `/services/<svc>/<n>`
    pub replicas: BTreeMap<ReplicaNumber, ReplicaView>,
    /// `/services/<svc>/rollouts`: the operator's last word; an empty document is none.
    pub rollouts_node: Option<Doc<Option<RolloutOrder>>>,
    /// `/services/<svc>/rollouts/*`; what [`Rollout::problems`] finds counts as unreadable.
    pub rollouts: BTreeMap<u64, Doc<Rollout>>,
    /// `/services/<svc>/moves`
    pub moves: Option<Doc<Moves>>,
    /// `/services/<svc>/config/*`: which revisions there are.
    pub configs: BTreeSet<u64>,
    /// Every other node below the service, and those of its configuration, its rollouts and its moves once more: path → version.
    pub others: BTreeMap<String, i32>,
}

/// One replica's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaView {
    /// The version of `/services/<svc>/<n>` itself.
    pub version: Option<i32>,
    /// `/services/<svc>/<n>/desired`
    pub desired: Option<Doc<ReplicaDesired>>,
    /// `/services/<svc>/<n>/status`
    pub status: Option<Doc<ReplicaStatus>>,
}

/// One host's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    /// `/hosts/<host>`; an empty document is the default.
    pub spec: Option<Doc<HostSpec>>,
    /// `/hosts/<host>/alive`
    pub alive: Option<Doc<HostAlive>>,
    /// Whether `/hosts/<host>/assigned` exists.
    pub has_assigned: bool,
    /// `/hosts/<host>/assigned/<svc>.<n>`
    pub assigned: BTreeMap<ReplicaId, Doc<Assignment>>,
    /// Every other node below the host: path → version.
    pub others: BTreeMap<String, i32>,
}

impl Cluster {
    /// Takes in one change of the tree: the node at `path` now has this data and version, or is gone.
    pub fn apply(&mut self, path: &str, node: Option<Node<'_>>) {
        let version = node.map(|(_, version)| version);
        match Place::of(path) {
            Place::Service(name) => self.service(name, |view| view.spec = node.map(read_spec)),
            Place::Desired(name) => self.service(name, |view| view.desired = node.map(read_desired)),
            Place::Status(name) => self.service(name, |view| view.status = node.map(read_status)),
            Place::Instances(name) => self.service(name, |view| view.instances_version = node.map(|(_, v)| v)),
            Place::Instance(name, instance) => {
                self.service(name, |view| put(&mut view.instances, instance, node.map(read)));
            }
            Place::Replica(id) => self.replica(id, |view| view.version = node.map(|(_, version)| version)),
            Place::ReplicaDesired(id) => self.replica(id, |view| view.desired = node.map(read_replica_desired)),
            Place::ReplicaStatus(id) => self.replica(id, |view| view.status = node.map(read)),
            Place::Host(name) => self.host(name, |view| view.spec = node.map(read_host)),
            Place::Alive(name) => self.host(name, |view| view.alive = node.map(read)),
            Place::Assigned(name) => self.host(name, |view| view.has_assigned = node.is_some()),
            Place::Assignment(name, id) => {
                self.host(name, |view| put(&mut view.assigned, id, node.map(read_assignment)));
            }
            Place::Configs(_) | Place::Other => self.other(path, version),
            Place::Config(name, revision) => {
                self.service(name, |view| {
                    if node.is_some() {
                        view.configs.insert(revision)
                    } else {
                        view.configs.remove(&revision)
                    };
                });
                self.other(path, version);
            }
            Place::Moves(name) => {
                self.service(name, |view| view.moves = node.map(read));
                self.other(path, version);
            }
            Place::Rollouts(name) => {
                self.service(name, |view| view.rollouts_node = node.map(read_order));
                self.other(path, version);
            }
            Place::Rollout(name, number) => {
                self.service(name, |view| put(&mut view.rollouts, number, node.map(read_rollout)));
                self.other(path, version);
            }
        }
    }

    fn service(&mut self, name: ServiceName, change: impl FnOnce(&mut ServiceView)) {
        edit(&mut self.services, name, change, ServiceView::is_empty);
    }

    fn replica(&mut self, id: ReplicaId, change: impl FnOnce(&mut ReplicaView)) {
        let ReplicaId { service, number } = id;
        self.service(service, |view| {
            edit(&mut view.replicas, number, change, |replica| *replica == ReplicaView::default());
        });
    }

    fn host(&mut self, name: HostName, change: impl FnOnce(&mut HostView)) {
        edit(&mut self.hosts, name, change, HostView::is_empty);
    }

    /// A node that has no place: below a service or host it is kept there, else its name may be a problem.
    fn other(&mut self, path: &str, version: Option<i32>) {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["services", name, ..] if name.parse::<ServiceName>().is_ok() => {
                let Ok(name) = name.parse() else { return };
                self.service(name, |view| put(&mut view.others, path.to_owned(), version));
            }
            ["hosts", name, ..] if name.parse::<HostName>().is_ok() => {
                let Ok(name) = name.parse() else { return };
                self.host(name, |view| put(&mut view.others, path.to_owned(), version));
            }
            ["services", name] => self.problem(path, version, name.parse::<ServiceName>().err()),
            ["hosts", name] => self.problem(path, version, name.parse::<HostName>().err()),
            _ => {}
        }
    }

    fn problem(&mut self, path: &str, version: Option<i32>, error: Option<crate::model::InvalidName>) {
        put(&mut self.problems, path.to_owned(), version.and(error).map(|error| error.to_string()));
    }
}

impl ServiceView {
    /// Whether `instances` has the replica `number` on `node`.
    pub fn lists(&self, node: &HostName, number: ReplicaNumber) -> bool {
        let is_it = |name: &str| self.instances.get(name).and_then(Doc::good).is_some_and(|it| it.replica == number);
        is_it(node.as_str()) || is_it(&format!("{node}@{number}"))
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl HostView {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A label: the operator's, else the agent's own.
    pub fn label(&self, key: &str) -> Option<&str> {
        let operators = self.spec.as_ref().and_then(Doc::good).and_then(|spec| spec.labels.get(key));
        let agents = || self.alive.as_ref().and_then(Doc::good).and_then(|alive| alive.labels.get(key));
        operators.or_else(agents).map(String::as_str)
    }
}

/// The nodes of `others` that are below `path`.
pub(crate) fn below<'o>(others: &'o BTreeMap<String, i32>, path: &str) -> impl Iterator<Item = &'o str> {
    let prefix = format!("{path}/");
    others.range(prefix.clone()..).map(|(other, _)| other.as_str()).take_while(move |other| other.starts_with(&prefix))
}

/// Changes the value at `key`, made when missing, and drops it when nothing is left of it.
fn edit<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, change: impl FnOnce(&mut V), empty: fn(&V) -> bool) {
    match map.entry(key) {
        Entry::Occupied(mut entry) => {
            change(entry.get_mut());
            if empty(entry.get()) {
                entry.remove();
            }
        }
        Entry::Vacant(entry) => {
            let mut value = V::default();
            change(&mut value);
            if !empty(&value) {
                entry.insert(value);
            }
        }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn read<T: DeserializeOwned>((data, version): Node<'_>) -> Doc<T> {
    Doc { value: decode(data), version }
}

fn read_host((data, version): Node<'_>) -> Doc<HostSpec> {
    let value = if data.trim_ascii().is_empty() { Ok(HostSpec::default()) } else { decode(data) };
    Doc { value, version }
}

/// The operator's last word; nothing, or a document without keys, is none.
fn read_order((data, version): Node<'_>) -> Doc<Option<RolloutOrder>> {
    let none = matches!(data.trim_ascii(), b"" | b"{}");
    Doc { value: if none { Ok(None) } else { decode(data).map(Some) }, version }
}

fn read_desired(node: Node<'_>) -> Doc<Desired> {
    read_sound(node, Desired::problems)
}

fn read_replica_desired(node: Node<'_>) -> Doc<ReplicaDesired> {
    read_sound(node, ReplicaDesired::problems)
}

/// The leader wrote it, or somebody else: what it has of the operator's is as little believed as the operator's own.
fn read_status(node: Node<'_>) -> Doc<ServiceStatus> {
    read_sound(node, ServiceStatus::problems)
}

fn read_rollout(node: Node<'_>) -> Doc<Rollout> {
    read_sound(node, Rollout::problems)
}

/// As its agent checks it, so that none counts here which is not acted on there.
fn read_assignment(node: Node<'_>) -> Doc<Assignment> {
    // To write each one again for its size would take long.
    let is_large = node.0.len() > Assignment::MAX_BYTES / 2;
    read_sound(node, if is_large { Assignment::problems } else { Assignment::content_problems })
}

/// A document in which nothing is wrong beyond its shape either.
fn read_sound<T: DeserializeOwned>(node: Node<'_>, problems: fn(&T) -> Vec<Problem>) -> Doc<T> {
    let doc = read(node);
    Doc { value: doc.value.and_then(|document| sound(problems(&document)).map(|()| document)), ..doc }
}

fn read_spec(node: Node<'_>) -> Doc<ServiceSpec> {
    let (data, version) = node;
    if data.len() > ServiceSpec::MAX_BYTES {
        let message = format!("has {} bytes, {} are allowed", data.len(), ServiceSpec::MAX_BYTES);
        return Doc { value: Err(DocumentError::Invalid(Problem::new(".", message))), version };
    }
    read_sound(node, ServiceSpec::problems)
}

/// No problems, or the first of them, which says how many more there are.
fn sound(problems: Vec<Problem>) -> Result<(), DocumentError> {
    let more = problems.len().saturating_sub(1);
    let Some(mut first) = problems.into_iter().next() else { return Ok(()) };
    if more > 0 {
        first.message = format!("{} (and {more} more problems)", first.message);
    }
    Err(DocumentError::Invalid(first))
}
