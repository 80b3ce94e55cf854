//! What must hold of a rollout from one tree to the next: a canary bounds what is exposed, a pause holds, nothing is
//! promoted or completed without a reason.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::picture::{Picture, Replica, Service};
use crate::{
    model::{HostName, PauseCause, ReplicaId, Revision, Rollout, RolloutAction, RolloutState, ServiceName},
    plan::controller::Context,
};

pub(super) fn wrong(
    before: &Picture,
    name: &ServiceName,
    service: &Service,
    now: &Service,
    context: &Context,
) -> Vec<String> {
    let Some((number, new)) = now.rollouts.iter().next_back() else { return Vec::new() };
    let Ok(number) = number.parse::<u64>() else { return Vec::new() };
    let old = service.rollouts.get(&format!("{number:010}"));
    let mut found = Vec::new();
    found.extend(too_exposed(name, number, new, service, now));
    found.extend(batch_too_large(name, number, new, service, now));
    if let Some(old) = old {
        found.extend(not_paused(name, number, (old, new), service, now));
        found.extend(promoted(name, number, (old, new), service, now));
        found.extend(completed(before, name, (old, new), service, now));
        found.extend(given_up(before, name, number, (old, new), (service, now), context));
        found.extend(canary_that_serves_nobody(before, name, number, (old, new), service));
        found.extend(unheard(name, number, (old, new), service));
        found.extend(back_to_the_same(name, number, (old, new), service));
    }
    found
}

/// Those that run what the rollout brought, by it or by one that brought the same, and serve or are about to.
fn exposed(number: u64, service: &Service) -> impl Iterator<Item = &ReplicaId> {
    let record = service.rollouts.get(&format!("{number:010}"));
    exposed_to(number, record.map(|record| &record.revision), service)
}

fn exposed_to<'s>(
    number: u64,
    brought: Option<&Revision>,
    service: &'s Service,
) -> impl Iterator<Item = &'s ReplicaId> {
    told(number, brought, service).filter(|(_, replica)| replica.node().is_some()).map(|(id, _)| id)
}

/// The same, and those that are on no host yet.
fn told<'s>(
    number: u64,
    brought: Option<&Revision>,
    service: &'s Service,
) -> impl Iterator<Item = (&'s ReplicaId, &'s Replica)> {
    let record = |number: u64| service.rollouts.get(&format!("{number:010}"));
    let same = move |other: u64| other == number || record(other).is_some_and(|it| Some(&it.revision) == brought);
    let told = move |replica: &Replica| replica.revision().is_some_and(|(rollout, ..)| rollout.is_some_and(same));
    service.replicas.iter().filter(move |(_, replica)| !replica.is_removing() && told(replica))
}

/// Whether nobody knows what brought it, since that record is gone or cannot be read: it may be the same.
fn is_unknown(service: &Service, replica: &Replica) -> bool {
    let told = replica.revision().and_then(|(rollout, ..)| rollout);
    told.is_none_or(|told| !service.rollouts.contains_key(&format!("{told:010}")))
}

/// Whether there is something to go back to: something was healthy before it, and the record that says what can be read.
fn can_go_back(record: &Rollout, service: &Service) -> bool {
    record.from.is_some_and(|from| service.rollouts.contains_key(&format!("{from:010}")))
}

/// Whether it brings just what was healthy before it.
fn brings_what_was(record: &Rollout, service: &Service) -> bool {
    let before = record.from.and_then(|from| service.rollouts.get(&format!("{from:010}")));
    before.is_some_and(|before| before.revision == record.revision)
}

/// Whether what it brings is on trial: something else was healthy before it, even if nobody knows any more what.
fn is_trial(record: &Rollout, service: &Service) -> bool {
    record.from.is_some() && !brings_what_was(record, service)
}

