//! Each rule of the agent's decisions, one test a rule. Times are offsets from an arbitrary start.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod force;
mod health;
mod obstructed;
mod staging;
mod trouble;
mod truth;
mod work;

use std::time::{Duration, Instant};

use super::*;
use crate::model::{
    ActiveState, Assignment, CheckedAssignment, Desired, LoadState, Mode, Record, ReplicaDesired, ReplicaNumber,
    ServiceSpec, Span, Stale, UnitStatus,
};

/// One replica and all that is known of it; each test changes what it is about.
#[expect(clippy::struct_excessive_bools, reason = "each is set by the tests that are about it")]
struct Case {
    id: ReplicaId,
    assignment: Assignment,
    wanted_files: Files,
    key: String,
    record: Option<Record>,
    unit: UnitStatus,
    files: Files,
    memory: Memory,
    loaded: bool,
    in_instances: bool,
    busy: Option<Busy>,
    disk_busy: bool,
    gone: bool,
    overtaken: bool,
    links: Links,
    probed: Probed<'static>,
    last_line: LastLine<'static>,
    upcoming: Option<(CheckedAssignment, Staging<'static>)>,
    awaited: bool,
    now: Instant,
}

impl Case {
    /// Enabled, prepared and running, in `instances`.
    fn running() -> Self {
        let spec = ServiceSpec::new("webapp@.service".parse().unwrap());
        let desired = ReplicaDesired::unplaced(&Desired { version: Some("v1".into()), ..Desired::default() });
        let assignment = Assignment::new(&spec.revision(&Desired::default()), &desired, ReplicaNumber(1));
        let files = Files { drop_in: Some("v1".into()), variables: None, unit_file: None };
        let record = Record { prepared_key: Some("v1".into()), ..Record::new(assignment.clone().check().unwrap()) };
        let unit = UnitStatus {
            load: LoadState::Loaded,
            active: ActiveState::Active,
            main_pid: Some(42),
            invocation: "one".into(),
            has_processes: true,
            ..UnitStatus::not_found()
        };
        Self {
            id: "webapp.0000000001".parse().unwrap(),
            assignment,
            wanted_files: files.clone(),
            key: "v1".into(),
            record: Some(record),
            unit,
            files,
            memory: Memory::NEW,
            loaded: true,
            in_instances: true,
            busy: None,
            disk_busy: false,
            gone: false,
            overtaken: false,
            links: Links::RIGHT,
            probed: Probed::FINE,
            last_line: LastLine::Unknown,
            upcoming: None,
            awaited: false,
            now: Instant::now(),
        }
    }

    /// The same, its unit down and nothing listed.
    fn down(active: ActiveState) -> Self {
        let mut case = Self::running();
        case.unit = UnitStatus { active, main_pid: None, has_processes: false, ..case.unit };
        case.in_instances = false;
        case
    }

    fn mode(mut self, mode: Mode) -> Self {
        self.assignment.mode = mode;
        self
    }

    fn decide(&self) -> Decision {
        decide(&self.view(), None, self.now)
    }

    fn decide_as(&self, mode: Mode) -> Decision {
        let mut assignment = self.assignment.clone();
        assignment.mode = mode;
        let wanted = Wanted::Assigned { assignment: &assignment, files: &self.wanted_files, key: &self.key };
        decide(&View { wanted, ..self.view() }, None, self.now)
    }

    fn view(&self) -> View<'_> {
        let wanted = if self.gone {
            Wanted::Leaving { assignment: &self.assignment, why: "is no longer assigned", drain_time: Duration::ZERO }
        } else if self.awaited {
            Wanted::Awaited(&self.assignment)
        } else {
            Wanted::Assigned { assignment: &self.assignment, files: &self.wanted_files, key: &self.key }
        };
        View {
            id: &self.id,
            wanted,
            record: self.record.as_ref(),
            unit: &self.unit,
            files: &self.files,
            loaded: self.loaded,
            memory: &self.memory,
            in_instances: self.in_instances,
            busy: self.busy,
            disk_busy: self.disk_busy,
            upcoming: self.upcoming.as_ref().map(|(assignment, staging)| Upcoming { assignment, staging: *staging }),
            overtaken: self.overtaken,
            links: self.links,
            probed: self.probed,
            last_line: self.last_line,
        }
    }

