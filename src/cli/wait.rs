//! `--wait`: until the controller has answered to what was written and the goal holds, by watching, never polling.

mod drained;
mod refused;

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

pub(super) use self::drained::Drained;

use tokio::time::{Instant, timeout_at};

use super::{
    context::Context,
    document::Change,
    failure::Failure,
    fleet::{self, Fleet, Service},
    goal::Goal,
    live::Live,
    render::Progress,
    rollout::{
        follow::{Follow, Stand},
        words,
    },
};
use crate::{
    model::{ConditionKind, Mode, PauseCause, ServiceName, ServiceStatus, Span, Summary, counted},
    tree::layout,
};

/// Options of the verbs that can wait.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// Wait until the change has taken effect, showing progress
    #[arg(short, long)]
    wait: bool,
    /// How long to wait before giving up with exit code 5
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "wait")]
    timeout: Span,
}

/// What a service shall have become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Every replica that is wanted is ready and up to date, and there is no other.
    Healthy,
    /// Stopped, by mode `disabled`.
    Disabled,
    /// Stopped, by mode `drain`.
    Drained,
    /// No longer there.
    Gone,
}

impl WaitArgs {
    /// How long to wait, when asked to.
    pub(super) fn patience(self) -> Option<Span> {
        self.wait.then_some(self.timeout)
    }
}

impl Aim {
    /// What a service in this mode is to become.
    pub(super) const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Enabled => Self::Healthy,
            Mode::Disabled => Self::Disabled,
            Mode::Drain => Self::Drained,
        }
    }

    const fn summary(self) -> Option<Summary> {
        match self {
            Self::Healthy => Some(Summary::Healthy),
            Self::Disabled => Some(Summary::Disabled),
            Self::Drained => Some(Summary::Drained),
            Self::Gone => None,
        }
    }
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The service.
    pub(super) service: ServiceName,
    /// What it shall have become.
    pub(super) aim: Aim,
    /// The version of `desired` that the controller must have answered to.
    pub(super) desired_version: i32,
    /// The version of the description that the controller must have answered to.
    pub(super) service_version: i32,
}

impl Goal for Target {
    fn missing(&self, fleet: &Fleet) -> Option<String> {
        let name = &self.service;
        let service = fleet.services.get(name);
        if self.aim == Aim::Gone {
            return service.map(|service| format!("{name}: stopping {}", counted(service.replicas.len(), "replica")));
        }
        let Some(service) = service else { return Some(format!("{name}: deleted by someone else meanwhile")) };
        let Some(status) = fleet::read(service.status.as_ref()) else {
            return Some(format!("{name}: {}", fleet.no_answer()));
        };
        if !self.is_answered(status) {
            return Some(format!("{name}: {}", fleet.no_answer()));
        }
        let under_way = self.rollout_under_way(service, fleet);
        if self.holds(status) && under_way.is_none() {
            return None;
        }
        let rollout = under_way.map(|line| format!("; {line}")).unwrap_or_default();
        Some(format!("{name}: {}{rollout}", progress(status)))
    }

    fn lost(&self, fleet: &Fleet) -> Option<Failure> {
        let status = fleet::read(fleet.services.get(&self.service)?.status.as_ref())?;
        if self.aim != Aim::Healthy || !self.is_answered(status) {
            return None;
        }
        let follow = Follow::newest(&self.service);
        let ended = follow.find(fleet).ok().and_then(|(number, record, stand)| follow.ended(number, record, stand));
        ended.or_else(|| refused::by_all(&self.service, fleet).map(Failure::RolloutFailed))
    }

    fn roots(&self) -> Vec<String> {
        let hosts = (self.aim == Aim::Healthy).then(|| layout::HOSTS.to_owned());
        hosts.into_iter().chain([layout::service(&self.service)]).collect()
    }
}

impl Target {
    /// The service as these changes want it.
    pub(super) fn new(service: &ServiceName, mode: Mode, description: &Change, desired: &Change) -> Self {
        Self {
            service: service.clone(),
            aim: Aim::of(mode),
            desired_version: desired.version_after(),
            service_version: description.version_after(),
        }
    }

    fn is_answered(&self, status: &ServiceStatus) -> bool {
        status.observed_desired >= Some(self.desired_version) && status.observed_service >= Some(self.service_version)
    }

    /// What the newest rollout is at, for a service that is to run and has rollouts.
    fn rollout_under_way(&self, service: &Service, fleet: &Fleet) -> Option<String> {
        if self.aim != Aim::Healthy {
            return None;
        }
        let (number, record) = service.newest_rollout()?;
        match Follow::newest(&self.service).find(fleet) {
            // With no replica wanted there is nobody to bring anything to.
            _ if record.pause == Some(PauseCause::Disabled) => None,
            Err(why) => Some(why),
            Ok((_, _, Stand::Completed)) => None,
            Ok(_) => Some(words::line(service, number, record)),
        }
    }

    fn holds(&self, status: &ServiceStatus) -> bool {
        let refused = status.conditions.iter().any(|condition| condition.kind == ConditionKind::InvalidDocument);
        let exact = self.aim != Aim::Healthy || status.replicas == status.desired;
        Some(status.summary) == self.aim.summary() && exact && !refused
    }
}

/// How far a service is, and what stands in the way.
fn progress(status: &ServiceStatus) -> String {
    let ServiceStatus { summary, ready, updated, desired, replicas, .. } = status;
    let mut text = format!("{summary}, {ready}/{desired} ready, {updated} up to date");
    if replicas > desired {
        let _ = write!(text, ", {} more than wanted", replicas - desired);
    }
    for condition in &status.conditions {
        let _ = write!(text, "; {}: {}", condition.kind, condition.message);
    }
    text
}

/// Waits for all goals when the person asked for it.
///
/// # Errors
/// [`Failure::TimedOut`] with what is still missing.
pub(super) async fn when_asked<G: Goal>(args: &WaitArgs, goals: Vec<G>, cx: &Context) -> anyhow::Result<()> {
    if !args.wait {
        return Ok(());
    }
    until(&goals, args.timeout, cx).await
}

/// The moment in which a patience that begins now is over; one that is beyond all clocks lasts for a lifetime.
pub(super) fn after(patience: Duration) -> Instant {
    const LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(patience.min(LIFETIME)).unwrap_or(now)
}

async fn until<G: Goal>(goals: &[G], patience: Span, cx: &Context) -> anyhow::Result<()> {
    let deadline = after(patience.get());
    let roots: BTreeSet<String> = goals.iter().flat_map(Goal::roots).collect();
    let mut live = Live::start(cx, roots.into_iter().collect());
    let mut progress = Progress::default();
    let mut missing = "ZooKeeper does not answer".to_owned();
    loop {
        let Ok(Some(fleet)) = timeout_at(deadline, live.next()).await else {
            let text = format!("timed out after {patience} waiting for {missing}");
            return Err(Failure::TimedOut(text).into());
        };
        if let Some(failure) = goals.iter().find_map(|goal| goal.lost(&fleet)) {
            return Err(failure.into());
        }
        let open: Vec<_> = goals.iter().filter_map(|goal| goal.missing(&fleet)).collect();
        if open.is_empty() {
            return Ok(());
        }
        missing = open.join("; ");
        progress.show(&format!("waiting for {missing}"));
    }
}

#[cfg(test)]
mod tests;