/// Before it is promoted, no more than the canary run what is new, surge included.
fn too_exposed(name: &ServiceName, number: u64, new: &Rollout, before: &Service, now: &Service) -> Option<String> {
    let accepted = now.accepted.as_ref()?;
    let policy = &accepted.service.rollout;
    let on_trial = is_trial(new, before) && !new.back && !new.promoted && new.batch == 0 && new.ended.is_none();
    if !on_trial || policy.canary.is_zero() {
        return None;
    }
    let wanted = now.wanted();
    let bound = policy.canary.ceil(wanted).min(wanted);
    let all = bound == wanted && policy.max_surge.is_zero();
    // When it begins, some may run the same since an earlier one.
    let was = exposed_to(number, Some(&new.revision), before).count();
    let is = exposed(number, now).count();
    (!all && is > bound && is > was).then(|| format!("{name}: {is} run what is new, the canary is {bound}"))
}

/// Nobody is told what is new beyond the present batch and those before it. Of surge replicas, as many as the canary has are
/// that.
fn batch_too_large(name: &ServiceName, number: u64, new: &Rollout, before: &Service, now: &Service) -> Option<String> {
    let (accepted, wanted) = (now.accepted.as_ref()?, now.wanted());
    let policy = &accepted.service.rollout;
    let on_trial = is_trial(new, before) && can_go_back(new, before) && !new.back && new.ended.is_none();
    let canary = policy.canary.ceil(wanted);
    let size = |batch: usize| match (policy.batches.get(batch), policy.batches.last()) {
        (Some(size), _) | (None, Some(size)) => size.ceil(wanted).max(1),
        (None, None) => wanted,
    };
    let batches = usize::try_from(new.batch).ok()? + usize::from(canary == 0);
    let end = (0..batches.min(wanted)).map(size).fold(canary, usize::saturating_add);
    let was: BTreeSet<&ReplicaId> = exposed_to(number, Some(&new.revision), before).collect();
    let (surge, regular): (Vec<_>, Vec<_>) = exposed(number, now).partition(|id| now.replicas[*id].is_surge());
    let known = |id: &&ReplicaId| before.replicas.get(*id).is_some_and(|replica| !is_unknown(before, replica));
    // Those for which no host fitted were told before they are put on one.
    let waited: BTreeSet<&ReplicaId> = told(number, Some(&new.revision), before).map(|(id, _)| id).collect();
    let newly = regular.iter().find(|id| !waited.contains(**id) && known(id))?;
    // Those told with this are no canary that came before.
    let end = end.saturating_sub(canary.min(surge.iter().filter(|id| was.contains(**id)).count()));
    (on_trial && end < wanted && regular.len() > end)
        .then(|| format!("{name}: {newly} is told what is new, and batch {} ends with {end}", new.batch))
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
    let newly = newly.filter(|_| holds(old) && holds(new) && is_trial(old, before) && is_trial(new, before))?;
    Some(format!("{name}: {newly} is told what is new, and rollout {number} is paused"))
}

/// Only a person or the policy promotes a canary, while there is anybody left who does not run it.
fn promoted(
    name: &ServiceName,
    number: u64,
    (old, new): (&Rollout, &Rollout),
    before: &Service,
    now: &Service,
) -> Option<String> {
    let said = before.said.contains("promote") && before.said.contains(&number.to_string());
    // As it was, or as it has just been accepted.
    let mut policies = before.accepted.iter().chain(&now.accepted).map(|accepted| &accepted.service.rollout);
    let by_policy = policies.any(|policy| policy.auto_promote || policy.canary.is_zero());
    let run_it: BTreeSet<&ReplicaId> = exposed(number, before).collect();
    let there = |replica: &Replica| replica.node().is_some() && !replica.is_removing();
    let runs_it = |id: &ReplicaId, replica: &Replica| run_it.contains(id) || is_unknown(before, replica);
    let all = before.replicas.iter().all(|(id, replica)| !there(replica) || runs_it(id, replica));
    let reason = said || by_policy || all;
    let became = !old.promoted && new.promoted && is_trial(old, before);
    (became && !reason).then(|| format!("{name}: rollout {number} is promoted by nobody"))
}