    /// A new version is wanted; its files are not written yet.
    fn upgraded() -> Self {
        let mut case = Self::running();
        case.assignment.version = Some("v2".into());
        case.key = "v2".into();
        case.wanted_files.drop_in = Some("v2".into());
        case
    }

    /// The new version's files are written; the old process still runs.
    fn prepared() -> Self {
        let mut case = Self::upgraded();
        case.files = case.wanted_files.clone();
        let stale = Stale { invocation: "one".into(), version: Some("v1".into()), key: Some("v1".into()) };
        case.record = Some(Record { prepared_key: Some("v2".into()), stale: Some(stale), ..case.record.unwrap() });
        case
    }
}

/// Runs as wanted, in `instances`.
fn serves() -> Decision {
    Decision { in_force: true, ..Decision::steady(ReplicaState::Running, true) }
}

fn job(decision: &Decision) -> Option<Verb> {
    match decision.step {
        Some(Step::Job(verb)) => Some(verb),
        _ => None,
    }
}

#[test]
fn what_runs_as_wanted_is_left_alone() {
    assert_eq!(Case::running().decide(), serves());
}

#[test]
fn an_inactive_unit_is_started_at_once() {
    let decision = Case::down(ActiveState::Inactive).decide();
    assert_eq!((job(&decision), decision.listed), (Some(Verb::Start), false));
}

#[test]
fn files_come_before_the_start() {
    let mut case = Case::down(ActiveState::Inactive);
    (case.files, case.record) = (Files::default(), None);
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!("{:?}", case.decide()) };
    assert_eq!(
        prepare,
        Prepare { files: case.wanted_files.clone(), key: "v1".into(), stale: None, seen: "one".into(), leaves: false }
    );
}

#[test]
fn a_running_unit_of_before_is_adopted_without_a_restart() {
    let mut case = Case::running();
    (case.files, case.record) = (Files::default(), None);
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!() };
    assert_eq!(prepare.stale, None);
    (case.files, case.record) =
        (case.wanted_files.clone(), Some(Record::new(case.assignment.clone().check().unwrap())));
    assert_eq!(case.decide().step, None);
}

#[test]
fn a_new_version_is_prepared_while_the_old_one_leaves_instances() {
    let decision = Case::upgraded().decide();
    let Some(Step::Prepare(prepare)) = decision.step else { panic!() };
    assert_eq!(
        prepare.stale,
        Some(Stale { invocation: "one".into(), version: Some("v1".into()), key: Some("v1".into()) })
    );
    assert!(prepare.leaves);
    assert_eq!((decision.listed, decision.state), (false, ReplicaState::Draining));
    let mut case = Case::upgraded();
    case.busy = Some(Busy::Files { leaves: true });
    let decision = case.decide();
    assert_eq!((decision.listed, decision.state), (false, ReplicaState::Draining), "while they are written, too");
}

#[test]
fn a_new_version_that_could_not_be_prepared_leaves_the_old_one_in_instances() {
    let mut case = Case::upgraded();
    case.memory.step_failed("disk full", case.now);
    (case.in_instances, case.memory.unlisted_at) = (false, Some(case.now));
    let decision = case.decide();
    assert_eq!((&decision.step, decision.listed), (&None, true), "what left comes back");
    (case.in_instances, case.memory.unlisted_at) = (true, None);
    case.now += Duration::from_secs(5);
    let decision = case.decide();
    assert!(matches!(decision.step, Some(Step::Prepare(_))) && decision.listed, "it serves until that has succeeded");
}

