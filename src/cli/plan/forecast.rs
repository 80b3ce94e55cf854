//! What the rollout would do that begins with a change. Pure; the controller decides anew when it comes to that.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    cli::fleet::{self, Replica, Service},
    model::{
        Amount, ConfigApply, Desired, Mode, ReplicaNumber, Revision, Rollout, RolloutPolicy, RolloutState, ServiceSpec,
        Span, Template,
    },
};

/// A rollout that would begin.
#[derive(Debug, Serialize)]
pub(super) struct Forecast {
    pub(super) number: u64,
    /// What it brings.
    pub(super) revision: Revision,
    /// The rollout that it would go back to.
    pub(super) from: Option<u64>,
    /// The rollout under way, which it would end.
    pub(super) supersedes: Option<u64>,
    /// Whether a process is restarted, reloaded or signalled.
    pub(super) disruptive: bool,
    /// How many replicas there are to be.
    pub(super) wanted: usize,
    /// How many of them exist.
    pub(super) existing: usize,
    /// How many may be not ready through it.
    pub(super) max_unavailable: usize,
    /// How many stay ready, if all are now.
    pub(super) min_ready: usize,
    /// How many are updated at once.
    pub(super) at_once: usize,
    /// How many temporary replicas are started first: those that are a part of the canary, and the others once that is
    /// good.
    pub(super) surge: usize,
    /// How many may fail, but for the canary.
    pub(super) max_failures: usize,
    /// Whether it waits for `zkops rollout promote` after the canary.
    pub(super) promotion: bool,
    pub(super) batches: Vec<Batch>,
    /// The replicas to be updated, in order.
    pub(super) replicas: Vec<Step>,
    #[serde(skip)]
    pub(super) policy: RolloutPolicy,
    #[serde(skip)]
    pub(super) before: Option<Revision>,
    #[serde(skip)]
    pub(super) mode: Mode,
}

/// Replicas that are updated before anything is decided about the rest.
#[derive(Debug, Serialize)]
pub(super) struct Batch {
    /// Its number, from 1.
    #[serde(rename = "batch")]
    pub(super) number: usize,
    pub(super) canary: bool,
    /// How many temporary replicas are started with what is new as a part of it: they are in its number.
    pub(super) surge: usize,
    pub(super) replicas: Vec<ReplicaNumber>,
    /// The pause after it.
    pub(super) pause: Span,
}

/// What is done to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) replica: ReplicaNumber,
    pub(super) action: Action,
    /// Its batch, from 1.
    pub(super) batch: usize,
}

/// What a process notices of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// Nothing: the agent takes it on.
    Adopt,
    /// A signal.
    Signal,
    /// A reload, or a restart when the unit can't reload.
    Reload,
    /// A restart.
    Restart,
}

impl Action {
    /// What going from one revision to another takes.
    fn between(old: &Revision, new: &Revision) -> Self {
        let (was, is) = (&old.template, &new.template);
        let same = old.version == new.version
            && was.unit == is.unit
            && was.unit_file == is.unit_file
            && was.port == is.port
            && was.environment == is.environment
            && was.credentials == is.credentials
            && was.config.is_some() == is.config.is_some();
        match &is.config {
            _ if !same => Self::Restart,
            _ if old.config_version == new.config_version => Self::Adopt,
            None => Self::Reload,
            Some(policy) => match policy.apply {
                ConfigApply::Reload => Self::Reload,
                ConfigApply::Restart => Self::Restart,
                ConfigApply::Signal => Self::Signal,
            },
        }
    }
}

impl Forecast {
    /// The rollout that would begin if the service were described and wanted like this, and these replicas removed;
    /// `None` if none would.
    pub(super) fn of(
        service: &Service,
        spec: &ServiceSpec,
        desired: &Desired,
        removed: &BTreeSet<ReplicaNumber>,
    ) -> Option<Self> {
        let revision = Revision {
            version: desired.version.clone(),
            config_version: desired.config_version,
            template: Template::from(spec),
        };
        let newest = service.newest_rollout();
        if newest.is_some_and(|(_, it)| it.state != RolloutState::Superseded && it.revision == revision) {
            return None;
        }
        let from =
            newest.and_then(|(number, it)| if it.state == RolloutState::Completed { Some(number) } else { it.from });
        let good = from.and_then(|from| record(service, from));
        // What was healthy before needs no canary.
        let proven = good.is_some_and(|good| good.revision == revision);
        let wanted = usize::try_from(desired.replicas).unwrap_or(usize::MAX);
        let (max_unavailable, surge) = spec.budget(wanted);
        let staying: Vec<_> = regular(service).filter(|(number, _)| !removed.contains(number)).take(wanted).collect();
        let existing = staying.len();
        let queue = queue(service, &revision, staying);
        let surge = if good.is_some() && !queue.is_empty() { surge.min(wanted) } else { 0 };
        let terms = Terms { policy: &spec.rollout, proven, wanted, surge };
        let (batches, replicas) = batches(&terms, existing - queue.len(), &queue);
        Some(Self {
            number: 1 + service.rollouts.last_key_value().map_or(0, |(number, _)| *number),
            from,
            supersedes: newest.filter(|(_, it)| !it.state.has_ended()).map(|(number, _)| number),
            disruptive: desired.mode == Mode::Enabled && replicas.iter().any(|step| step.action != Action::Adopt),
            wanted,
            existing,
            max_unavailable,
            min_ready: wanted.saturating_sub(max_unavailable),
            at_once: max_unavailable.max(1),
            surge,
            max_failures: spec.rollout.max_failures.floor(wanted),
            promotion: batches.iter().any(|batch| batch.canary) && !spec.rollout.auto_promote,
            batches,
            replicas,
            policy: spec.rollout.clone(),
            before: good.map(|good| good.revision.clone()),
            mode: desired.mode,
            revision,
        })
    }
}

