//! Election: one leads, a deposed one can write nothing, and no contender is stranded.

use std::time::Duration;

use tokio::sync::watch;
use zkops::{
    store::{Client, CommitError, Conflict, Election, Leadership, Lock, Session},
    tree::{layout, txn::Op},
};

use crate::support::{LONG, Tree, eventually, joined, link, up, within};

const SHORT: Duration = Duration::from_millis(1200);

async fn leading(leadership: &mut watch::Receiver<Leadership>) -> Lock {
    let leading = |leadership: &Leadership| matches!(leadership, Leadership::Leading(_));
    match within("the lead", leadership.wait_for(leading)).await.unwrap().clone() {
        Leadership::Leading(lock) => lock,
        Leadership::Following { .. } => unreachable!("waited for the other"),
    }
}

async fn following(leadership: &mut watch::Receiver<Leadership>, name: Option<&str>) {
    let wanted = Leadership::Following { leader: name.map(str::to_owned) };
    within(&format!("{wanted:?}"), leadership.wait_for(|leadership| *leadership == wanted)).await.unwrap();
}

async fn candidate(session: &Session, name: &str) -> (Election, watch::Receiver<Leadership>) {
    up(session).await;
    let election = Election::start(session, name.to_owned());
    let leadership = election.leadership();
    (election, leadership)
}

async fn contenders(tree: &Tree) -> Vec<String> {
    tree.client.children(layout::ELECTION).await.unwrap().unwrap()
}

async fn write_as(client: &Client, lock: &Lock, path: &str) -> Result<(), CommitError> {
    let write = Op::Create { path: path.into(), data: Vec::new() };
    client.commit(&[lock.check(), write]).await.map(drop)
}

#[tokio::test]
async fn the_first_leads_and_the_next_takes_over() {
    let tree = Tree::new().await;
    let sessions = [tree.session(), tree.session(), tree.session()];
    let (_a, mut a) = candidate(&sessions[0], "a").await;
    let lock = leading(&mut a).await;
    assert_eq!(lock.epoch(), 1);
    let (_b, mut b) = candidate(&sessions[1], "b").await;
    following(&mut b, Some("a")).await;
    let (_c, mut c) = candidate(&sessions[2], "c").await;
    following(&mut c, Some("a")).await;
    write_as(&up(&sessions[0]).await.client, &lock, "/hosts/a").await.unwrap();

    let [first, second, third] = sessions;
    assert!(first.close(Duration::from_secs(10)).await);
    let lock = leading(&mut b).await;
    following(&mut c, Some("b")).await;
    write_as(&up(&second).await.client, &lock, "/hosts/b").await.unwrap();
    assert!(second.close(Duration::from_secs(10)).await);
    leading(&mut c).await;
    assert!(third.close(Duration::from_secs(10)).await);
    eventually("an empty election", async || contenders(&tree).await.is_empty()).await;
}

/// The lead ends with the connection, not with the session (field note 8), and is found again with the next one.
#[tokio::test]
async fn a_cut_suspends_the_lead_and_healing_restores_it() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let (_a, mut a) = candidate(&session, "a").await;
    let lock = leading(&mut a).await;
    let other = tree.session();
    let (_b, mut b) = candidate(&other, "b").await;
    following(&mut b, Some("a")).await;

    proxy.cut();
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    following(&mut a, None).await;
    assert_eq!(*b.borrow(), Leadership::Following { leader: Some("a".into()) });
    proxy.heal();
    let up = joined(&session, 1, 1).await;
    assert_eq!(leading(&mut a).await, lock);
    write_as(&up.client, &lock, "/hosts/a").await.unwrap();
    assert_eq!(contenders(&tree).await.len(), 2);
}

#[tokio::test]
async fn a_deposed_leader_can_write_nothing() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), SHORT);
    let (_a, mut a) = candidate(&session, "a").await;
    let old = leading(&mut a).await;
    let other = tree.session();
    let (_b, mut b) = candidate(&other, "b").await;
    following(&mut b, Some("a")).await;

    proxy.cut();
    let new = leading(&mut b).await;
    following(&mut a, None).await;
    proxy.heal();
    let back = joined(&session, 2, 0).await;
    // It still believes in its lock, and sends over a connection that works.
    match write_as(&back.client, &old, "/hosts/deposed").await {
        Err(CommitError::Conflict { index: 0, path, cause: Conflict::NoNode }) => assert_eq!(path, old.path()),
        other => panic!("{other:?}"),
    }
    assert!(!tree.exists("/hosts/deposed").await);
    following(&mut a, Some("b")).await;
    write_as(&up(&other).await.client, &new, "/hosts/b").await.unwrap();
    assert_eq!(contenders(&tree).await.len(), 2);
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_strands_no_contender() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await;
    proxy.deafen();
    // The candidate's requests arrive one by one, each waiting for an answer: let the list through, not the create.
    let election = Election::start(&session, "a".into());
    let mut a = election.leadership();
    proxy.heal();
    let mut cuts = 0;
    for pause in [0, 1, 2, 3, 4, 5, 6, 8, 10, 15] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        proxy.deafen();
        tokio::time::sleep(Duration::from_millis(10)).await;
        proxy.flap().await;
        cuts += 1;
        joined(&session, 1, cuts).await;
    }
    let lock = leading(&mut a).await;
    let names = contenders(&tree).await;
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(lock.path().ends_with(&names[0]));
}

#[tokio::test]
async fn contenders_deleted_or_changed_by_hand_stand_again() {
    let tree = Tree::new().await;
    let session = tree.session();
    let (_a, mut a) = candidate(&session, "a").await;
    let first = leading(&mut a).await;
    tree.client.commit(&[Op::Delete { path: first.path().into(), version: None }]).await.unwrap();
    let new = |old: Lock| move |now: &Leadership| matches!(now, Leadership::Leading(lock) if *lock != old);
    let second = within("another lock", a.wait_for(new(first))).await.unwrap().clone();
    let Leadership::Leading(second) = second else { unreachable!("waited for it") };
    let scribble = Op::Set { path: second.path().into(), data: b"mine".to_vec(), version: None };
    tree.client.commit(&[scribble]).await.unwrap();
    within("another lock", a.wait_for(new(second))).await.unwrap();
    eventually("one contender", async || contenders(&tree).await.len() == 1).await;
}

#[tokio::test]
async fn foreign_nodes_do_not_lead() {
    let tree = Tree::new().await;
    let create = |name: &str| Op::Create { path: format!("{}/{name}", layout::ELECTION), data: b"junk".to_vec() };
    tree.client.commit(&[create("c-0000000000"), create("README")]).await.unwrap();
    let session = tree.session();
    let (_a, mut a) = candidate(&session, "a").await;
    leading(&mut a).await;
}

#[tokio::test]
async fn the_election_needs_no_preparation() {
    let tree = Tree::new().await;
    let paths = [layout::ELECTION, layout::CONTROLLER];
    let ops = paths.map(|path| Op::Delete { path: path.into(), version: None });
    tree.client.commit(&ops).await.unwrap();
    let session = tree.session();
    let (election, mut a) = candidate(&session, "a").await;
    leading(&mut a).await;
    // Two of one process are told apart by their names.
    let (_b, mut b) = candidate(&session, "b").await;
    following(&mut b, Some("a")).await;
    drop(election);
}