/// A canary that is healthy is one that serves: nothing waits for its promotion, or is promoted, without one.
fn canary_that_serves_nobody(
    before: &Picture,
    name: &ServiceName,
    number: u64,
    (old, new): (&Rollout, &Rollout),
    service: &Service,
) -> Option<String> {
    let canary = Some(PauseCause::Canary);
    let waits = old.pause != canary && new.pause == canary;
    let passes = !old.promoted && new.promoted && !service.said.contains("promote");
    let there: BTreeSet<&ReplicaId> = exposed(number, service).collect();
    let may = |(id, replica): &(&ReplicaId, &Replica)| there.contains(id) || is_unknown(service, replica);
    let serves = service.replicas.iter().filter(may).any(|(id, replica)| before.is_ready(id, replica));
    let policy = &service.accepted.as_ref()?.service.rollout;
    let bad = (waits || passes) && !policy.canary.is_zero() && is_trial(old, service) && !serves;
    bad.then(|| format!("{name}: the canary of rollout {number} counts as healthy, and serves nobody"))
}

/// Whether it was told the version and the configuration of the revision.
fn runs(replica: &Replica, revision: &Revision) -> bool {
    replica
        .revision()
        .is_some_and(|(_, version, config)| version == revision.version.as_deref() && config == revision.config_version)
}

/// Completed is what serves: everywhere where there is a place for it.
fn completed(
    before: &Picture,
    name: &ServiceName,
    (old, new): (&Rollout, &Rollout),
    service: &Service,
    now: &Service,
) -> Option<String> {
    if old.ended.is_some() || new.state != RolloutState::Completed {
        return None;
    }
    let there = service
        .replicas
        .iter()
        .filter(|(_, replica)| replica.node().is_some() && !replica.is_removing() && !replica.is_surge());
    let back = old.back || service.said.contains("abort");
    // What it was, or is by a description that has just been accepted.
    let specs: Vec<_> = [service.spec(), now.spec()].into_iter().flatten().collect();
    let has_another = |id: &ReplicaId, node: &HostName| {
        specs.iter().all(|spec| before.has_another_host(id, spec, &BTreeSet::from([node])))
    };
    let good = |(id, replica): &(&ReplicaId, &Replica)| {
        // On the way back nobody waits for a lost host: its replica runs what was before with the next one. Forward, neither
        // does anybody if there is none.
        let lost = replica.node().is_some_and(|node| !before.alive(node) && (back || !has_another(id, node)));
        runs(replica, &new.revision) && before.is_ready(id, replica) || lost
    };
    let (accepted, wanted) = (now.accepted.as_ref()?, now.wanted());
    if wanted == 0 && is_trial(new, service) {
        return Some(format!("{name}: a rollout is completed that nobody runs"));
    }
    let forgiven = accepted.service.rollout.max_failures.floor(wanted);
    let bad = there.filter(|replica| !good(replica)).map(|(id, _)| id).nth(forgiven)?;
    (wanted > 0).then(|| format!("{name}: a rollout is completed, and {bad} does not serve with it"))
}

