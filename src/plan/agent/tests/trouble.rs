//! What goes wrong: failures, units that cannot be used, starts that hang, two replicas that want one unit.

use super::*;

#[test]
fn a_failed_unit_is_tried_again_after_a_back_off_that_doubles() {
    let mut case = Case::down(ActiveState::Failed);
    case.memory = Memory { attempts: 1, last_start: Some(case.now), ..Memory::NEW };
    let waiting = case.decide();
    assert_eq!((waiting.step, waiting.state), (None, ReplicaState::Failed));
    assert_eq!(waiting.wake_at, Some(case.now + Duration::from_secs(10)));
    case.memory.attempts = 3;
    assert_eq!(case.decide().wake_at, Some(case.now + Duration::from_secs(40)));
    case.memory.attempts = 30;
    assert_eq!(case.decide().wake_at, Some(case.now + Duration::from_secs(300)));
    case.now += Duration::from_secs(300);
    assert_eq!(case.decide().step, Some(Step::ResetAndStart));
}

/// A crash loop that takes longer than the back-off has failed for a while all the same: the controller is to see it.
#[test]
fn a_unit_that_fails_long_after_its_start_has_failed_for_a_while() {
    let mut case = Case::down(ActiveState::Failed);
    case.memory = Memory { attempts: 1, last_start: Some(case.now), ..Memory::NEW };
    case.now += Duration::from_secs(60);
    case.memory.failed(case.now);
    let failed = case.decide();
    assert_eq!((failed.step, failed.state), (None, ReplicaState::Failed));
    assert_eq!(failed.wake_at, Some(case.now + Duration::from_secs(10)));
    case.now += Duration::from_secs(10);
    assert_eq!(case.decide().step, Some(Step::ResetAndStart));
}

#[test]
fn new_work_gives_a_failed_unit_a_fresh_start() {
    let mut case = Case::down(ActiveState::Failed);
    case.memory = Memory { fresh: true, attempts: 0, last_start: Some(case.now), ..Memory::NEW };
    assert_eq!(case.decide().step, Some(Step::ResetAndStart));
}

/// While its files are written, say: the controller takes `failed` for an answer to what is wanted now.
#[test]
fn what_failed_says_nothing_of_new_work() {
    let mut case = Case { memory: Memory { fresh: true, ..Memory::NEW }, ..Case::down(ActiveState::Failed) };
    case.wanted_files.drop_in = Some("v2".into());
    assert_eq!(case.decide().state, ReplicaState::Pending, "its files are to be written");
    case.busy = Some(Busy::Files { leaves: false });
    assert_eq!(case.decide().state, ReplicaState::Pending, "they are being written");
    case.memory.fresh = false;
    assert_eq!(case.decide().state, ReplicaState::Failed);
}

/// A start that is to install a package first, and which a stop has overtaken, may start the unit yet.
#[test]
fn nothing_is_stopped_before_a_start_that_was_overtaken_is_over() {
    let mut case = Case::down(ActiveState::Inactive).mode(Mode::Disabled);
    assert_eq!(case.decide().state, ReplicaState::Stopped);
    (case.overtaken, case.busy) = (true, Some(Busy::Unknown));
    assert_eq!(case.decide().state, ReplicaState::Stopping);
}

#[test]
fn systemd_restarting_a_unit_is_left_to_it() {
    let mut case = Case::running();
    case.unit = UnitStatus {
        active: ActiveState::Activating,
        sub: "auto-restart".into(),
        exit: Some("exited with status 3".into()),
        ..case.unit
    };
    let decision = case.decide();
    assert_eq!((decision.step, decision.state, decision.listed), (None, ReplicaState::Starting, false));
    assert_eq!(decision.message.as_deref(), Some("exited with status 3"));
}

