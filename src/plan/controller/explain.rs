//! Why a replica is not on this host or that: asked of the same functions that place them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Context, Memory,
    classify::{ReplicaKind, classify},
    cool_off::late_failures,
    fleet::Fleet,
    place::Ask,
    placement::Placement,
    round::Round,
};
use crate::{
    model::{Assignment, FailedOn, HostName, ReplicaId, ServiceName},
    tree::snapshot::{Cluster, Doc},
};

impl Context {
    /// For whoever only asks, and remembers nothing.
    pub fn of_onlooker(now: Timestamp) -> Self {
        Memory::default().context(now, 1.0)
    }
}

/// Where a replica could be: the controller's own words.
#[derive(Debug, Default)]
pub struct Prospects {
    /// Why it is not placed on another host whatever that is like: it failed on others, or what it is to run is held back.
    pub held: Option<String>,
    /// What speaks against each host, would it have to be placed now; `None` for one that would do.
    pub hosts: BTreeMap<HostName, Option<String>>,
}

/// Where the replica could be. Nothing at all when the service has no description in force, or no such replica.
pub fn prospects(cluster: &Cluster, context: &Context, id: &ReplicaId) -> Prospects {
    look(cluster, context, &id.service, |mut round, found| {
        let Some(replica) = found.iter().find(|replica| replica.id() == id) else { return Prospects::default() };
        let (held, ask) = match replica {
            ReplicaKind::Managed(replica) => {
                (round.no_other_host_is_tried(replica), round.rollout.ask(round.places.placer.unit, replica, false))
            }
            ReplicaKind::New(..) | ReplicaKind::Damaged(..) => {
                (None, Ask { id, first: None, from: None, ahead: false, failed_on: &[], now: context.now })
            }
        };
        let Placement { placer, fleet, .. } = &mut round.places;
        let obstacles = placer.obstacles(fleet, &ask);
        let names = fleet.hosts.iter().map(|host| host.name.clone());
        let words = obstacles.into_iter().map(|obstacle| obstacle.map(|obstacle| obstacle.of_host()));
        Prospects { held, hosts: names.zip(words).collect() }
    })
}

/// Whether the failure still keeps the replica away from that host.
pub fn keeps_away(failed: &FailedOn, now: Timestamp) -> bool {
    late_failures(std::slice::from_ref(failed), now).next().is_some()
}

/// Looks at a service as a plan would, before it decides anything.
fn look<'a, T: Default>(
    cluster: &'a Cluster,
    context: &'a Context,
    name: &ServiceName,
    ask: impl FnOnce(Round<'_, 'a>, Vec<ReplicaKind<'a>>) -> T,
) -> T {
    let Some((name, view)) = cluster.services.get_key_value(name) else { return T::default() };
    let mut fleet = Fleet::new(cluster, context);
    let Ok(mut round) = Round::open(name, view, &mut fleet, context) else { return T::default() };
    let found = classify(name, view, round.places.fleet);
    round.observe(&found);
    if !round.rollout.begins() {
        round.places.find_conflicts(&found);
        round.choose_turn(&found);
    }
    ask(round, found)
}

/// Other replicas on the replica's host that have the same port, as those that were placed before ports were looked at
/// may: the port, and who has it.
pub fn port_neighbours(cluster: &Cluster, id: &ReplicaId) -> Option<(u16, Vec<ReplicaId>)> {
    let view = cluster.hosts.values().find(|view| view.assigned.contains_key(id))?;
    let port = |doc: &Doc<Assignment>| doc.good().and_then(|assignment| assignment.template.port);
    let own = port(view.assigned.get(id)?)?;
    let others = view.assigned.iter().filter(|(other, doc)| *other != id && port(doc) == Some(own));
    let others: Vec<ReplicaId> = others.map(|(other, _)| other.clone()).collect();
    (!others.is_empty()).then_some((own, others))
}
