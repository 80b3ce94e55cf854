//! What a host is to run: what its part of the tree and the ledger say, and which of them counts.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    model::Ledger,
    tree::node::{Change, Node},
};

const SESSION: i64 = 7;

fn id() -> ReplicaId {
    "webapp.0000000001".parse().unwrap()
}

fn assignment(version: &str) -> CheckedAssignment {
    let work = Case::running().assignment;
    Assignment { version: Some(version.to_owned()), ..work }.check().unwrap()
}

/// The ledger of a host that has this version in force.
fn ledger(version: &str) -> Ledger {
    let record = Record { prepared_key: Some(String::new()), ..Record::new(assignment(version)) };
    Ledger { replicas: BTreeMap::from([(id(), record)]), ..Ledger::default() }
}

/// The host's part of the tree.
struct Tree {
    work: Work,
    ledger: Ledger,
    version: i32,
}

impl Tree {
    fn new(ledger: Ledger) -> Self {
        Self { work: Work::new("web1".parse().unwrap(), "our-machine".to_owned()), ledger, version: 0 }
    }

    /// One that was read in full.
    fn synced(ledger: Ledger) -> Self {
        let mut tree = Self::new(ledger);
        tree.work.synced();
        tree
    }

    fn put(&mut self, path: &str, document: Option<&Value>) -> Effect {
        self.version += 1;
        let node = document.map(|document| Node {
            data: document.to_string().into_bytes(),
            version: self.version,
            mzxid: 0,
            ephemeral_owner: SESSION,
        });
        self.work.apply(&Change { path: format!("/hosts/web1{path}"), node }, &self.ledger)
    }

    fn assign(&mut self, version: &str) -> Effect {
        let document = serde_json::to_value(assignment(version)).unwrap();
        self.put("/assigned/webapp.0000000001", Some(&document))
    }

    fn withdraw(&mut self) -> Effect {
        self.put("/assigned/webapp.0000000001", None)
    }

    fn claim(&self) -> Option<Claim> {
        self.work.claim(&id(), &self.ledger)
    }

    fn alive(&mut self, machine: &str) -> Effect {
        let (started, boot_id, version) = ("2026-01-01T00:00:00Z", "boot", "1");
        let alive =
            json!({ "machine_id": machine, "version": version, "boot_id": boot_id, "pid": 1, "started": started });
        self.put("/alive", Some(&alive))
    }
}

#[test]
fn nothing_is_wanted_before_the_tree_or_the_ledger_counts() {
    let mut tree = Tree::new(ledger("v1"));
    assert_eq!((tree.work.basis(), tree.claim()), (Basis::Waiting, None));
    tree.work.out_of_reach();
    assert_eq!((tree.work.basis(), tree.claim()), (Basis::Ledger, Some(Claim::Ours(assignment("v1")))));
    tree.work.synced();
    tree.work.out_of_reach();
    assert_eq!(tree.work.basis(), Basis::Tree, "what was read stays in force");
}

#[test]
fn of_what_was_found_by_its_files_only_nothing_is_started() {
    let mut found = ledger("v1");
    found.replicas.values_mut().for_each(|record| record.prepared_key = None);
    let mut tree = Tree::new(found);
    tree.work.out_of_reach();
    assert_eq!(tree.claim(), Some(Claim::Unsure(assignment("v1"))));
    tree.work.synced();
    tree.assign("v1");
    assert_eq!(tree.claim(), Some(Claim::Ours(assignment("v1"))), "the tree has said more");
}

#[test]
fn the_same_work_once_more_is_a_word_to_the_agent() {
    let mut tree = Tree::synced(ledger("v1"));
    assert_eq!(tree.assign("v1"), Effect::None, "the ledger knows it");
    assert_eq!(tree.assign("v1"), Effect::Nudged(id()));
    assert_eq!(tree.assign("v2"), Effect::Fresh(id()));
    assert_eq!(Tree::synced(Ledger::default()).assign("v1"), Effect::Fresh(id()));
}

#[test]
fn work_that_vanishes_is_given_up_once_its_desired_says_so() {
    let mut tree = Tree::synced(ledger("v1"));
    tree.assign("v1");
    assert!(!tree.work.is_unconfirmed(&id(), &tree.ledger));
    assert_eq!(tree.withdraw(), Effect::None);
    assert!(tree.work.is_unconfirmed(&id(), &tree.ledger));
    assert_eq!(tree.claim(), Some(Claim::Unsure(assignment("v1"))));

    assert!(tree.work.keep(&id(), Instant::now()));
    assert!(!tree.work.is_unconfirmed(&id(), &tree.ledger));
    assert_eq!(tree.claim(), Some(Claim::Ours(assignment("v1"))), "only its index is missing");

    tree.work.synced();
    assert!(tree.work.is_unconfirmed(&id(), &tree.ledger), "that was said of another connection");
    tree.work.give_up(&id());
    assert_eq!(tree.claim(), Some(Claim::Gone(assignment("v1"))));

    tree.assign("v2");
    tree.work.give_up(&id());
    assert_eq!(tree.claim(), Some(Claim::Ours(assignment("v2"))), "it is back: an answer from before does not count");
}

