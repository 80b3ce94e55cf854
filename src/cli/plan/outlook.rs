//! The rollout that a change begins, as the planner would carry it out. Pure: it sorts what a preview tells.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    cli::fleet::{self, Replica, Service},
    model::{
        Desired, Mode, ReplicaNumber, Revision, Rollout, RolloutPolicy, RolloutState, ServiceName, ServiceSpec, Span,
        UpdateAction,
    },
    plan::controller::{Batch as Place, Report, Step as Decision, What},
};

/// A rollout that would begin.
#[derive(Debug, Serialize)]
pub(super) struct Outlook {
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
    /// How many temporary replicas are started for it, the canary's among them.
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
    /// Whether it comes to its end by itself, but for a promotion.
    pub(super) completes: bool,
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
    #[serde(skip)]
    place: Place,
}

/// What is done to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) replica: ReplicaNumber,
    pub(super) action: UpdateAction,
    /// Its batch, from 1.
    pub(super) batch: usize,
}

impl Outlook {
    /// The rollout that begins in the report, when the service is described and wanted like this; `None` if none does.
    pub(super) fn of(
        name: &ServiceName,
        service: &Service,
        (spec, desired): (&ServiceSpec, &Desired),
        report: &Report,
    ) -> Option<Self> {
        let decisions: Vec<&Decision> = decisions(report, name).collect();
        let newest = service.newest_rollout();
        let (number, from) = decisions.iter().find_map(|decision| match decision.what {
            What::Rollout { number, from, .. } if newest.is_none_or(|(newest, _)| newest < number) => {
                Some((number, from))
            }
            _ => None,
        })?;
        let wanted = usize::try_from(desired.replicas).unwrap_or(usize::MAX);
        let removed = removed(name, service, report);
        let existing = regular(service).filter(|number| !removed.contains(number)).take(wanted).count();
        let completed = |step: &&Decision| matches!(step.what, What::Rollout { number: it, state, .. } if it == number && state == RolloutState::Completed);
        let completes = decisions.iter().any(completed);
        let mut builder = BatchBuilder {
            number,
            spec,
            service,
            has_canary: from.is_some(),
            batches: Vec::new(),
            steps: Vec::new(),
            surge: 0,
        };
        for decision in decisions {
            builder.add(decision);
        }
        let BatchBuilder { mut batches, steps, surge, .. } = builder;
        pauses(&mut batches, &spec.rollout);
        let (max_unavailable, _) = spec.budget(wanted);
        Some(Self {
            number,
            from,
            supersedes: newest.filter(|(_, it)| !it.state.has_ended()).map(|(number, _)| number),
            disruptive: desired.mode == Mode::Enabled && steps.iter().any(|step| step.action != UpdateAction::Adopt),
            wanted,
            existing,
            max_unavailable,
            min_ready: wanted.saturating_sub(max_unavailable),
            at_once: max_unavailable.max(1),
            surge,
            max_failures: spec.rollout.max_failures.floor(wanted),
            promotion: batches.iter().any(|batch| batch.canary) && !spec.rollout.auto_promote,
            batches,
            replicas: steps,
            policy: spec.rollout.clone(),
            before: from.and_then(|from| record(service, from)).map(|good| good.revision.clone()),
            mode: desired.mode,
            completes,
            revision: spec.revision(desired),
        })
    }
}

/// What is decided on a service, in order.
pub(super) fn decisions<'r>(report: &'r Report, name: &'r ServiceName) -> impl Iterator<Item = &'r Decision> {
    report.rounds.iter().flat_map(|round| &round.steps).filter(move |step| step.service == *name)
}

/// Those of the replicas there are that go for good.
pub(super) fn removed(name: &ServiceName, service: &Service, report: &Report) -> BTreeSet<ReplicaNumber> {
    let regular: BTreeSet<ReplicaNumber> = regular(service).collect();
    let goes = |what: &What| matches!(what, What::Retired { .. } | What::Removed { .. });
    let gone = decisions(report, name).filter(|step| goes(&step.what)).filter_map(|step| step.replica);
    gone.filter(|number| regular.contains(number)).collect()
}

fn record(service: &Service, number: u64) -> Option<&Rollout> {
    service.rollouts.get(&number)?.read.as_ref().ok()
}

/// The replicas that there are and that stay, as far as is known.
fn regular(service: &Service) -> impl Iterator<Item = ReplicaNumber> {
    let stays = |replica: &Replica| fleet::read(replica.desired.as_ref()).is_none_or(|it| !it.removing && !it.surge);
    service.replicas.iter().filter(move |(_, replica)| stays(replica)).map(|(number, _)| *number)
}

/// The last batch is followed by nothing, and a canary by a person, unless it is promoted by itself.
fn pauses(batches: &mut [Batch], policy: &RolloutPolicy) {
    let Some((_, others)) = batches.split_last_mut() else { return };
    for batch in others.iter_mut().filter(|batch| !batch.canary || policy.auto_promote) {
        batch.pause = policy.batch_pause;
    }
}

/// A rollout as its batches are put together.
struct BatchBuilder<'a> {
    number: u64,
    spec: &'a ServiceSpec,
    service: &'a Service,
    /// Whether there is something that was healthy before: else nothing is on trial.
    has_canary: bool,
    batches: Vec<Batch>,
    steps: Vec<Step>,
    surge: usize,
}

impl BatchBuilder<'_> {
    fn add(&mut self, decision: &Decision) {
        let Some(replica) = decision.replica else { return };
        match decision.what {
            What::Updated { action, rollout, batch: Some(place), .. } if rollout == Some(self.number) => {
                self.update(replica, action, place);
            }
            What::Moved { rollout, batch: Some(place), .. } if rollout == Some(self.number) => {
                self.update(replica, UpdateAction::Restart, place);
            }
            What::Placed { surge: true, rollout, batch: Some(place), .. } if rollout == Some(self.number) => {
                self.surge += 1;
                if self.is_canary(place) {
                    self.batch(place).surge += 1;
                }
            }
            What::Placed { surge: false, rollout, batch: Some(place), .. }
                if rollout == Some(self.number) && self.service.replicas.contains_key(&replica) =>
            {
                self.update(replica, UpdateAction::Restart, place);
            }
            _ => {}
        }
    }

    fn is_canary(&self, place: Place) -> bool {
        self.has_canary && place.number == 0 && !place.promoted && !self.spec.rollout.canary.is_zero()
    }

    fn update(&mut self, replica: ReplicaNumber, action: UpdateAction, place: Place) {
        if self.steps.iter().any(|step| step.replica == replica) {
            return;
        }
        let batch = self.batch(place);
        batch.replicas.push(replica);
        let batch = batch.number;
        self.steps.push(Step { replica, action, batch });
    }

    fn batch(&mut self, place: Place) -> &mut Batch {
        let known = self.batches.last().is_some_and(|batch| batch.place == place);
        if !known {
            let (number, canary) = (self.batches.len() + 1, self.is_canary(place));
            self.batches.push(Batch { number, canary, surge: 0, replicas: Vec::new(), pause: Span::ZERO, place });
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }
}

#[cfg(test)]
mod tests;
