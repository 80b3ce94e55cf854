//! Readiness and liveness.

use super::*;
use crate::model::{Probe, Probes, SystemdCheck};

const DEAD: Probed<'static> =
    Probed { ready: true, alive: false, message: Some("liveness: connection refused"), setback: None };
const NOT_READY: Probed<'static> = Probed { ready: false, alive: true, message: Some("readiness: 503"), setback: None };

fn dead() -> Case {
    let mut case = Case::running();
    case.probed = DEAD;
    let systemd = Some(SystemdCheck {});
    let liveness = Probe { systemd, period: Span::from_secs(1), failure_threshold: 1, ..Probe::default() };
    case.assignment.template.probes = Probes { liveness: Some(liveness), readiness: None };
    case.record.as_mut().unwrap().assignment = case.assignment.clone().check().unwrap();
    case
}

#[test]
fn what_is_not_ready_is_out_of_instances_and_runs_on() {
    let mut case = Case::running();
    case.probed = NOT_READY;
    let decision = case.decide();
    assert_eq!((&decision.step, decision.listed, decision.ready), (&None, false, false));
    assert_eq!((decision.state, decision.in_force), (ReplicaState::Running, true));
    assert_eq!(decision.message.as_deref(), Some("readiness: 503"));
    case.in_instances = false;
    assert!(!case.decide().listed);
    case.probed = Probed::FINE;
    assert_eq!(case.decide(), serves());
}

#[test]
fn what_is_not_ready_stays_out_while_a_step_is_under_way() {
    for busy in [Busy::Files { leaves: false }, Busy::Unknown, Busy::Job(Verb::Reload)] {
        let mut case = Case::running();
        case.busy = Some(busy);
        assert!(case.decide().listed, "{busy:?}");
        case.probed = NOT_READY;
        assert!(!case.decide().listed, "{busy:?}");
    }
}

#[test]
fn what_is_not_alive_leaves_instances_then_is_restarted() {
    let mut case = dead();
    case.assignment.template.drain_time = Span::from_secs(60);
    let decision = case.decide();
    assert_eq!((decision.step, decision.listed, decision.state), (None, false, ReplicaState::Draining));
    (case.in_instances, case.memory.unlisted_at) = (false, Some(case.now));
    let decision = case.decide();
    assert_eq!(decision.step, Some(Step::Revive), "it serves nobody: there is nothing to drain");
    assert_eq!(decision.reason, "liveness: connection refused");
}

#[test]
fn restarts_that_do_not_help_end() {
    let mut case = dead();
    case.in_instances = false;
    case.assignment.template.restart.limit_burst = 3;
    case.memory.revived = vec![case.now; 2];
    assert_eq!(case.decide().step, Some(Step::Revive));
    case.memory.revived = vec![case.now; 3];
    assert_eq!(case.decide().step, Some(Step::GiveUp));
    case.now += Duration::from_secs(60);
    assert_eq!(case.decide().step, Some(Step::Revive), "that was long ago");
}

#[test]
fn a_slow_probe_reaches_the_limit_too() {
    let mut case = dead();
    case.in_instances = false;
    let liveness = Probe::default();
    case.assignment.template.probes.liveness = Some(liveness);
    // Five restarts, one every 33 s, are more than limit_interval apart.
    case.memory.revived = (0..5).map(|at| case.now + Duration::from_secs(33 * at)).collect();
    case.now += Duration::from_secs(33 * 5);
    assert_eq!(case.decide().step, Some(Step::GiveUp));
}

#[test]
fn what_was_given_up_is_failed_and_tried_again_after_a_back_off() {
    for (active, step) in [(ActiveState::Inactive, Step::Job(Verb::Start)), (ActiveState::Failed, Step::ResetAndStart)]
    {
        let mut case = Case::down(active);
        case.memory.dead = Some("liveness: connection refused".into());
        (case.memory.attempts, case.memory.last_start) = (1, Some(case.now));
        let decision = case.decide();
        assert_eq!((decision.step, decision.state), (None, ReplicaState::Failed));
        assert_eq!(decision.message.as_deref(), Some("liveness: connection refused"));
        case.now = decision.wake_at.unwrap();
        assert_eq!((case.decide().step, case.decide().state), (Some(step), ReplicaState::Failed));
    }
}

#[test]
fn a_restart_that_is_due_anyway_does_not_count_as_a_revival() {
    let mut case = Case::prepared();
    (case.probed, case.in_instances) = (DEAD, false);
    case.memory.revived = vec![case.now; 9];
    assert_eq!(case.decide().step, Some(Step::Revive));
}
