//! What systemd does not even begin to start, and what ends and counts as active.

use super::*;

/// Not started so often in a row, the last time now.
fn obstructed(count: u32) -> Case {
    let mut case = Case::down(ActiveState::Inactive);
    let why = "webapp requires needs.service, which is not installed".to_owned();
    case.memory = Memory { attempts: count, last_start: Some(case.now), ..Memory::NEW };
    for _ in 0..count {
        case.memory.obstructed(&why);
    }
    case
}

#[test]
fn what_cannot_be_started_is_failed_after_the_start_limit_and_says_why() {
    let restart = Case::running().assignment.template.restart;
    for count in 1..restart.limit_burst {
        let mut case = obstructed(count);
        let waiting = case.decide();
        assert_eq!((waiting.step, waiting.state), (None, ReplicaState::Pending), "{count}");
        assert_eq!(waiting.wake_at, Some(case.now + restart.delay.get()), "as what crashes");
        case.now += restart.delay.get();
        assert_eq!(job(&case.decide()), Some(Verb::Start), "{count}");
    }
    for (past, rest) in [(0, 10), (1, 20), (10, 300)] {
        let mut case = obstructed(restart.limit_burst + past);
        let decision = case.decide();
        assert_eq!((decision.step, decision.state), (None, ReplicaState::Failed));
        assert!(decision.message.unwrap().contains("needs.service"));
        assert_eq!(decision.wake_at, Some(case.now + Duration::from_secs(rest)));
        case.now += Duration::from_secs(rest);
        let again = case.decide();
        assert_eq!((job(&again), again.state), (Some(Verb::Start), ReplicaState::Failed));
        case.busy = Some(Busy::Job(Verb::Start));
        assert_eq!(case.decide().state, ReplicaState::Failed, "a try is no news");
    }
}

#[test]
fn what_came_up_all_the_same_is_as_good_as_any() {
    let mut case = obstructed(9);
    (case.unit, case.in_instances) = (Case::running().unit, true);
    assert_eq!(case.decide(), serves());
}

#[test]
fn a_unit_that_refuses_to_be_started_is_not_tried() {
    let mut case = Case::down(ActiveState::Inactive);
    case.unit.refuses_start = true;
    let decision = case.decide();
    assert_eq!((decision.step, decision.state), (None, ReplicaState::Failed));
    assert!(decision.message.unwrap().contains("RefuseManualStart"));
}

/// `RemainAfterExit=yes`, and its process is gone.
fn remaining(kind: &str) -> Case {
    let mut case = Case::running();
    case.unit = UnitStatus {
        sub: "exited".into(),
        kind: kind.into(),
        main_pid: None,
        has_processes: false,
        exit: Some("exited with status 0".into()),
        ..case.unit
    };
    case
}

#[test]
fn active_without_a_process_is_not_running_unless_it_is_a_oneshot() {
    assert_eq!(remaining("oneshot").decide(), serves());
    let mut case = remaining("simple");
    let decision = case.decide();
    assert_eq!((job(&decision), decision.listed), (Some(Verb::Restart), false));
    case.memory = Memory { attempts: 1, last_start: Some(case.now), ..Memory::NEW };
    let waiting = case.decide();
    assert_eq!((waiting.step, waiting.state, waiting.listed), (None, ReplicaState::Pending, false));
    assert_eq!(waiting.wake_at, Some(case.now + Duration::from_secs(10)), "as what ends with status 0");
    case.in_instances = false;
    assert_eq!(job(&case.decide_as(Mode::Disabled)), Some(Verb::Stop));
}