#[test]
fn what_restarts_nothing_takes_nobody_out_of_instances() {
    let mut case = Case::running();
    let earlier = Stale { invocation: "zero".into(), version: Some("v0".into()), key: Some("v0".into()) };
    case.record.as_mut().unwrap().stale = Some(earlier);
    case.wanted_files.drop_in = Some("v1, other RestartSec".into());
    let decision = case.decide();
    let Some(Step::Prepare(prepare)) = decision.step else { panic!() };
    assert_eq!((prepare.leaves, decision.listed, decision.state), (false, true, ReplicaState::Running));
}

#[test]
fn nobody_leaves_instances_to_wait_for_the_disk() {
    let decision = Case { disk_busy: true, ..Case::upgraded() }.decide();
    assert_eq!((decision.listed, decision.state), (true, ReplicaState::Running));
}

#[test]
fn what_left_for_a_step_that_failed_serves_while_its_unit_cannot_be_read() {
    let mut case = Case::upgraded();
    (case.in_instances, case.busy) = (false, Some(Busy::Unknown));
    case.memory.step_failed("the bus is away", case.now);
    case.memory.unlisted(case.now);
    assert!(case.decide().listed);
    case.busy = Some(Busy::Job(Verb::Restart));
    assert!(!case.decide().listed);
}

#[test]
fn a_process_that_is_being_replaced_does_not_pass_for_one_that_runs() {
    let mut case = Case::prepared();
    (case.in_instances, case.busy) = (false, Some(Busy::Job(Verb::Restart)));
    assert_eq!(case.decide().state, ReplicaState::Stopping);
    case.unit.invocation = "two".into();
    assert_eq!(case.decide().state, ReplicaState::Running);
}

#[test]
fn a_restart_waits_until_the_replica_has_left_instances() {
    let mut case = Case::prepared();
    let decision = case.decide();
    assert_eq!((decision.step.clone(), decision.listed, decision.state), (None, false, ReplicaState::Draining));
    assert_eq!(decision.reason, "version changes from v1 to v2");
    case.in_instances = false;
    assert_eq!(job(&case.decide()), Some(Verb::Restart));
    case.unit.invocation = "two".into();
    assert_eq!(case.decide(), serves());
}

#[test]
fn a_second_new_version_before_the_restart_keeps_what_is_stale() {
    let mut case = Case::prepared();
    (case.key, case.wanted_files.drop_in) = ("v3".into(), Some("v3".into()));
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!() };
    assert_eq!(prepare.stale.unwrap().version.as_deref(), Some("v1"));
}

#[test]
fn restart_policy_alone_restarts_nothing() {
    let mut case = Case::running();
    case.wanted_files.drop_in = Some("v1, other RestartSec".into());
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!() };
    assert_eq!(prepare.stale, None);
}

#[test]
fn a_new_config_reloads_where_the_unit_can() {
    let mut case = Case::running();
    case.assignment.config_version = Some(8);
    case.unit.can_reload = true;
    let decision = case.decide();
    assert_eq!((job(&decision), decision.listed), (Some(Verb::Reload), true));
    assert_eq!(decision.reason, "config_version changes from none to 8");
}

#[test]
fn a_new_config_restarts_where_the_unit_cannot_reload() {
    let mut case = Case::running();
    case.assignment.config_version = Some(8);
    assert_eq!(case.decide().state, ReplicaState::Draining);
    case.in_instances = false;
    assert_eq!(job(&case.decide()), Some(Verb::Restart));
}

#[test]
fn disabled_leaves_instances_then_stops_at_once() {
    let mut case = Case::running().mode(Mode::Disabled);
    case.assignment.template.drain_time = Span::from_secs(60);
    assert_eq!((case.decide().step, case.decide().listed), (None, false));
    (case.in_instances, case.memory.unlisted_at) = (false, Some(case.now));
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
}

#[test]
fn drain_waits_its_time_outside_instances() {
    let mut case = Case::running().mode(Mode::Drain);
    case.assignment.template.drain_time = Span::from_secs(60);
    assert_eq!((case.decide().step, case.decide().listed), (None, false));
    (case.in_instances, case.memory.unlisted_at) = (false, Some(case.now));
    let waiting = case.decide();
    assert_eq!((waiting.step, waiting.wake_at), (None, Some(case.now + Duration::from_secs(60))));
    case.now += Duration::from_secs(60);
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
}

