//! One host, as placement sees it.

use jiff::Timestamp;

use super::Context;
use crate::{
    model::{Assignment, HostName, ReplicaId, ReplicaNumber, Selector},
    tree::{
        layout,
        snapshot::{Doc, HostView, ServiceView},
    },
};

/// An index into [`Fleet::hosts`](super::fleet::Fleet::hosts).
pub(super) type HostIndex = usize;

/// One host.
pub(super) struct Host<'a> {
    pub(super) name: &'a HostName,
    /// Its nodes; `None` when only a replica names it.
    pub(super) view: Option<&'a HostView>,
    /// Since when it is without `alive`; `None` while its agent's session is alive.
    pub(super) lost_since: Option<Timestamp>,
    /// Why nothing new is placed on it.
    pub(super) closed: Option<Closed>,
    /// Replicas of all services on it, those on their way out included.
    pub(super) load: u32,
}

/// Why nothing new is placed on a host, whatever the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closed {
    Lost,
    Draining,
    Cordoned,
    /// Its documents cannot be read: nothing is placed there, and nothing moved away.
    Unreadable,
    /// It has no `assigned` node at present: the plan creates it.
    Unready,
}

impl<'a> Host<'a> {
    pub(super) fn new(name: &'a HostName, view: Option<&'a HostView>, context: &Context) -> Self {
        let alive = view.is_some_and(|view| view.alive.is_some());
        let lost_since = (!alive).then(|| context.lost_since.get(name).copied().unwrap_or(context.now));
        let closed = view.map_or(Some(Closed::Lost), closed);
        Self { name, view, lost_since, closed, load: 0 }
    }

    pub(super) fn alive(&self) -> bool {
        self.lost_since.is_none()
    }

    /// Whether its agent ever joined; an operator may describe a host before it does.
    pub(super) fn was_ever_here(&self) -> bool {
        self.alive() || self.view.is_some_and(|view| view.has_assigned)
    }

    /// Whether replicas are on it, or may be.
    pub(super) fn has_work(&self) -> bool {
        self.load > 0 || self.view.is_some_and(|view| !view.assigned.is_empty())
    }

    /// A label's value; the agent's own labels are known only while it is alive.
    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.view.and_then(|view| view.label(key))
    }

    /// The first of the selectors that the host does not meet.
    pub(super) fn fails<'s>(&self, constraints: &'s [Selector]) -> Option<&'s Selector> {
        constraints.iter().find(|selector| !selector.accepts(self.label(selector.key())))
    }

    pub(super) fn assignment(&self, id: &ReplicaId) -> Option<&'a Doc<Assignment>> {
        self.view.and_then(|view| view.assigned.get(id))
    }

    /// Path and reason of each of its documents that cannot be read.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let spec = self.view.and_then(|view| view.spec.as_ref()).and_then(|doc| doc.value.as_ref().err());
        let alive = self.view.and_then(|view| view.alive.as_ref()).and_then(|doc| doc.value.as_ref().err());
        let spec = spec.map(|error| (layout::host(self.name), error.to_string()));
        let alive = alive.map(|error| (layout::alive(self.name), error.to_string()));
        spec.into_iter().chain(alive).collect()
    }
}

/// The operator's word counts before the agent's absence, so that an operator who drains a host reads that.
fn closed(view: &HostView) -> Option<Closed> {
    let spec = view.spec.as_ref().map(|doc| doc.value.as_ref());
    let alive = view.alive.as_ref().map(|doc| doc.value.as_ref());
    match (spec, alive) {
        (Some(Ok(spec)), _) if spec.drain => Some(Closed::Draining),
        (_, None) => Some(Closed::Lost),
        (Some(Ok(spec)), _) if spec.cordon => Some(Closed::Cordoned),
        (None | Some(Err(_)), _) | (_, Some(Err(_))) => Some(Closed::Unreadable),
        (Some(Ok(_)), Some(Ok(_))) => (!view.has_assigned).then_some(Closed::Unready),
    }
}

/// Where a replica is to run, by its own document.
pub(super) fn placed_on(service: &ServiceView, number: ReplicaNumber) -> Option<&HostName> {
    service.replicas.get(&number)?.desired.as_ref()?.good()?.node.as_ref()
}
