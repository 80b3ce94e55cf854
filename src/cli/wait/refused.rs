//! When waiting is of no use: every host that could take the service refuses what is wanted now, for a reason that only
//! a change of its `agent.toml` lifts.
//!
//! Only what the tree proves counts, and of that what agents say for programs ([`RefusalReason`]), not their words. Each of
//! these hosts tells what it runs, and it is not that (its `accepts`); or there is a replica of the service with what is wanted now, and the agent's refusal of just that; or the
//! controller remembers that one was there, and moved it on. A host that has not been tried, or has only just joined, may
//! take it; so may one whose agent was started again since it refused.

use std::collections::BTreeSet;

use crate::{
    cli::fleet::{self, Fleet, Host, Replica, Service},
    model::{HostName, RefusalReason, Refused, ReplicaDesired, ReplicaId, ReplicaNumber, ReplicaStatus, ServiceName},
};

/// Why no host that is there now takes the service, in one line.
pub(super) fn by_all(name: &ServiceName, fleet: &Fleet) -> Option<String> {
    let service = fleet.services.get(name).filter(|service| service.is_observed() && is_all_here(service, fleet))?;
    let open: Vec<_> = fleet.hosts.iter().filter(|(_, host)| is_open(host, service)).collect();
    let said = |(host, it): &(&HostName, &Host)| {
        let told = objection(service, it).or_else(|| words(name, service, host, it));
        told.map(Some).or_else(|| was_refused(service, host, it).then_some(None))
    };
    let refusals: Option<Vec<Option<String>>> = open.iter().map(said).collect();
    // One is there at least, and says why.
    let reasons: BTreeSet<String> = refusals?.into_iter().flatten().collect();
    if reasons.is_empty() {
        return None;
    }
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

/// What of the service's description the host does not run, as it tells itself.
fn objection(service: &Service, host: &Host) -> Option<String> {
    let spec = fleet::read(service.spec.as_ref())?;
    Some(fleet::read(host.alive.as_ref())?.objection(&spec.unit, &spec.into())?.words("their"))
}

/// What the host's agent says of a replica that it refuses now.
fn words(name: &ServiceName, service: &Service, host: &HostName, it: &Host) -> Option<String> {
    service.replicas.iter().find_map(|(number, replica)| {
        let status = replica.status_on(host)?;
        let assigned = it.assigned.get(&ReplicaId { service: name.clone(), number: *number })?;
        let told = replica.status.as_ref().map(|it| it.mzxid) >= last_change(service);
        let is_there = wanted_now(service, replica).is_some_and(|own| own.node.as_ref() == Some(host));
        let answers = told && is_there && status.assignment == Some(assigned.version);
        (answers && stands(&status.refused()?, it)).then(|| in_general(status, host, *number))
    })
}

/// Whether the controller remembers that the host refused a replica with what is wanted now.
fn was_refused(service: &Service, host: &HostName, it: &Host) -> bool {
    service.replicas.values().any(|replica| {
        let told = replica.desired.as_ref().map(|it| it.mzxid) >= last_change(service);
        let own = wanted_now(service, replica).filter(|_| told);
        let refusals = own.iter().flat_map(|own| &own.failed_on).filter(|failed| failed.node == *host);
        refusals.filter_map(|failed| failed.refused.as_ref()).any(|refused| stands(refused, it))
    })
}

/// Whether it is the host's configuration, which this agent has read, that does not allow it.
fn stands(refused: &Refused, host: &Host) -> bool {
    let since = fleet::read(host.alive.as_ref()).map(|alive| alive.started);
    refused.reason == RefusalReason::NotAllowed && since.is_some_and(|since| refused.at >= since)
}

/// What the controller wants of the replica, when that is what is wanted of the service now.
fn wanted_now<'a>(service: &'a Service, replica: &'a Replica) -> Option<&'a ReplicaDesired> {
    let (wanted, own) = (fleet::read(service.desired.as_ref())?, fleet::read(replica.desired.as_ref())?);
    let rollout = service.newest_rollout();
    let same = (&own.version, own.config_version, own.mode) == (&wanted.version, wanted.config_version, wanted.mode);
    let newest = rollout.is_none_or(|(number, record)| own.rollout == Some(number) && service.is_wanted(record));
    Some(own).filter(|_| same && newest)
}

/// When the operator last changed what is wanted: what was written before says nothing of it.
fn last_change(service: &Service) -> Option<i64> {
    service.desired.as_ref().map(|it| it.mzxid).max(service.spec.as_ref().map(|it| it.mzxid))
}

/// What the agent says, of any host and replica.
fn in_general(status: &ReplicaStatus, host: &HostName, number: ReplicaNumber) -> String {
    let said = status.message.as_deref().unwrap_or("it is not allowed in this host's agent.toml");
    said.replace(&format!("{host}'s agent.toml"), "their agent.toml").replace(&format!("@{number}."), "@.")
}

#[cfg(test)]
mod tests;
