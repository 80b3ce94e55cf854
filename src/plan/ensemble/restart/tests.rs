#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::{
    model::ensemble::{Latency, Srvr},
    plan::ensemble::health::{Health, State as Well},
};

pub(super) fn address(number: usize) -> Address {
    Address::new(Some(&format!("zk{number}")), 2181)
}

/// A member that serves; its process's counters are all `life`.
pub(super) fn report(number: usize, mode: Mode, life: u64) -> Report {
    let srvr = Srvr {
        version: "3.8.0".into(),
        latency: Latency::default(),
        connections: 1,
        outstanding: 0,
        zxid: Zxid(0x1_0000_0009),
        mode,
        znodes: 5,
    };
    let counters = BTreeMap::from([("zk_looking_count", life)]);
    let mntr = Mntr { quorum_size: Some(3), counters, ..Mntr::default() };
    Report { address: address(number), listed: true, ruok: Ok(()), srvr: Ok(srvr), mntr: Ok(mntr) }
}

pub(super) fn down(number: usize) -> Report {
    Report::silent(address(number), true, &Silence::Refused)
}

/// The leader counts the followers that there are.
pub(super) fn counted(mut view: Vec<Report>) -> Vec<Report> {
    let followers = view.iter().filter(|report| report.mode() == Some(Mode::Follower)).count();
    for leader in view.iter_mut().filter(|report| report.mode() == Some(Mode::Leader)) {
        leader.mntr.as_mut().unwrap().synced_followers = Some(followers as u64);
    }
    view
}

/// zk1 and zk3 follow zk2.
fn three() -> Vec<Report> {
    counted(vec![report(1, Mode::Follower, 9), report(2, Mode::Leader, 9), report(3, Mode::Follower, 9)])
}

