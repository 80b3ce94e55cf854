//! Releases and configurations: what is not on the host yet, what its links lead to, what was given up.

use super::*;
use crate::model::{AptSource, ConfigApply, ConfigPolicy, Source, Template};

fn source() -> Source {
    Source { apt: Some(AptSource { package: "webapp".into() }), ..Source::default() }
}

/// Runs v1; v2 is wanted and not on the host.
fn upcoming(staging: Staging<'static>) -> Case {
    let mut case = Case::running();
    let mut newer = Assignment { version: Some("v2".into()), ..case.assignment.clone() };
    newer.template.source = source();
    case.upcoming = Some((newer.check().unwrap(), staging));
    case
}

/// Configuration 7 is read, 8 is wanted, staged and prepared.
fn reconfigured(apply: ConfigApply) -> Case {
    let mut case = Case::running();
    case.assignment.template.config = Some(ConfigPolicy { apply, ..ConfigPolicy::default() });
    case.assignment.config_version = Some(8);
    case.record.as_mut().unwrap().applied_config = Some(7);
    case.unit.can_reload = true;
    case.links.config = false;
    case
}

#[test]
fn what_was_in_force_goes_on_until_the_newer_work_is_on_the_host() {
    let decision = upcoming(Staging::Due).decide();
    assert_eq!((&decision.step, decision.listed, decision.state), (&None, true, ReplicaState::Running));
    assert!(decision.stage && !decision.in_force && !decision.rejected);
    assert_eq!(decision.message.as_deref(), Some("fetching v2"));
    let decision = upcoming(Staging::UnderWay).decide();
    assert!(decision.listed && !decision.stage);
}

#[test]
fn a_crash_while_it_is_fetched_is_met_as_ever() {
    let mut case = upcoming(Staging::UnderWay);
    case.unit = Case::down(ActiveState::Failed).unit;
    assert_eq!(case.decide().step, Some(Step::ResetAndStart));
}

#[test]
fn a_fetch_that_failed_rests() {
    let mut case = upcoming(Staging::Due);
    let at = case.now + Duration::from_secs(5);
    case.memory.staging_failed("503", case.now);
    let decision = case.decide();
    assert_eq!((decision.stage, decision.listed, decision.wake_at), (false, true, Some(at)));
    assert_eq!(decision.message.as_deref(), Some("fetching v2 failed, will retry: 503"));
    case.now = at;
    assert!(case.decide().stage);
}

#[test]
fn what_was_rejected_is_told_and_not_tried_again() {
    let decision = upcoming(Staging::Rejected("wrong checksum")).decide();
    assert!(decision.rejected && decision.listed && !decision.stage && !decision.in_force);
    assert_eq!((decision.state, decision.message.as_deref()), (ReplicaState::Running, Some("wrong checksum")));
}

#[test]
fn without_anything_of_before_it_is_waited_for_and_a_rejection_is_a_failure() {
    let mut case = Case::down(ActiveState::Inactive);
    (case.awaited, case.record) = (true, None);
    let template =
        Template { source: source(), config: Some(ConfigPolicy::default()), ..case.assignment.template.clone() };
    let newer = Assignment { config_version: Some(7), template, ..case.assignment.clone() };
    let newer = newer.check().unwrap();
    case.upcoming = Some((newer.clone(), Staging::Due));
    let decision = case.decide();
    assert_eq!((&decision.step, decision.state, decision.stage), (&None, ReplicaState::Pending, true));
    assert_eq!(decision.message.as_deref(), Some("fetching v1 and configuration 7"));
    case.upcoming = Some((newer, Staging::Rejected("no such version")));
    let decision = case.decide();
    assert_eq!((decision.step, decision.state, decision.rejected), (None, ReplicaState::Failed, true));
}

