//! `--wait`: until the controller has answered to what was written and the goal holds, by watching, never polling.

use std::{collections::BTreeSet, fmt::Write as _};

use tokio::time::{Instant, timeout_at};

use super::{
    context::Context,
    failure::Failure,
    fleet::{self, Fleet},
    live::Live,
    render::Progress,
};
use crate::{
    model::{ConditionKind, HostName, Mode, ServiceName, ServiceStatus, Span, Summary},
    store::layout,
};

/// Options of the verbs that can wait.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// Wait until it is so, and show the progress
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

/// Something that can be waited for.
pub(super) trait Goal {
    /// What is still missing, in words; `None` once the goal holds.
    fn missing(&self, fleet: &Fleet) -> Option<String>;
    /// The folder of the tree that tells.
    fn root(&self) -> String;
}

impl Goal for Target {
    fn missing(&self, fleet: &Fleet) -> Option<String> {
        let name = &self.service;
        let service = fleet.services.get(name);
        if self.aim == Aim::Gone {
            return service.map(|service| format!("{name}: {} replicas are being stopped", service.replicas.len()));
        }
        let Some(service) = service else { return Some(format!("{name}: deleted by someone else meanwhile")) };
        let Some(status) = fleet::read(service.status.as_ref()) else {
            return Some(format!("{name}: {}", fleet.no_answer()));
        };
        let answered = status.observed_desired >= Some(self.desired_version)
            && status.observed_service >= Some(self.service_version);
        if !answered {
            return Some(format!("{name}: {}", fleet.no_answer()));
        }
        (!self.holds(status)).then(|| format!("{name}: {}", progress(status)))
    }

    fn root(&self) -> String {
        layout::service(&self.service)
    }
}

impl Target {
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
        let _ = write!(text, ", {} leaving", replicas - desired);
    }
    for condition in &status.conditions {
        let _ = write!(text, "; {}: {}", condition.kind, condition.message);
    }
    text
}

/// No replica is left on a host.
#[derive(Clone, Debug)]
pub(super) struct HostEmpty(pub(super) HostName);

impl Goal for HostEmpty {
    fn missing(&self, fleet: &Fleet) -> Option<String> {
        let left: BTreeSet<String> = fleet.hosts.get(&self.0)?.assigned.keys().map(ToString::to_string).collect();
        let names = left.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if left.len() > 5 { ", …" } else { "" };
        (!left.is_empty()).then(|| format!("{}: {} left: {names}{more}", self.0, left.len()))
    }

    fn root(&self) -> String {
        layout::host(&self.0)
    }
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

async fn until<G: Goal>(goals: &[G], patience: Span, cx: &Context) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience.get();
    let mut live = Live::start(cx, goals.iter().map(Goal::root).collect());
    let mut progress = Progress::default();
    let mut missing = "ZooKeeper does not answer".to_owned();
    loop {
        let Ok(Some(fleet)) = timeout_at(deadline, live.next()).await else {
            let text = format!("timed out after {patience} waiting for {missing}");
            return Err(Failure::TimedOut(text).into());
        };
        let open: Vec<_> = goals.iter().filter_map(|goal| goal.missing(&fleet)).collect();
        if open.is_empty() {
            return Ok(());
        }
        missing = open.join("; ");
        progress.show(&format!("waiting for {missing}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fixture;

    const STATUS: &str = "/services/webapp/status";

    fn target(aim: Aim) -> Target {
        Target { service: "webapp".parse().unwrap(), aim, desired_version: 5, service_version: 2 }
    }

    fn missing(aim: Aim, status: &Value) -> Option<String> {
        let mut tree = fixture::tree();
        tree.insert(STATUS.to_owned(), fixture::node(status, 1));
        target(aim).missing(&Fleet::of(&tree))
    }

    fn status(summary: &str) -> Value {
        json!({"observed_desired": 5, "observed_service": 2, "summary": summary, "desired": 3, "replicas": 3,
               "ready": 3, "updated": 3})
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = target(Aim::Healthy).missing(&fixture::fleet()).unwrap();
        assert_eq!(text, "webapp: degraded, 1/3 ready, 2 up to date; Unplaced: 0000000003: no host fits");
        let mut tree = fixture::tree();
        tree.remove(STATUS);
        let text = target(Aim::Healthy).missing(&Fleet::of(&tree)).unwrap();
        assert_eq!(text, "webapp: the controller has not taken it up yet");
        tree.retain(|path, _| !path.starts_with(layout::ELECTION));
        let text = target(Aim::Healthy).missing(&Fleet::of(&tree)).unwrap();
        assert_eq!(text, "webapp: no controller is connected: is zkops-controller.service running?");
    }

    #[test]
    fn each_aim_has_its_end() {
        for (aim, summary) in [(Aim::Healthy, "healthy"), (Aim::Disabled, "disabled"), (Aim::Drained, "drained")] {
            assert_eq!(missing(aim, &status(summary)), None, "{summary}");
            assert!(missing(aim, &status("progressing")).is_some());
        }
        assert!(missing(Aim::Gone, &status("deleting")).is_some());
        assert_eq!(target(Aim::Gone).missing(&Fleet::default()), None);
    }

    #[test]
    fn an_answer_to_an_older_change_does_not_count() {
        for key in ["observed_desired", "observed_service"] {
            let mut old = status("healthy");
            old[key] = 1.into();
            assert!(missing(Aim::Healthy, &old).unwrap().contains("not taken it up"), "{key}");
        }
    }

    #[test]
    fn replicas_on_their_way_out_count() {
        let mut shrinking = status("healthy");
        shrinking["replicas"] = 4.into();
        assert!(missing(Aim::Healthy, &shrinking).unwrap().contains("1 leaving"));
    }

    #[test]
    fn a_document_that_was_not_accepted_is_no_success() {
        let mut refused = status("healthy");
        refused["conditions"] =
            json!([{"type": "InvalidDocument", "message": "replicas: -1", "since": "2026-11-22T18:00:00Z"}]);
        assert!(missing(Aim::Healthy, &refused).unwrap().contains("InvalidDocument: replicas: -1"));
    }

    #[test]
    fn a_host_is_empty_when_no_work_is_left() {
        let missing = |host: &str| HostEmpty(host.parse().unwrap()).missing(&fixture::fleet());
        assert_eq!(missing("web1").as_deref(), Some("web1: 1 left: webapp.0000000001"));
        assert_eq!(missing("web3"), None);
    }
}