fn options() -> Options {
    Options { timeout: Duration::from_secs(60), standalone: false, skip: BTreeSet::new() }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn restart(number: usize, mode: Mode) -> Step {
    Step::Restart(address(number), mode)
}

fn back(number: usize, mode: Mode, seconds: u64) -> Step {
    Step::Back(address(number), mode, at(seconds))
}

fn with(change: impl FnOnce(&mut Vec<Report>)) -> Vec<Report> {
    let mut view = three();
    change(&mut view);
    view
}

#[test]
fn followers_first_the_leader_last() {
    let mut rolling = Rolling::new(options());
    assert_eq!(rolling.next(&three(), at(0)), restart(1, Mode::Follower));
    assert_eq!(
        rolling.next(&with(|view| view[0] = down(1)), at(1)),
        Step::Wait("zk1:2181 is down: connection refused".into())
    );
    assert_eq!(rolling.next(&three(), at(2)), back(1, Mode::Follower, 2));
    assert_eq!(rolling.next(&three(), at(2)), restart(3, Mode::Follower));
    // Nobody saw it gone; its counters tell.
    let view = counted(with(|view| view[2] = report(3, Mode::Follower, 1)));
    assert_eq!(rolling.next(&view, at(5)), back(3, Mode::Follower, 3));
    assert_eq!(rolling.next(&view, at(5)), restart(2, Mode::Leader));
    rolling.look(&down(2));
    let view = counted(vec![report(1, Mode::Leader, 9), report(2, Mode::Follower, 9), report(3, Mode::Follower, 9)]);
    assert_eq!(rolling.next(&view, at(9)), back(2, Mode::Follower, 4));
    assert_eq!(rolling.next(&view, at(9)), Step::Done);
}

#[test]
fn the_order_follows_a_leader_that_changes() {
    let mut rolling = Rolling::new(options());
    assert_eq!(rolling.next(&three(), at(0)), restart(1, Mode::Follower));
    rolling.look(&down(1));
    let view = counted(vec![report(1, Mode::Follower, 9), report(2, Mode::Follower, 9), report(3, Mode::Leader, 9)]);
    assert_eq!(rolling.next(&view, at(1)), back(1, Mode::Follower, 1));
    assert_eq!(rolling.next(&view, at(1)), restart(2, Mode::Follower), "zk2 led, and no longer does");
    assert_eq!(rolling.order(&view), [(&address(2), Mode::Follower), (&address(3), Mode::Leader)]);
}

#[test]
fn observers_come_before_followers() {
    let view = counted([three(), vec![report(4, Mode::Observer, 9)]].concat());
    let order =
        Rolling::new(options()).order(&view).into_iter().map(|(member, _)| member.host.clone()).collect::<Vec<_>>();
    assert_eq!(order, ["zk4", "zk1", "zk3", "zk2"]);
}

#[rstest]
#[case(with(|view| view[2] = down(3)), "zk3:2181 is down: connection refused")]
#[case(with(|view| view[0].srvr = Err(Silence::NotServing)), "zk1:2181 runs, but serves nobody: it has no quorum")]
#[case(with(|view| view[0].listed = false), "zk1:2181 is a member, but not listed")]
#[case(with(|view| view[0].mntr = Err(Silence::NotAllowed)), "zk1:2181: mntr is not in its 4lw.commands.whitelist")]
#[case(with(|view| view.truncate(2)), "3 members have a vote, but only 2 are known")]
#[case(vec![report(1, Mode::Standalone, 9)], "zk1:2181 is a server without an ensemble")]
#[case(vec![report(1, Mode::Standalone, 9), report(2, Mode::Standalone, 9)], "zk1:2181, zk2:2181 run without an ensemble")]
fn what_refuses_to_begin(#[case] view: Vec<Report>, #[case] why: &str) {
    match Rolling::new(options()).next(&view, at(0)) {
        Step::Stop(Stop::Refused(text)) => assert!(text.starts_with(why), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_standalone_server_is_restarted_when_forced() {
    let mut rolling = Rolling::new(Options { standalone: true, ..options() });
    assert_eq!(rolling.next(&[report(1, Mode::Standalone, 9)], at(0)), restart(1, Mode::Standalone));
    rolling.look(&down(1));
    assert_eq!(rolling.next(&[report(1, Mode::Standalone, 9)], at(1)), back(1, Mode::Standalone, 1));
    assert_eq!(rolling.next(&[report(1, Mode::Standalone, 9)], at(1)), Step::Done);
}

#[rstest]
#[case(with(|view| view[1].mntr.as_mut().unwrap().synced_followers = Some(1)), "only 1 of 2 followers are synced")]
#[case(
    with(|view| view[1].mntr.as_mut().unwrap().synced_followers = None),
    "zk2:2181 leads, but its mntr does not tell how many followers are synced"
)]
#[case(with(|view| { view[1] = report(2, Mode::Follower, 9); }), "the leader is not among the members that answer")]
fn what_is_waited_for_before_it_begins(#[case] view: Vec<Report>, #[case] why: &str) {
    let mut rolling = Rolling::new(options());
    assert_eq!(rolling.next(&view, at(0)), Step::Wait(why.into()));
    assert_eq!(rolling.next(&view, at(61)), Step::Stop(Stop::TimedOut(None, why.into())));
    assert_eq!(rolling.next(&three(), at(62)), restart(1, Mode::Follower));
}

#[test]
fn a_member_that_does_not_come_back_stops_it() {
    let mut rolling = Rolling::new(options());
    rolling.next(&three(), at(10));
    let view = with(|view| view[0] = down(1));
    let why = "zk1:2181 is down: connection refused".to_owned();
    assert_eq!(rolling.next(&view, at(70)), Step::Wait(why.clone()));
    assert_eq!(rolling.next(&view, at(71)), Step::Stop(Stop::TimedOut(Some(address(1)), why)));
}

#[test]
fn a_process_that_was_not_replaced_is_no_restart() {
    let mut rolling = Rolling::new(options());
    rolling.next(&three(), at(0));
    let why = "zk1:2181 has not restarted yet: it is still the same process".to_owned();
    assert_eq!(rolling.next(&three(), at(1)), Step::Wait(why.clone()));
    assert_eq!(rolling.next(&three(), at(61)), Step::Stop(Stop::TimedOut(Some(address(1)), why)));
}

#[test]
fn a_member_must_have_what_the_leader_had() {
    let mut rolling = Rolling::new(options());
    rolling.next(&three(), at(0));
    let view = with(|view| {
        view[0] = down(1);
        view[1].srvr.as_mut().unwrap().zxid = Zxid(0x1_0000_0010);
    });
    rolling.next(&view, at(1));
    let why = "zk1:2181 is behind: it has 0x100000009, the leader had 0x100000010".to_owned();
    assert_eq!(rolling.next(&three(), at(2)), Step::Wait(why));
    let caught_up = with(|view| {
        for report in view.iter_mut() {
            report.srvr.as_mut().unwrap().zxid = Zxid(0x1_0000_0010);
        }
        view[1].srvr.as_mut().unwrap().zxid = Zxid(0x2_0000_0000);
    });
    assert_eq!(rolling.next(&caught_up, at(3)), back(1, Mode::Follower, 3), "the epoch's first is the leader's alone");
    assert_eq!(rolling.next(&caught_up, at(4)), restart(3, Mode::Follower));
}

#[test]
fn another_loss_between_two_steps_is_waited_for() {
    let mut rolling = Rolling::new(options());
    rolling.next(&three(), at(0));
    rolling.look(&down(1));
    rolling.next(&three(), at(1));
    let view = with(|view| view[1] = down(2));
    assert_eq!(rolling.next(&view, at(2)), Step::Wait("zk2:2181 is down: connection refused".into()));
    assert_eq!(rolling.next(&three(), at(3)), restart(3, Mode::Follower));
}

#[test]
fn what_an_earlier_run_did_is_skipped() {
    let mut rolling = Rolling::new(Options { skip: BTreeSet::from([address(1), address(3)]), ..options() });
    assert_eq!(rolling.next(&three(), at(0)), restart(2, Mode::Leader));
    assert_eq!(rolling.finished(), BTreeSet::from([&address(1), &address(3)]));
}

/// zk2 leads.
#[rstest]
#[case::it_alone(&[2], None)]
#[case::a_follower(&[1], Some(restart(3, Mode::Follower)))]
#[case::it_and_one_that_follows_it(&[1, 2], Some(restart(3, Mode::Follower)))]
#[case::everybody(&[1, 2, 3], Some(Step::Done))]
fn a_skipped_leader_that_nobody_restarted_follows_is_to_go_first(#[case] skip: &[usize], #[case] step: Option<Step>) {
    let skip = skip.iter().map(|number| address(*number)).collect();
    let why = "zk2:2181 leads and is skipped: restart it first, so that another leads: \
               members whose new list lacks it could not follow it";
    let mut rolling = Rolling::new(Options { skip, ..options() });
    assert_eq!(rolling.next(&three(), at(0)), step.unwrap_or_else(|| Step::Stop(Stop::Refused(why.into()))));
}

#[test]
fn a_skipped_member_that_leads_later_is_left_alone() {
    let mut rolling = Rolling::new(Options { skip: BTreeSet::from([address(3)]), ..options() });
    assert_eq!(rolling.next(&three(), at(0)), restart(1, Mode::Follower));
    assert_eq!(rolling.in_turn(), Some((&address(1), at(0))));
    rolling.look(&down(1));
    let view = counted(vec![report(1, Mode::Follower, 9), report(2, Mode::Follower, 9), report(3, Mode::Leader, 9)]);
    assert_eq!(rolling.next(&view, at(1)), back(1, Mode::Follower, 1));
    assert_eq!(rolling.next(&view, at(1)), restart(2, Mode::Follower));
    assert_eq!(
        (rolling.restarted(), rolling.skipped()),
        (&BTreeSet::from([address(1)]), &BTreeSet::from([address(3)]))
    );
}

#[test]
fn health_in_a_word() {
    let state = |view: Vec<Report>| Health::of(&view).state;
    assert_eq!(state(three()), Well::Healthy);
    assert_eq!(state(with(|view| view[1].mntr = Err(Silence::NotAllowed))), Well::Healthy);
    assert_eq!(state(with(|view| view[1].mntr.as_mut().unwrap().synced_followers = None)), Well::Healthy);
    assert_eq!(state(vec![report(1, Mode::Standalone, 9)]), Well::Healthy);
    assert_eq!(state(with(|view| view[0] = down(1))), Well::Degraded);
    assert_eq!(state(with(|view| view.truncate(2))), Well::Degraded);
    assert_eq!(state(vec![report(1, Mode::ReadOnly, 9), down(2), down(3)]), Well::NoQuorum);
    assert_eq!(state(vec![down(1), down(2), down(3)]), Well::NoQuorum);
    let health = Health::of(&with(|view| view[0] = down(1)));
    assert_eq!((health.voters, health.serving, health.needed(), health.leader), (3, 2, 2, Some(address(2))));
}