#[test]
fn what_runs_meanwhile_is_what_was_in_force_unless_it_was_stopped_on_purpose() {
    let case = Case::running();
    let wanted = Assignment { version: Some("v2".into()), ..case.assignment.clone() };
    let run = |record: Option<&Record>, is_up, is_there| {
        meanwhile(&wanted, record, is_up, is_there).map(|it| it.version.clone())
    };
    let before = Some(Some("v1".to_owned()));
    let record = case.record.unwrap();
    assert_eq!(run(Some(&record), true, false), before);
    assert_eq!(run(Some(&record), false, true), before, "as after a reboot");
    assert_eq!(run(Some(&record), false, false), None);
    assert_eq!(run(None, true, true), None);
    let rests = Record { rests: true, ..record.clone() };
    assert_eq!((run(Some(&rests), false, true), run(Some(&rests), true, true)), (None, before));
    let found = Record { prepared_key: None, ..record };
    assert_eq!(run(Some(&found), true, true), None);
}

#[test]
fn a_process_that_systemd_started_with_the_old_release_does_not_pass_for_the_new_one() {
    let mut case = Case::prepared();
    (case.unit.invocation, case.links.release) = ("two".into(), false);
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!("{:?}", case.decide()) };
    assert_eq!(prepare.stale.as_ref().unwrap().invocation, "two");
    case.record.as_mut().unwrap().stale = prepare.stale;
    case.in_instances = false;
    assert_eq!(job(&case.decide()), Some(Verb::Restart));
    (case.unit.invocation, case.links.release) = ("three".into(), true);
    case.in_instances = true;
    assert_eq!(case.decide(), serves());
}

#[test]
fn what_is_down_is_started_whatever_the_links_lead_to() {
    let mut case = Case::down(ActiveState::Inactive);
    case.links = Links { release: false, config: false };
    assert_eq!(job(&case.decide()), Some(Verb::Start));
}

#[test]
fn a_change_that_is_taken_back_before_the_restart_restarts_nothing() {
    let mut case = Case::prepared();
    case.assignment.version = Some("v1".into());
    (case.key, case.wanted_files.drop_in) = ("v1".into(), Some("v1".into()));
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!() };
    assert_eq!(prepare.stale, None);
}

/// The link to the release is switched by the restart: until then it leads to the old one.
#[test]
fn a_release_that_is_taken_back_before_the_restart_restarts_nothing() {
    let mut case = Case::upgraded();
    case.links = Links { release: false, config: true };
    let Some(Step::Prepare(prepare)) = case.decide().step else { panic!() };
    assert_eq!(prepare.stale.and_then(|stale| stale.key).as_deref(), Some("v1"));
}

#[test]
fn a_configuration_comes_into_force_as_its_policy_says() {
    let decision = reconfigured(ConfigApply::Reload).decide();
    assert_eq!((job(&decision), decision.listed), (Some(Verb::Reload), true));
    let decision = reconfigured(ConfigApply::Signal).decide();
    assert_eq!((decision.step, decision.listed), (Some(Step::Signal(None)), true));
    let mut case = reconfigured(ConfigApply::Restart);
    assert_eq!((case.decide().step, case.decide().listed), (None, false));
    case.in_instances = false;
    assert_eq!(job(&case.decide()), Some(Verb::Restart));
    assert_eq!(case.decide().reason, "config_version changes from 7 to 8");
    let mut case = reconfigured(ConfigApply::Reload);
    (case.unit.can_reload, case.in_instances) = (false, false);
    assert_eq!(job(&case.decide()), Some(Verb::Restart));
}

#[test]
fn a_configuration_that_was_read_is_not_read_again() {
    let mut case = reconfigured(ConfigApply::Reload);
    (case.record.as_mut().unwrap().applied_config, case.links.config) = (Some(8), true);
    assert_eq!(case.decide(), serves());
    case.links.config = false;
    assert_eq!(job(&case.decide()), Some(Verb::Reload), "its files are not there any more");
}

#[test]
fn what_left_for_a_step_that_failed_serves_until_it_is_tried_again() {
    let mut case = Case::prepared();
    (case.in_instances, case.memory.unlisted_at) = (false, Some(case.now));
    case.memory.step_failed("dpkg is locked", case.now);
    assert!(case.decide().listed);
    case.probed.ready = false;
    assert!(!case.decide().listed);
}
