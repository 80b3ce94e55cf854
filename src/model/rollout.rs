//! Rollouts: how a change of what runs is brought to the replicas, and the record of each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Amount, Problem, ReplicaNumber, Span, Template, UnitName, check::version_problems};

/// How changes are rolled out. `max_unavailable` is the service's own: drains and failovers share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutPolicy {
    /// How many replicas more than wanted may run during a rollout: they are started first, with what is new, and
    /// removed when the others are done. A share counts up.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_surge: Amount,
    /// How many replicas are updated first, before anything is decided about the rest. A share counts up.
    #[serde(skip_serializing_if = "is_zero")]
    pub canary: Amount,
    /// Whether the rollout goes on by itself once the canary is healthy; else it waits for `zkops rollout promote`.
    pub auto_promote: bool,
    /// The sizes of the batches after the canary; the last repeats. Without it the rest is one batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Amount>,
    /// The pause after each batch, and after a canary that is promoted by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub batch_pause: Span,
    /// How long a replica must stay ready to count as healthy.
    pub min_healthy_time: Span,
    /// How long after its update a replica may take to become healthy.
    pub healthy_deadline: Span,
    /// How long a rollout may go without one more replica becoming healthy.
    pub progress_deadline: Span,
    /// How many replicas may fail after the canary before the rollout has failed: they are left as they are, and do not
    /// count in `max_unavailable`. A share counts down.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_failures: Amount,
    /// What is done when a deadline passes or more replicas fail.
    pub on_failure: OnFailure,
    /// How many rollouts are kept as history beside those still needed.
    pub history_limit: u32,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            max_surge: Amount::ZERO,
            canary: Amount::ZERO,
            auto_promote: false,
            batches: Vec::new(),
            batch_pause: Span::ZERO,
            min_healthy_time: Self::usual_trial(),
            healthy_deadline: Span::from_secs(300),
            progress_deadline: Span::from_secs(600),
            max_failures: Amount::ZERO,
            on_failure: OnFailure::Rollback,
            history_limit: 10,
        }
    }
}

/// What is done with a rollout that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Back to what was healthy last.
    #[default]
    Rollback,
    /// It stops as it is, for a person to decide.
    Pause,
}

/// What replicas run: the same everywhere once a rollout is completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The configuration revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
    /// The unit, as the description names it.
    pub unit: UnitName,
    /// The rest of it.
    pub template: Template,
}

/// `/services/<svc>/rollouts/<seq>`: one rollout, the leader's. The newest is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// How far it is.
    pub state: RolloutState,
    /// Why it is in this state, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it is paused, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseCause>,
    /// What it brings.
    pub revision: Revision,
    /// The rollout whose revision was healthy last: a rollback returns to it. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Whether it goes back to `from`; also while paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
    /// Why it goes back, or went back, in words; empty while it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// When it began.
    pub started: Timestamp,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Which batch it is at, from 0; the canary is one.
    #[serde(default)]
    pub batch: u32,
    /// Since when all of the batch is healthy, during the pause after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_done: Option<Timestamp>,
    /// Whether it needs no canary (any more): promoted, or its revision is known to be good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoted: bool,
    /// Whether a person had it go on after a failure: replicas that failed are given until the deadlines.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// When it last made progress: one more replica healthy, a resume, the beginning of a rollback.
    pub progress: Timestamp,
    /// The most replicas that were healthy with what it brings.
    #[serde(default)]
    pub healthy: u32,
    /// When each replica that is not healthy yet was updated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub updating: BTreeMap<ReplicaNumber, Timestamp>,
    /// The znode version of the last [`RolloutOrder`] that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i32>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Replicas are being updated.
    Running,
    /// Nothing more is updated until its cause ends.
    Paused,
    /// Replicas are being taken back to what was healthy last.
    RollingBack,
    /// Every replica is healthy with what it brought.
    Completed,
    /// Every replica is back at what was healthy before.
    RolledBack,
    /// Something else was wanted before it ended.
    Superseded,
}

impl RolloutState {
    /// The state as documents and tables spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RollingBack => "rolling_back",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more will happen in it.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Superseded)
    }
}

