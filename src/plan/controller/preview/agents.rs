//! Agents as one wishes them: whatever they are told they do at once, and it is ready.

use std::{collections::BTreeSet, rc::Rc};

use jiff::Timestamp;

use super::world::World;
use crate::{
    model::{Assignment, HostName, Instance, Mode, ReplicaId, ReplicaState, ReplicaStatus, encode},
    tree::{
        layout::{self, Place},
        snapshot::{Doc, HostView, ServiceView},
    },
};

/// All of them.
pub(super) struct Agents {
    /// What the agent of which host has to look at.
    to_do: BTreeSet<(HostName, ReplicaId)>,
}

impl Agents {
    /// They begin with what is on its way: what has not been answered, and what is not at rest.
    pub(super) fn of(world: &World) -> Self {
        let alive = world.cluster.hosts.iter().filter(|(_, host)| host.alive.is_some());
        let under_way = alive.flat_map(|(name, host)| {
            let ids = host.assigned.iter().filter(|(id, doc)| is_under_way(world, name, id, doc));
            ids.map(|(id, _)| (name.clone(), id.clone()))
        });
        Self { to_do: under_way.collect() }
    }

    /// These nodes have changed.
    pub(super) fn notice(&mut self, changed: &[Rc<str>]) {
        let assignments = changed.iter().filter_map(|path| match Place::of(path) {
            Place::Assignment(host, id) => Some((host, id)),
            _ => None,
        });
        self.to_do.extend(assignments);
    }

    /// Does all that there is to do. What cannot be done yet is kept.
    pub(super) fn act(&mut self, world: &mut World, now: Timestamp) {
        self.to_do.retain(|(host, id)| !attend(world, host, id, now));
    }
}

/// Whether the agent has yet to do something by itself.
fn is_under_way(world: &World, host: &HostName, id: &ReplicaId, doc: &Doc<Assignment>) -> bool {
    let Some(service) = world.cluster.services.get(&id.service) else { return false };
    let status = service.replicas.get(&id.number).and_then(|replica| replica.status.as_ref()?.good());
    let Some(status) = status.filter(|status| status.node == *host) else { return true };
    let enabled = doc.good().is_some_and(|assignment| assignment.mode == Mode::Enabled);
    if status.assignment.is_some_and(|answered| answered != doc.version) {
        return true;
    }
    match status.state {
        ReplicaState::Failed | ReplicaState::Refused => false,
        ReplicaState::Running if enabled => {
            let listed = service.lists(host, id.number);
            status.unconfirmed || status.ready && !listed || !status.ready && is_on_trial(service, id)
        }
        ReplicaState::Stopped => enabled,
        _ => true,
    }
}

/// Whether a rollout waits for it to become healthy.
fn is_on_trial(service: &ServiceView, id: &ReplicaId) -> bool {
    let record = service.rollouts.values().next_back().and_then(Doc::good);
    record.is_some_and(|record| !record.state.has_ended() && record.updating.contains_key(&id.number))
}

/// Whether it is done with that.
fn attend(world: &mut World, host: &HostName, id: &ReplicaId, now: Timestamp) -> bool {
    let Some(view) = world.cluster.hosts.get(host).filter(|view| view.alive.is_some()) else { return true };
    let Some((wanted, version)) = assignment(view, id) else {
        unlist(world, host, id);
        return true;
    };
    let state = if wanted.mode == Mode::Enabled { ReplicaState::Running } else { ReplicaState::Stopped };
    if state != ReplicaState::Running {
        unlist(world, host, id);
    }
    say(world, host, id, &wanted, (state, version), now);
    state != ReplicaState::Running || list(world, host, id, &wanted, now)
}

fn assignment(host: &HostView, id: &ReplicaId) -> Option<(Assignment, i32)> {
    let doc = host.assigned.get(id)?;
    Some((doc.good()?.clone(), doc.version))
}

fn unlist(world: &mut World, host: &HostName, id: &ReplicaId) {
    let Some(service) = world.cluster.services.get(&id.service) else { return };
    let listed = names(host, id).into_iter().filter(|name| {
        service.instances.get(name).is_some_and(|doc| doc.good().is_none_or(|it| it.replica == id.number))
    });
    let paths: Vec<String> = listed.map(|name| layout::instance(&id.service, &name)).collect();
    for path in &paths {
        world.delete_all(path);
    }
}

/// By which a replica may be listed: a host that has one of the service alone may use its own name.
fn names(host: &HostName, id: &ReplicaId) -> [String; 2] {
    [host.to_string(), format!("{host}@{}", id.number)]
}

/// Whether it could be listed: not before there is a place for that.
fn list(world: &mut World, host: &HostName, id: &ReplicaId, wanted: &Assignment, now: Timestamp) -> bool {
    let Some(service) = world.cluster.services.get(&id.service) else { return true };
    let [short, long] = names(host, id);
    let has_short = service.instances.get(&short).and_then(Doc::good).is_some_and(|it| it.replica == id.number);
    let name = if has_short { short } else { long };
    let instance = Instance {
        replica: id.number,
        pid: None,
        address: None,
        port: wanted.template.port,
        version: wanted.version.clone(),
        started: now,
    };
    world.write(&layout::instance(&id.service, &name), &encode(&instance))
}

/// Writes the replica's status, unless it is another host's by now.
fn say(
    world: &mut World,
    host: &HostName,
    id: &ReplicaId,
    wanted: &Assignment,
    (state, version): (ReplicaState, i32),
    now: Timestamp,
) {
    let replica = world.cluster.services.get(&id.service).and_then(|service| service.replicas.get(&id.number));
    let Some(replica) = replica.filter(|replica| replica.version.is_some()) else { return };
    let desired = replica.desired.as_ref().and_then(Doc::good);
    if desired.is_some_and(|desired| desired.node.as_ref() != Some(host)) {
        return;
    }
    let status = ReplicaStatus {
        state,
        node: host.clone(),
        pid: None,
        version: wanted.version.clone(),
        config_version: wanted.config_version,
        assignment: Some(version),
        ready: true,
        rejected: false,
        reason: None,
        unconfirmed: false,
        retrying: false,
        setbacks: 0,
        restarts: 0,
        message: None,
        updated: now,
    };
    world.write(&layout::replica_status(id), &encode(&status));
}
