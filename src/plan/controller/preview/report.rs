//! What a preview tells: what the planner decided, in order, and what it could not do.

mod steps;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

pub(super) use self::steps::Before;
use self::steps::Facts;
pub use self::steps::{Batch, Step, What};
use super::world::World;
use crate::{
    model::{ConditionKind, ServiceName, ServiceStatus, Span, Summary},
    tree::{
        snapshot::{Doc, ServiceView},
        txn::Transaction,
    },
};

/// What the controller would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use = "nothing else comes of a preview"]
pub struct Report {
    /// What is decided, in order; rounds in which nothing is decided on any replica or rollout are left out.
    pub rounds: Vec<RoundReport>,
    /// How each service ends that anything was decided on, or that is not as wanted.
    pub services: BTreeMap<ServiceName, End>,
    /// What the planner says that no service's status can.
    pub notes: Vec<String>,
    /// Whether it came to rest. When not, it would go on from here.
    pub rests: bool,
    /// How much time passed, if agents take none.
    pub lasts: Span,
}

/// What is decided at one time, from one look at the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoundReport {
    /// How much time has passed by then, if agents take none.
    pub after: Span,
    /// In order.
    pub steps: Vec<Step>,
}

/// How a service ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// In one word.
    pub summary: Summary,
    /// How many replicas are ready.
    pub ready: u32,
    /// How many there are to be.
    pub wanted: u32,
    /// What stays undone, and why.
    pub undone: Vec<Undone>,
}

/// Why something stays undone, in the planner's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// What holds.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// In words.
    pub message: String,
    /// Whether the controller says the same today.
    pub today: bool,
}

/// What a transaction is about, before it lands.
pub(super) fn before(world: &World, transaction: &Transaction) -> Before {
    Facts::before(world, transaction)
}

/// Writes a report while a preview runs.
pub(super) struct Recorder {
    began: Timestamp,
    /// The newest rollout of each service when it began.
    rollouts: BTreeMap<ServiceName, u64>,
    /// What its conditions were.
    conditions: BTreeMap<ServiceName, Vec<(ConditionKind, String)>>,
    rounds: Vec<RoundReport>,
    notes: Vec<String>,
}

impl Recorder {
    pub(super) fn new(world: &World, now: Timestamp) -> Self {
        let services = || world.cluster.services.iter();
        let newest =
            |(name, view): (&ServiceName, &ServiceView)| Some((name.clone(), *view.rollouts.last_key_value()?.0));
        let conditions = |(name, view): (&ServiceName, &ServiceView)| {
            let said = status(view)?.conditions.iter().map(|it| (it.kind, it.message.clone()));
            Some((name.clone(), said.collect()))
        };
        Self {
            began: now,
            rollouts: services().filter_map(newest).collect(),
            conditions: services().filter_map(conditions).collect(),
            rounds: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether this rollout began since.
    pub(super) fn is_new(&self, service: &ServiceName, rollout: u64) -> bool {
        self.rollouts.get(service).is_none_or(|newest| *newest < rollout)
    }

    pub(super) fn begin_round(&mut self, now: Timestamp, notes: &[String]) {
        self.rounds.pop_if(|round| round.steps.is_empty());
        self.rounds.push(RoundReport { after: self.passed(now), steps: Vec::new() });
        for note in notes.iter().filter(|note| !self.notes.contains(note)).cloned().collect::<Vec<_>>() {
            self.notes.push(note);
        }
    }

    fn passed(&self, now: Timestamp) -> Span {
        let passed = Duration::try_from(now.duration_since(self.began)).unwrap_or_default();
        Span::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// It has landed.
    pub(super) fn landed(&mut self, world: &World, before: Before) {
        if let Some(round) = self.rounds.last_mut() {
            round.steps.extend(before.steps(world));
        }
    }

    pub(super) fn end(mut self, world: &World, now: Timestamp, rests: bool) -> Report {
        self.rounds.pop_if(|round| round.steps.is_empty());
        let touched =
            |name: &ServiceName| self.rounds.iter().flat_map(|round| &round.steps).any(|step| step.service == *name);
        let services = world.cluster.services.iter().filter_map(|(name, view)| {
            let end = self.end_of(name, status(view)?);
            let told = !end.undone.is_empty() || end.summary == Summary::Degraded || touched(name);
            told.then(|| (name.clone(), end))
        });
        let services = services.collect();
        Report { services, rests, lasts: self.passed(now), rounds: self.rounds, notes: self.notes }
    }

    fn end_of(&self, name: &ServiceName, status: &ServiceStatus) -> End {
        let before = self.conditions.get(name).map(Vec::as_slice).unwrap_or_default();
        let undone = status.conditions.iter().map(|it| Undone {
            kind: it.kind,
            message: it.message.clone(),
            today: before.iter().any(|(kind, message)| *kind == it.kind && *message == it.message),
        });
        End { summary: status.summary, ready: status.ready, wanted: status.desired, undone: undone.collect() }
    }
}

fn status(view: &ServiceView) -> Option<&ServiceStatus> {
    view.status.as_ref().and_then(Doc::good)
}