#[test]
fn stopped_means_that_no_process_is_left() {
    let mut case = Case::down(ActiveState::Inactive).mode(Mode::Drain);
    assert_eq!(case.decide(), Decision::steady(ReplicaState::Stopped, false));
    case.unit.has_processes = true;
    assert_eq!((case.decide().state, case.decide().step), (ReplicaState::Stopping, None));
}

#[test]
fn what_is_no_longer_ours_is_stopped_then_forgotten() {
    let mut case = Case::running();
    (case.gone, case.in_instances) = (true, false);
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
    let mut case = Case::down(ActiveState::Failed);
    case.gone = true;
    assert_eq!(case.decide().step, Some(Step::Forget));
    case.unit.has_processes = true;
    assert_eq!(case.decide().step, None);
}

proptest::proptest! {
    /// Whatever is wanted and seen: a process is never stopped or restarted while its replica is in `instances`, a
    /// replica that is not wanted is never listed, and one whose unit is not up is never listed again.
    #[test]
    fn leaving_instances_always_comes_first(
        active in proptest::sample::select(vec![ActiveState::Active, ActiveState::Reloading, ActiveState::Inactive, ActiveState::Failed,
            ActiveState::Activating, ActiveState::Deactivating, ActiveState::Maintenance, ActiveState::Unknown]),
        mode in proptest::sample::select(vec![Mode::Enabled, Mode::Disabled, Mode::Drain]),
        prepared: bool, in_instances: bool, gone: bool, can_reload: bool, has_processes: bool, loaded: bool,
        busy in proptest::sample::select(vec![None, Some(Busy::Unknown), Some(Busy::Files { leaves: false }),
            Some(Busy::Files { leaves: true }), Some(Busy::Job(Verb::Start)),
            Some(Busy::Job(Verb::Restart)), Some(Busy::Job(Verb::Reload)), Some(Busy::Job(Verb::Stop))]),
        config in proptest::option::of(0_u64..3),
        (ready, alive, release, linked, upcoming, dead) in proptest::prelude::any::<(bool, bool, bool, bool, bool, bool)>(),
    ) {
        let mut case = if prepared { Case::prepared() } else { Case::upgraded() }.mode(mode);
        (case.in_instances, case.busy, case.gone, case.loaded) = (in_instances, busy, gone, loaded);
        case.unit = UnitStatus { active, can_reload, has_processes, ..case.unit };
        case.assignment.config_version = config;
        case.probed = Probed { ready, alive, message: None, setback: None };
        case.links = Links { release, config: linked };
        case.memory.revived = if dead { vec![case.now; 9] } else { Vec::new() };
        if upcoming {
            case.upcoming = Some((case.assignment.clone().check().unwrap(), Staging::Due));
        }
        let decision = case.decide();
        if in_instances {
            let ends = Step::Job(Verb::Stop);
            let ends = decision.step == Some(ends)
                || matches!(decision.step, Some(Step::Job(Verb::Restart) | Step::Forget | Step::Revive | Step::GiveUp));
            proptest::prop_assert!(!ends);
        }
        proptest::prop_assert!(ready || !decision.listed, "what is not ready is out at once");
        proptest::prop_assert!(!decision.stage || upcoming);
        if gone || mode != Mode::Enabled {
            proptest::prop_assert!(!decision.listed);
        }
        if !in_instances && active != ActiveState::Active {
            proptest::prop_assert!(!decision.listed);
        }
        if busy.is_some() {
            let overtakes = matches!(busy, Some(Busy::Job(verb)) if verb != Verb::Stop);
            proptest::prop_assert!(decision.step.is_none() || (overtakes && job(&decision) == Some(Verb::Stop)));
        }
        if decision.in_force {
            proptest::prop_assert!(prepared && !case.view().is_stale() && !gone && mode == Mode::Enabled);
            proptest::prop_assert!(!upcoming && release && linked);
        }
    }
}