impl std::fmt::Display for RolloutState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a rollout is paused, which says what ends the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// A person asked for it; `resume` ends it.
    Operator,
    /// The canary is healthy; `promote` ends it.
    Canary,
    /// It failed, and the policy says to pause, or there is nothing to go back to; `resume` tries on, `abort` goes back.
    Failure,
    /// The service is not enabled: nothing can become healthy. Ends by itself.
    Disabled,
}

/// The data of `/services/<svc>/rollouts`: the operator's last word on a rollout, and those before it that no controller
/// had heard by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutOrder {
    /// Which rollout; an order for another than the newest is void.
    pub rollout: u64,
    /// What to do.
    pub action: RolloutAction,
    /// Who says so, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What was said before, and not carried out when this was written; in order. It is carried out first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierOrder>,
}

/// An order that another followed before a controller had heard it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierOrder {
    /// What to do.
    pub action: RolloutAction,
    /// Who says so, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The version of the node with which it was the last word: a controller that has carried out that version has heard
    /// it.
    pub version: i32,
}

impl RolloutOrder {
    /// The most unheard orders that are kept; the oldest go first.
    pub const MOST_EARLIER: usize = 20;

    /// An order that follows another, which was version `version` of the node. `seen` is the version that the rollout's
    /// record says is carried out: what came after it is kept.
    #[must_use]
    pub fn after(self, before: &Self, version: i32, seen: Option<i32>) -> Self {
        if before.rollout != self.rollout || seen >= Some(version) {
            return self;
        }
        let last = EarlierOrder { action: before.action, by: before.by.clone(), version };
        let mut earlier: Vec<_> = before.earlier.iter().filter(|word| seen < Some(word.version)).cloned().collect();
        earlier.push(last);
        earlier.drain(..earlier.len().saturating_sub(Self::MOST_EARLIER));
        Self { earlier, ..self }
    }
}

/// What an operator may tell a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutAction {
    /// Update nothing more for now.
    Pause,
    /// Go on; a rollout that was rolled back begins again.
    Resume,
    /// The canary is good: update the rest.
    Promote,
    /// Go back to what was healthy last.
    Abort,
}

/// What a service's status says of its newest rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSummary {
    /// Its number.
    pub number: u64,
    /// How far it is.
    pub state: RolloutState,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many replicas are healthy with what is being rolled out, or back.
    pub healthy: u32,
    /// How many there are to be.
    pub total: u32,
}

impl Rollout {
    /// What is wrong with the record beyond its shape.
    pub fn problems(&self) -> Vec<Problem> {
        let Revision { version, template, .. } = &self.revision;
        let of_version = version.iter().flat_map(|version| version_problems("version", version));
        let of_source = version.iter().flat_map(|version| template.source.version_problems(version));
        let of_template = template.problems().into_iter().map(|problem| problem.within("template"));
        of_version.chain(of_source).chain(of_template).map(|problem| problem.within("revision")).collect()
    }
}

impl RolloutPolicy {
    /// The default of `min_healthy_time`.
    pub(super) const fn usual_trial() -> Span {
        Span::from_secs(10)
    }

    pub(super) fn is_usual_trial(span: &Span) -> bool {
        *span == Self::usual_trial()
    }

    pub(super) fn problems(&self, max_unavailable: Amount) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |bad: bool, key: &str, message: &str| {
            if bad {
                problems.push(Problem::new(key, message));
            }
        };
        let stuck = max_unavailable.is_zero() && self.max_surge.is_zero();
        check(stuck, "max_unavailable", "must be 1 or more unless rollout.max_surge is, or nothing could ever change");
        check(self.batches.iter().any(|batch| batch.is_zero()), "rollout.batches", "each batch must be 1 or more");
        let nothing = |span: Span| span.get().is_zero();
        check(nothing(self.healthy_deadline), "rollout.healthy_deadline", "must be longer than nothing");
        check(nothing(self.progress_deadline), "rollout.progress_deadline", "must be longer than nothing");
        let late = self.min_healthy_time >= self.healthy_deadline && !nothing(self.healthy_deadline);
        check(late, "rollout.healthy_deadline", "must be longer than min_healthy_time");
        let late = self.healthy_deadline > self.progress_deadline && !nothing(self.progress_deadline);
        check(late, "rollout.progress_deadline", "must not be shorter than healthy_deadline");
        problems
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(amount: &Amount) -> bool {
    amount.is_zero()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
