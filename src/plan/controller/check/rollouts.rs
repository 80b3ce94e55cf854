//! What must hold of a rollout from one tree to the next: a canary bounds what is exposed, a pause holds, nothing is
//! promoted or completed without a reason.

use super::picture::{Picture, Replica, Service};
use crate::model::{PauseCause, ReplicaId, Rollout, RolloutState, ServiceName};

pub(super) fn wrong(before: &Picture, name: &ServiceName, service: &Service, now: &Service) -> Vec<String> {
    let Some((number, new)) = now.rollouts.iter().next_back() else { return Vec::new() };
    let Ok(number) = number.parse::<u64>() else { return Vec::new() };
    let old = service.rollouts.get(&format!("{number:010}"));
    let mut found = Vec::new();
    found.extend(too_exposed(name, number, new, service, now));
    if let Some(old) = old {
        found.extend(not_paused(name, number, (old, new), service, now));
        found.extend(promoted(name, number, (old, new), service));
        found.extend(completed(before, name, (old, new), service));
    }
    found
}

/// Those that run what the rollout brought, and serve or are about to.
fn exposed(number: u64, service: &Service) -> impl Iterator<Item = &ReplicaId> {
    let told = move |replica: &Replica| replica.revision().is_some_and(|(rollout, ..)| rollout == Some(number));
    let there = move |replica: &Replica| replica.node().is_some() && !replica.is_removing() && told(replica);
    service.replicas.iter().filter(move |(_, replica)| there(replica)).map(|(id, _)| id)
}

/// Before it is promoted, no more than the canary run what is new, surge included.
fn too_exposed(name: &ServiceName, number: u64, new: &Rollout, before: &Service, now: &Service) -> Option<String> {
    let accepted = now.accepted.as_ref()?;
    let policy = &accepted.service.rollout;
    let on_trial = new.from.is_some() && !new.back && !new.promoted && new.batch == 0 && new.ended.is_none();
    if !on_trial || policy.canary.is_zero() {
        return None;
    }
    let wanted = now.wanted();
    let bound = policy.canary.ceil(wanted).min(wanted);
    let all = bound == wanted && policy.max_surge.is_zero();
    let (was, is) = (exposed(number, before).count(), exposed(number, now).count());
    (!all && is > bound && is > was).then(|| format!("{name}: {is} run what is new, the canary is {bound}"))
}

/// While somebody or a failure has paused it, nobody else is told what is new.
fn not_paused(
    name: &ServiceName,
    number: u64,
    (old, new): (&Rollout, &Rollout),
    before: &Service,
    now: &Service,
) -> Option<String> {
    let holds = |record: &Rollout| {
        record.state == RolloutState::Paused && record.pause != Some(PauseCause::Disabled) && !record.back
    };
    let was: Vec<&ReplicaId> = exposed(number, before).collect();
    let newly = exposed(number, now).find(|id| !was.contains(id) && before.replicas.contains_key(*id));
    let newly = newly.filter(|_| holds(old) && holds(new) && old.from.is_some())?;
    Some(format!("{name}: {newly} is told what is new, and rollout {number} is paused"))
}

/// Only a person or the policy promotes a canary.
fn promoted(name: &ServiceName, number: u64, (old, new): (&Rollout, &Rollout), before: &Service) -> Option<String> {
    let said = before.said.contains("promote") && before.said.contains(&number.to_string());
    let policy = before.accepted.as_ref().map(|accepted| &accepted.service.rollout)?;
    let reason = said || policy.auto_promote || policy.canary.is_zero();
    let became = !old.promoted && new.promoted && old.from.is_some();
    (became && !reason).then(|| format!("{name}: rollout {number} is promoted by nobody"))
}

/// Completed is what serves: everywhere where there is a place for it.
fn completed(
    before: &Picture,
    name: &ServiceName,
    (old, new): (&Rollout, &Rollout),
    service: &Service,
) -> Option<String> {
    if old.ended.is_some() || new.state != RolloutState::Completed {
        return None;
    }
    let there = service
        .replicas
        .iter()
        .filter(|(_, replica)| replica.node().is_some() && !replica.is_removing() && !replica.is_surge());
    let revision = &new.revision;
    let good = |(id, replica): &(&ReplicaId, &Replica)| {
        let runs = replica.revision().is_some_and(|(_, version, config)| {
            version == revision.version.as_deref() && config == revision.config_version
        });
        // On the way back nobody waits for a lost host: its replica runs what was before with the next one.
        let lost = old.back && replica.node().is_some_and(|node| !before.alive(node));
        runs && before.is_ready(id, replica) || lost
    };
    if service.wanted() == 0 && old.from.is_some() {
        return Some(format!("{name}: a rollout is completed that nobody runs"));
    }
    let forgiven = service.accepted.as_ref().map_or(0, |it| it.service.rollout.max_failures.floor(service.wanted()));
    let bad = there.filter(|replica| !good(replica)).map(|(id, _)| id).nth(forgiven)?;
    (service.wanted() > 0).then(|| format!("{name}: a rollout is completed, and {bad} does not serve with it"))
}