/// A revision is given up for a reason: a person says so; what was before is not known any more; more replicas fail with it
/// than may, not all on one host while there are others; or a time is up that this leader has watched, and something that is there does not serve, or nothing does.
fn given_up(
    before: &Picture,
    name: &ServiceName,
    number: u64,
    (old, new): (&Rollout, &Rollout),
    (service, now): (&Service, &Service),
    context: &Context,
) -> Option<String> {
    let failed = |record: &Rollout| record.pause == Some(PauseCause::Failure);
    let gives_up = !old.back && (new.back || !failed(old) && failed(new));
    let is_lost = old.from.is_some() && !can_go_back(old, service);
    if !gives_up || is_lost || service.said.contains("abort") {
        return None;
    }
    let accepted = now.accepted.as_ref()?;
    let (mut spec, wanted) = (service.spec()?, now.wanted());
    spec.placement = accepted.service.placement.clone();
    let over = |since: Timestamp, limit: Duration| {
        let passed = |since: Timestamp| context.now.duration_since(since).unsigned_abs() >= limit;
        passed(since) && passed(context.leading_since)
    };
    let policy = &accepted.service.rollout;
    let there = || service.replicas.iter().filter(|(_, replica)| !replica.is_removing());
    let alive = |replica: &Replica| replica.node().is_some_and(|node| before.alive(node));
    let by_it = |replica: &Replica| replica.revision().is_some_and(|(rollout, ..)| rollout == Some(number));
    let told = |replica: &Replica| by_it(replica) && runs(replica, &old.revision);
    let serves = |id: &ReplicaId, replica: &Replica| before.is_ready(id, replica) && told(replica);
    let idle = there().any(|(id, replica)| replica.node().is_some() && !serves(id, replica));
    let idle = idle || !there().any(|(id, replica)| serves(id, replica));
    // Who serves since a moment ago is not healthy yet.
    let is_new = |since: &Timestamp| !over(*since, policy.min_healthy_time.get());
    let is_young = |id: &ReplicaId| context.ready_since.get(id).is_none_or(is_new);
    let idle = idle || there().any(|(id, replica)| serves(id, replica) && is_young(id));
    if idle && over(old.progress, policy.progress_deadline.get()) {
        return None;
    }
    let late = |id: &ReplicaId| old.updating.get(&id.number).is_some_and(|at| over(*at, policy.healthy_deadline.get()));
    let bad: Vec<_> = there().filter(|(id, it)| alive(it) && (it.has_failed() || late(id))).collect();
    let canary = !policy.canary.is_zero() && old.batch == 0 && !old.promoted;
    let allowed = if canary { 0 } else { policy.max_failures.floor(wanted) };
    if bad.len() <= allowed {
        return Some(format!(
            "{name}: {} replicas failed, {allowed} may, and it is given up: {}",
            bad.len(),
            new.reason
        ));
    }
    // What others left because they failed there counts, too.
    let before_that = there().flat_map(|(_, it)| it.failed_lately_on(context.now));
    let tried: BTreeSet<&HostName> = bad.iter().filter_map(|(_, it)| it.node()).chain(before_that).collect();
    let only_failed = bad.iter().all(|(id, it)| it.has_failed() && !it.is_rejected() && !late(id));
    let other = tried.len() == 1 && only_failed && bad.iter().any(|(id, _)| before.has_another_host(id, &spec, &tried));
    other.then(|| format!("{name}: given up for what failed on {tried:?} alone: {}", new.reason))
}

/// A word that was said before another, and that no controller had heard, is carried out.
fn unheard(name: &ServiceName, number: u64, (old, new): (&Rollout, &Rollout), service: &Service) -> Option<String> {
    let (order, version) = service.order.as_ref().filter(|(order, _)| order.rollout == number)?;
    let heard = new.order == Some(*version) && old.order != new.order;
    let earlier = order.earlier.iter().filter(|word| old.order.is_none_or(|seen| seen < word.version));
    let aborts = earlier.map(|word| word.action).chain([order.action]).any(|action| action == RolloutAction::Abort);
    let may = old.ended.is_none() && !old.back && can_go_back(old, service);
    let lost = heard && aborts && may && !new.back && new.ended.is_none();
    lost.then(|| format!("{name}: rollout {number} was aborted, and goes on"))
}

/// What goes back to what it brought has come to what was wanted: nobody is told that it was rolled back.
fn back_to_the_same(
    name: &ServiceName,
    number: u64,
    (old, new): (&Rollout, &Rollout),
    service: &Service,
) -> Option<String> {
    let ends = old.ended.is_none() && new.state == RolloutState::RolledBack;
    let same = ends && brings_what_was(new, service);
    same.then(|| format!("{name}: rollout {number} rolled back to what it brought itself"))
}