#[test]
fn a_unit_that_is_not_installed_is_failed_with_the_reason() {
    let mut case = Case::down(ActiveState::Inactive);
    case.unit.load = LoadState::NotFound;
    let decision = case.decide();
    assert_eq!((decision.step, decision.state), (None, ReplicaState::Failed));
    assert!(decision.message.unwrap().contains("webapp@0000000001.service is not installed"));
    case.links.release = false;
    assert_eq!(job(&case.decide()), Some(Verb::Start), "the package that brings it is installed with the start");
}

#[test]
fn one_step_at_a_time_and_a_failed_one_rests() {
    let mut case = Case::down(ActiveState::Inactive);
    case.busy = Some(Busy::Job(Verb::Start));
    assert_eq!((case.decide().step, case.decide().state), (None, ReplicaState::Pending));
    case.busy = None;
    case.memory.step_failed("disk full", case.now);
    assert_eq!((case.decide().step, case.decide().message.as_deref()), (None, Some("disk full")));
    case.now += Duration::from_secs(5);
    assert_eq!(job(&case.decide()), Some(Verb::Start));
}

#[test]
fn of_two_replicas_with_one_unit_the_known_one_keeps_it() {
    let mut known = Case::running();
    known.id = "zebra.0000000001".parse().unwrap();
    let mut newcomer = Case::running();
    (newcomer.id, newcomer.record) = ("alpha.0000000001".parse().unwrap(), None);
    let decisions = plan(&[newcomer.view(), known.view()], known.now);
    assert_eq!(decisions[&known.id].state, ReplicaState::Running);
    assert_eq!(decisions[&newcomer.id].state, ReplicaState::Refused);
    assert_eq!(decisions[&newcomer.id].step, None);
}

#[test]
fn what_still_runs_does_not_pass_for_what_is_wanted() {
    assert!(Case::running().decide().in_force);
    let mut case = Case::upgraded();
    assert!(!case.decide().in_force, "its files are not written yet");
    case.busy = Some(Busy::Files { leaves: false });
    assert!(!case.decide().in_force, "they are being written");
    let mut case = Case::prepared();
    assert_eq!(case.view().running_version().as_deref(), Some("v1"));
    case.in_instances = false;
    assert!(!case.decide().in_force, "it is not restarted yet");
}

#[test]
fn files_that_systemd_has_not_read_are_written_again() {
    let mut case = Case::running();
    case.loaded = false;
    assert!(matches!(case.decide().step, Some(Step::Prepare(Prepare { stale: None, .. }))));
}

#[test]
fn what_runs_goes_on_though_its_unit_could_not_be_started_again() {
    for load in [LoadState::NotFound, LoadState::Masked, LoadState::Error] {
        let mut case = Case::running();
        case.unit.load = load;
        assert_eq!(case.decide(), serves());
        let mut case = Case::prepared();
        case.unit.load = load;
        let decision = case.decide();
        assert_eq!((decision.step, decision.state, decision.listed), (None, ReplicaState::Running, true));
        assert!(decision.message.unwrap().starts_with("runs on as it is"));
    }
}

#[test]
fn a_stop_does_not_wait_for_a_start_that_hangs() {
    let mut case = Case::running();
    (case.unit.active, case.in_instances) = (ActiveState::Activating, false);
    case.busy = Some(Busy::Job(Verb::Start));
    assert_eq!(case.decide().step, None);
    assert_eq!(job(&case.decide_as(Mode::Disabled)), Some(Verb::Stop));
    case.gone = true;
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
    case.busy = Some(Busy::Job(Verb::Stop));
    assert_eq!(case.decide().step, None);
}

#[test]
fn a_start_that_hangs_gives_way_to_another_version() {
    let mut case = Case::upgraded();
    (case.unit.active, case.in_instances) = (ActiveState::Activating, false);
    case.busy = Some(Busy::Job(Verb::Start));
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
}

