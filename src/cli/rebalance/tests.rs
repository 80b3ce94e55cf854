#![allow(clippy::unwrap_used)]
use super::*;

fn a_move(id: &str, from: &str, to: &str) -> Move {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    Move { id: id.parse().unwrap(), from, to, reason: "the best host that fits".to_owned() }
}

/// What was asked of one service before.
fn pending(service: &str, leave: &[(u32, &str)], left_alone: Option<&'static str>) -> BTreeMap<ServiceName, Pending> {
    let leave = leave.iter().map(|(number, host)| (ReplicaNumber(*number), host.parse().unwrap())).collect();
    BTreeMap::from([(service.parse().unwrap(), Pending { leave, left_alone })])
}

fn outcome(moves: &[Move], pending: &BTreeMap<ServiceName, Pending>) -> String {
    let said = outcomes(moves, pending).into_iter().map(|(name, outcome)| format!("{name}{outcome}"));
    said.collect::<Vec<_>>().join(", ")
}

#[test]
fn what_was_asked_before_is_listed_and_not_asked_once_more() {
    let moves = [a_move("webapp.0000000006", "web2", "web3")];
    let before = pending("webapp", &[(6, "web2")], None);
    let listed = "webapp.0000000006: web2 → web3 (the best host that fits; asked for before)\n";
    assert_eq!((table(&moves, &before).as_str(), outcome(&moves, &before).as_str()), (listed, "webapp unchanged"));
}

#[test]
fn what_makes_no_sense_any_more_is_taken_back_and_said() {
    let moves = [a_move("webapp.0000000006", "web2", "web3")];
    let before = pending("webapp", &[(5, "web1"), (6, "web2")], None);
    let stays = "webapp.0000000005: stays on web1 (it was asked to leave before: taken back)\n";
    assert!(table(&moves, &before).ends_with(stays), "{}", table(&moves, &before));
    assert_eq!(outcome(&moves, &before), "webapp: 1 move asked for");
    assert!(table(&[], &before).starts_with(stays), "not that there is nothing to move");
    assert_eq!(outcome(&[], &before), "webapp: no move is asked for any more");
}

#[test]
fn what_was_asked_of_a_service_that_is_left_alone_is_listed_and_stays() {
    let before = pending("webapp", &[(5, "web1")], Some("the service is not enabled"));
    let listed = "webapp.0000000005: to leave web1, as asked for before (the service is not enabled: left as it is)\n";
    assert_eq!((table(&[], &before).as_str(), outcome(&[], &before).as_str()), (listed, ""));
}

#[test]
fn where_all_that_was_asked_is_done_nothing_is_written() {
    let before = pending("webapp", &[], None);
    assert_eq!(outcome(&[], &before), "");
    assert!(table(&[], &before).starts_with("nothing to move"));
    let moves = [a_move("other.0000000001", "web1", "web2")];
    assert_eq!(outcome(&moves, &before), "other: 1 move asked for");
}
