//! When waiting is of no use: every host that could take the service refuses what is wanted now, for a reason that only
//! a change of its `agent.toml` lifts.
//!
//! Only what the tree proves counts. Each of these hosts has a replica of the service, with what is wanted now, and its
//! agent's refusal of just that. A host that has not been tried, or has only just joined, may take it; so may one whose
//! agent was started again since it refused.

use std::collections::BTreeSet;

use crate::{
    cli::fleet::{self, Fleet, Host, Replica, Service},
    model::{HostName, ReplicaId, ReplicaNumber, ReplicaState, ServiceName},
};

/// Why no host that is there now takes the service, in one line.
pub(super) fn by_all(name: &ServiceName, fleet: &Fleet) -> Option<String> {
    let service = fleet.services.get(name).filter(|service| service.is_observed() && is_all_here(service, fleet))?;
    let open: Vec<_> = fleet.hosts.iter().filter(|(_, host)| is_open(host, service)).collect();
    let refusals: Option<Vec<String>> = open.iter().map(|(host, it)| refusal(name, service, host, it)).collect();
    let reasons: BTreeSet<String> = refusals.filter(|refusals| !refusals.is_empty())?.into_iter().collect();
    let hosts: Vec<_> = open.iter().map(|(host, _)| host.as_str()).collect();
    let (count, hosts) = (hosts.len(), hosts.join(", "));
    let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
    Some(format!(
        "{name}: {count} of {count} hosts refuse it ({hosts}): {reasons}. Allow it there and restart zkops-agent, or take \
         it out of the service"
    ))
}

/// Whether no replica is on a host that is away: it may be back in a moment, with another configuration.
fn is_all_here(service: &Service, fleet: &Fleet) -> bool {
    service.replicas.values().filter_map(Replica::host).all(|host| fleet.is_alive(host))
}

/// Whether new replicas of the service may be placed there, by what the operator says of host and service.
fn is_open(host: &Host, service: &Service) -> bool {
    let word = host.word();
    let labels = host.labels();
    let constraints = service.spec_in_force().map(|spec| spec.placement.constraints.as_slice()).unwrap_or_default();
    host.alive.is_some()
        && !(word.cordon || word.drain)
        && constraints.iter().all(|it| it.accepts(labels.get(it.key()).map(String::as_str)))
}

/// The reason of a replica that the host refuses, without the host's name and the replica's number.
fn refusal(name: &ServiceName, service: &Service, host: &HostName, it: &Host) -> Option<String> {
    service.replicas.iter().find_map(|(number, replica)| {
        let status = replica.status_on(host).filter(|status| status.state == ReplicaState::Refused)?;
        let assigned = it.assigned.get(&ReplicaId { service: name.clone(), number: *number })?;
        let since = fleet::read(it.alive.as_ref())?.started;
        let answers = status.assignment == Some(assigned.version) && status.updated >= since;
        let reason = by_configuration(status.message.as_deref()?, host, *number)?;
        (answers && is_wanted_now(service, replica, host)).then_some(reason)
    })
}

/// Whether the replica is there with what is wanted now, and its agent's word is no older than that.
fn is_wanted_now(service: &Service, replica: &Replica, host: &HostName) -> bool {
    let (Some(wanted), Some(own)) = (fleet::read(service.desired.as_ref()), fleet::read(replica.desired.as_ref()))
    else {
        return false;
    };
    let rollout = service.newest_rollout();
    let since = service.desired.as_ref().map(|it| it.mzxid).max(service.spec.as_ref().map(|it| it.mzxid));
    own.node.as_ref() == Some(host)
        && (&own.version, own.config_version, own.mode) == (&wanted.version, wanted.config_version, wanted.mode)
        && rollout.is_none_or(|(number, record)| own.rollout == Some(number) && service.is_wanted(record))
        && replica.status.as_ref().map(|it| it.mzxid) >= since
}

/// What an agent says when its own configuration is in the way (`reconcile::agent::obstacles`), of any host and replica.
fn by_configuration(message: &str, host: &HostName, number: ReplicaNumber) -> Option<String> {
    let said = message.strip_suffix(&format!("{host}'s agent.toml"))?;
    Some(format!("{}their agent.toml", said.replace(&format!("@{number}."), "@.")))
}

#[cfg(test)]
mod tests;