#[test]
fn a_unit_with_a_start_on_its_way_is_not_stopped_yet() {
    let mut case = Case::down(ActiveState::Inactive).mode(Mode::Disabled);
    case.unit.job = Some("start".into());
    assert_eq!(job(&case.decide()), Some(Verb::Stop));
    case.unit.job = None;
    case.busy = Some(Busy::Job(Verb::Start));
    assert_eq!(job(&case.decide()), Some(Verb::Stop), "systemd was asked, the unit shows it a little later");
}

#[test]
fn a_replica_waits_for_its_unit_while_another_leaves_it() {
    let mut old = Case::running();
    (old.id, old.gone) = ("alpha.0000000001".parse().unwrap(), true);
    let mut new = Case::running();
    (new.id, new.record) = ("alpha.0000000002".parse().unwrap(), None);
    let decision = plan(&[old.view(), new.view()], old.now).remove(&new.id).unwrap();
    assert_eq!((decision.step, decision.state, decision.listed), (None, ReplicaState::Pending, false));
    (old.gone, old.busy) = (false, Some(Busy::Unknown));
    assert_eq!(plan(&[old.view(), new.view()], old.now)[&new.id].state, ReplicaState::Pending);
    old.busy = None;
    assert_eq!(plan(&[old.view(), new.view()], old.now)[&new.id].state, ReplicaState::Refused);
}

#[test]
fn a_replica_found_by_its_files_is_not_restarted_for_what_is_not_known_of_it() {
    let mut case = Case::running();
    case.assignment.config_version = Some(7);
    case.record = Some(Record { prepared_key: None, ..Record::new(Case::running().assignment.check().unwrap()) });
    assert_eq!(case.decide(), serves());
}

#[test]
fn a_failure_is_told_with_what_the_process_said_last() {
    let mut case = Case::down(ActiveState::Failed);
    case.unit = UnitStatus { result: "exit-code".into(), exit: Some("exited with status 1".into()), ..case.unit };
    case.memory = Memory { attempts: 1, last_start: Some(case.now), ..Memory::NEW };
    case.last_line = LastLine::Awaited;
    let waiting = case.decide();
    assert_eq!(
        (waiting.state, waiting.message, waiting.step),
        (ReplicaState::Pending, None, None),
        "told once, with all"
    );
    assert_eq!(waiting.wake_at, Some(case.now + Duration::from_secs(10)), "what follows does not wait for words");
    case.last_line = LastLine::Known("bind: Address already in use");
    let told = "webapp@0000000001.service failed (exit-code): exited with status 1; its last line: bind: Address \
                already in use";
    assert_eq!((case.decide().state, case.decide().message.as_deref()), (ReplicaState::Failed, Some(told)));
    case.last_line = LastLine::Unknown;
    assert_eq!(case.decide().message.unwrap(), "webapp@0000000001.service failed (exit-code): exited with status 1");
    case.last_line = LastLine::Awaited;
    case.now += Duration::from_secs(10);
    assert_eq!(case.decide().step, Some(Step::ResetAndStart));
}

#[test]
fn a_failure_of_before_is_not_told_while_it_is_started_again() {
    let mut case = Case::down(ActiveState::Failed);
    case.busy = Some(Busy::Job(Verb::Start));
    assert_eq!((case.decide().state, case.decide().message), (ReplicaState::Pending, None));
}

/// As when an agent has just been started: its host has to register before it starts anything again.
#[test]
fn a_failure_is_told_with_its_reason_while_nothing_can_be_done_about_it() {
    let mut case = Case::down(ActiveState::Failed);
    case.unit = UnitStatus { result: "exit-code".into(), exit: Some("exited with status 1".into()), ..case.unit };
    (case.busy, case.last_line) = (Some(Busy::Unknown), LastLine::Known("no disk"));
    let told = "webapp@0000000001.service failed (exit-code): exited with status 1; its last line: no disk";
    assert_eq!((case.decide().state, case.decide().message.as_deref()), (ReplicaState::Failed, Some(told)));
}