fn record(service: &Service, number: u64) -> Option<&Rollout> {
    service.rollouts.get(&number)?.read.as_ref().ok()
}

/// The replicas that stay once the rollout is over.
pub(super) fn regular(service: &Service) -> impl Iterator<Item = (ReplicaNumber, &Replica)> {
    let stays = |replica: &Replica| fleet::read(replica.desired.as_ref()).is_none_or(|it| !it.removing && !it.surge);
    service.replicas.iter().filter(move |(_, replica)| stays(replica)).map(|(number, replica)| (*number, replica))
}

/// The replicas that don't run it yet, with what that takes: those that serve nobody first, then by number.
fn queue(
    service: &Service,
    revision: &Revision,
    staying: Vec<(ReplicaNumber, &Replica)>,
) -> Vec<(ReplicaNumber, Action)> {
    let ready = service.ready();
    let mut queue: Vec<_> = staying
        .into_iter()
        .filter_map(|(number, replica)| {
            let action = match current(service, replica) {
                Some(current) if current == *revision => return None,
                Some(current) => Action::between(&current, revision),
                None => Action::Restart,
            };
            Some((ready.contains(&number), number, action))
        })
        .collect();
    queue.sort_unstable_by_key(|(ready, number, _)| (*ready, *number));
    queue.into_iter().map(|(_, number, action)| (number, action)).collect()
}

/// What a replica is told to run now, as far as it is known.
fn current(service: &Service, replica: &Replica) -> Option<Revision> {
    let desired = fleet::read(replica.desired.as_ref())?;
    let says =
        |revision: &Revision| revision.version == desired.version && revision.config_version == desired.config_version;
    let brought = desired.rollout.and_then(|number| record(service, number)).map(|record| record.revision.clone());
    brought.filter(says).or_else(|| {
        let template = Template::from(service.spec_in_force()?);
        Some(Revision { version: desired.version.clone(), config_version: desired.config_version, template })
    })
}

/// What batches are cut by.
struct Terms<'a> {
    policy: &'a RolloutPolicy,
    /// Whether there is no canary, because what it brings was healthy before.
    proven: bool,
    wanted: usize,
    /// How many temporary replicas there are.
    surge: usize,
}

/// Cuts the queue into the canary and the batches; `done` replicas run it already. Temporary replicas are the first of
/// the canary: no others are started before it is good. Of the batches after it they are no part.
fn batches(terms: &Terms<'_>, done: usize, queue: &[(ReplicaNumber, Action)]) -> (Vec<Batch>, Vec<Step>) {
    let Terms { policy, proven, wanted, .. } = *terms;
    let (mut batches, mut steps): (Vec<Batch>, Vec<Step>) = (Vec::new(), Vec::new());
    let (mut left, mut at) = (queue, done);
    let canary_of_surge = if proven { 0 } else { terms.surge.min(canary_size(policy, wanted).saturating_sub(done)) };
    for (end, canary) in ends(policy, wanted, canary_of_surge) {
        let size = end.saturating_sub(at);
        let surge = if canary { canary_of_surge } else { 0 };
        let (now, later) = left.split_at((size - surge).min(left.len()));
        if now.is_empty() && surge == 0 || (canary && proven) {
            continue;
        }
        let number = batches.len() + 1;
        steps.extend(now.iter().map(|(replica, action)| Step { replica: *replica, action: *action, batch: number }));
        let pause = if later.is_empty() || (canary && !policy.auto_promote) { Span::ZERO } else { policy.batch_pause };
        let replicas = now.iter().map(|(number, _)| *number).collect();
        batches.push(Batch { number, canary, surge, replicas, pause });
        (left, at) = (later, at + now.len() + surge);
    }
    (batches, steps)
}

fn canary_size(policy: &RolloutPolicy, wanted: usize) -> usize {
    policy.canary.ceil(wanted).min(wanted)
}

/// How many replicas are updated when each batch is done, `surge` temporary ones in the canary included, and whether it is the
/// canary.
fn ends(policy: &RolloutPolicy, wanted: usize, surge: usize) -> Vec<(usize, bool)> {
    let size = |amount: &Amount| amount.ceil(wanted).max(1);
    let (canary, all) = (canary_size(policy, wanted), wanted + surge);
    let mut ends = Vec::new();
    if canary > 0 {
        ends.push((canary, true));
    }
    let mut sizes = policy.batches.iter().map(size);
    let (mut end, mut last) = (canary, all);
    while end < all {
        last = sizes.next().unwrap_or(last);
        end = end.saturating_add(last).min(all);
        ends.push((end, false));
    }
    ends
}

#[cfg(test)]
mod tests;