#[test]
fn what_is_gone_is_stopped_as_what_was_prepared_and_not_as_what_was_wanted_last() {
    let mut tree = Tree::synced(ledger("v1"));
    tree.assign("v2");
    tree.withdraw();
    tree.work.give_up(&id());
    assert_eq!(tree.claim(), Some(Claim::Gone(assignment("v1"))));
    tree.ledger = Ledger::default();
    tree.work.forget(&id());
    assert_eq!(tree.claim(), None);
}

#[test]
fn what_was_never_prepared_here_is_not_stopped_when_it_is_withdrawn() {
    let mut tree = Tree::synced(Ledger::default());
    tree.assign("v1");
    tree.withdraw();
    assert_eq!((tree.claim(), tree.work.is_unconfirmed(&id(), &tree.ledger)), (None, false));
}

#[test]
fn what_cannot_be_read_leaves_the_last_good_work_in_force() {
    let mut tree = Tree::synced(Ledger::default());
    let nonsense = json!({ "unit": "../x.service" });
    let path = "/assigned/webapp.0000000001";
    assert!(matches!(tree.put(path, Some(&nonsense)), Effect::Unreadable(of, why) if of == id() && why.contains(path)));
    assert_eq!(tree.claim(), None);
    assert!(tree.work.unusable(&id(), &tree.ledger).is_some());

    tree.assign("v1");
    assert!(matches!(tree.put(path, Some(&nonsense)), Effect::Unreadable(..)));
    assert_eq!(tree.claim(), Some(Claim::Ours(assignment("v1"))));
    assert_eq!(tree.work.unreadable(&id()).unwrap().version, 3);
    assert_eq!(tree.work.version(&id()), Some(2), "its status answers what is acted on");
    assert!(tree.work.unusable(&id(), &tree.ledger).is_none());
}

#[test]
fn work_for_another_machine_of_the_name_is_not_ours() {
    let mut tree = Tree::synced(ledger("v1"));
    tree.assign("v2");
    assert_eq!(tree.alive("another-machine"), Effect::Alive(Some(SESSION)));
    assert_eq!(tree.work.held_by(), Some("another-machine"));
    assert_eq!(tree.claim(), Some(Claim::Unsure(assignment("v1"))), "what runs is left as it is");
    tree.withdraw();
    assert!(!tree.work.is_unconfirmed(&id(), &tree.ledger), "nor is it asked what became of it");
    assert_eq!(tree.alive("our-machine"), Effect::Alive(Some(SESSION)));
    assert_eq!(tree.work.held_by(), None);
    assert_eq!(tree.put("/alive", None), Effect::Alive(None));
}

#[test]
fn what_is_kept_without_an_assignment_is_asked_of_ever_more_rarely() {
    let mut tree = Tree::synced(ledger("v1"));
    let mut now = Instant::now();
    assert!(tree.work.keep(&id(), now), "that is new");
    for rest in [1, 2, 4, 8, 16, 32, 64, 128] {
        now += Duration::from_secs(rest);
        assert_eq!(tree.work.kept().collect::<Vec<_>>(), [(&id(), now)]);
        assert!(!tree.work.keep(&id(), now));
    }
    assert_eq!(tree.work.kept().count(), 0, "what is left is for the next full read");
    assert!(!tree.work.is_unconfirmed(&id(), &tree.ledger));

    tree.work.synced();
    assert!(tree.work.keep(&id(), now), "that was said of another connection");
    tree.alive("another-machine");
    assert_eq!(tree.work.kept().count(), 0, "what the tree says is for the other machine");
    tree.alive("our-machine");
    assert_eq!(tree.work.kept().count(), 1);
    tree.assign("v2");
    assert_eq!(tree.work.kept().count(), 0, "it is back");
}

#[test]
fn the_operators_labels_go_over_the_agents_own() {
    let mut tree = Tree::synced(Ledger::default());
    let spec = json!({ "labels": { "zone": "b", "rack": "r1\n" } });
    assert!(
        matches!(tree.put("", Some(&spec)), Effect::BadLabels(path, bad) if path == "/hosts/web1" && bad.len() == 1 && bad[0].contains("labels.rack"))
    );
    let own = BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("disk".to_owned(), "ssd".to_owned())]);
    let labels = tree.work.labels(&own);
    assert_eq!((labels["zone"].as_str(), labels["disk"].as_str(), labels.len()), ("b", "ssd", 2));
}
