//! Presence: our ephemerals as wanted, taken over without a gap, and no request without need.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use zkops::{
    store::{Applied, CommitError, Conflict, Mirror, Presence, PresenceError, StoreError},
    tree::txn::Op,
};

use crate::{
    session::ephemeral,
    support::{LONG, Tree, eventually, joined, link, up, within},
};

fn wanted(nodes: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    nodes.iter().map(|(path, data)| ((*path).to_owned(), data.as_bytes().to_vec())).collect()
}

fn stale(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn strings(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

const NONE: &[&str] = &[];

#[tokio::test]
async fn nodes_are_as_wanted_and_nothing_is_asked_twice() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut presence = Presence::new(&session);
    let early = presence.apply(&wanted(&[("/hosts/a", "1")]), &stale(NONE), &[]).await;
    assert!(matches!(early, Err(PresenceError::Store(StoreError::Disconnected))), "{early:?}");
    let up = up(&session).await;

    let both = wanted(&[("/hosts/a", "1"), ("/hosts/b", "1")]);
    let applied = presence.apply(&both, &stale(NONE), &[]).await.unwrap();
    assert_eq!(applied, Applied { created: strings(&["/hosts/a", "/hosts/b"]), ..Applied::default() });
    for path in ["/hosts/a", "/hosts/b"] {
        assert_eq!(tree.client.get(path).await.unwrap().unwrap().ephemeral_owner, up.session_id);
    }
    let before = proxy.requests();
    for _ in 0..10 {
        assert!(presence.apply(&both, &stale(NONE), &[]).await.unwrap().is_empty());
    }
    assert_eq!(proxy.requests(), before, "at rest nothing is read or written");

    let other = wanted(&[("/hosts/b", "2"), ("/hosts/c", "1")]);
    let applied = presence.apply(&other, &stale(NONE), &[]).await.unwrap();
    let expected = Applied {
        created: strings(&["/hosts/c"]),
        updated: strings(&["/hosts/b"]),
        deleted: strings(&["/hosts/a"]),
        ..Applied::default()
    };
    assert_eq!(applied, expected);
    assert_eq!(tree.client.children("/hosts").await.unwrap().unwrap(), ["b", "c"]);
    assert_eq!(tree.client.get("/hosts/b").await.unwrap().unwrap().data, b"2");
    let applied = presence.apply(&wanted(&[("/hosts/b", "3")]), &stale(NONE), &[]).await.unwrap();
    assert_eq!((applied.updated, applied.deleted), (strings(&["/hosts/b"]), strings(&["/hosts/c"])));
}

#[tokio::test]
async fn missing_parents_are_created() {
    let tree = Tree::new().await;
    let session = tree.session();
    up(&session).await;
    let mut presence = Presence::new(&session);
    tree.client.mkdirs("/services/s").await.unwrap();
    let nodes = wanted(&[("/hosts/a/alive", "1"), ("/services/s/instances/a", "1")]);
    assert_eq!(presence.apply(&nodes, &stale(NONE), &[]).await.unwrap().created.len(), 2);
    assert!(tree.exists("/hosts/a/alive").await && tree.exists("/services/s/instances/a").await);
}

/// An entry that some hand put among a host's assignments, or of a service that was deleted just now.
#[tokio::test]
async fn no_service_is_created_by_listing_an_instance_of_it() {
    let tree = Tree::new().await;
    let session = tree.session();
    up(&session).await;
    let mut presence = Presence::new(&session);
    let gone = ["/services/a/instances/web1", "/services/b/instances/web1"];
    let nodes = wanted(&[("/hosts/web1/alive", "1"), (gone[0], "1"), (gone[1], "1")]);
    for _ in 0..2 {
        let applied = presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
        assert_eq!(applied.left_out, stale(&gone));
        assert!(tree.exists("/hosts/web1/alive").await && !tree.exists("/services/a").await);
    }
    tree.client.mkdirs("/services/a").await.unwrap();
    let applied = presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    assert_eq!((applied.created, applied.left_out), (strings(&gone[..1]), stale(&gone[1..])));
}

/// Field note 12: what a former process left is replaced in one transaction, seen by others as one change each.
#[tokio::test]
async fn leftovers_are_taken_over_without_a_gap() {
    let tree = Tree::new().await;
    let former = tree.session();
    let nodes = wanted(&[("/hosts/a", "1"), ("/hosts/b", "1")]);
    up(&former).await;
    Presence::new(&former).apply(&nodes, &stale(NONE), &[]).await.unwrap();
    up(&former).await.client.commit(&ephemeral("/hosts/old")).await.unwrap();
    let watching = tree.session();
    let mut mirror = Mirror::start(&watching, vec!["/hosts".into()]);
    within("the first batch", mirror.next()).await.unwrap();

    let session = tree.session();
    let up = up(&session).await;
    let applied = Presence::new(&session).apply(&nodes, &stale(&["/hosts/old", "/hosts/never"]), &[]).await.unwrap();
    assert_eq!(applied.replaced, strings(&["/hosts/a", "/hosts/b"]));
    assert_eq!(applied.deleted, strings(&["/hosts/old"]));
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        let batch = within("the takeover", mirror.next()).await.unwrap();
        for change in batch.changes {
            let owner = change.node.map(|node| node.ephemeral_owner);
            assert_eq!(seen.insert(change.path.clone(), owner), None, "{} changed twice", change.path);
        }
    }
    let ours = Some(up.session_id);
    let expected = [("/hosts/a", ours), ("/hosts/b", ours), ("/hosts/old", None)];
    assert!(seen.iter().map(|(path, owner)| (path.as_str(), *owner)).eq(expected), "{seen:?}");
    // The former session's end takes nothing with it.
    assert!(former.close(Duration::from_secs(10)).await);
    assert!(tree.exists("/hosts/a").await);
}

#[tokio::test]
async fn a_live_other_is_refused() {
    let tree = Tree::new().await;
    let other = tree.session();
    up(&other).await;
    Presence::new(&other).apply(&wanted(&[("/hosts/a", "theirs")]), &stale(NONE), &[]).await.unwrap();
    let session = tree.session();
    up(&session).await;
    let mut presence = Presence::new(&session).refusing(|path, node| {
        (path == "/hosts/a" && node.data == b"theirs").then(|| "another machine has this name".to_owned())
    });
    let nodes = wanted(&[("/hosts/a", "ours"), ("/hosts/b", "ours")]);
    match presence.apply(&nodes, &stale(NONE), &[]).await {
        Err(PresenceError::Refused { path, reason }) => {
            assert_eq!((path.as_str(), reason.as_str()), ("/hosts/a", "another machine has this name"));
        }
        other => panic!("{other:?}"),
    }
    assert!(!tree.exists("/hosts/b").await, "nothing was changed");
    assert!(other.close(Duration::from_secs(10)).await);
    // What was refused is looked at again once the caller asks to.
    presence.invalidate();
    assert_eq!(presence.apply(&nodes, &stale(NONE), &[]).await.unwrap().created.len(), 2);
}

#[tokio::test]
async fn a_cut_costs_a_look_and_no_write() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await;
    let mut presence = Presence::new(&session);
    let nodes = wanted(&[("/hosts/a", "1")]);
    presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    let before = tree.client.get("/hosts/a").await.unwrap();
    proxy.cut();
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    let down = presence.apply(&nodes, &stale(NONE), &[]).await;
    assert!(matches!(down, Err(PresenceError::Store(StoreError::Disconnected))), "{down:?}");
    proxy.heal();
    joined(&session, 1, 1).await;
    assert!(presence.apply(&nodes, &stale(NONE), &[]).await.unwrap().is_empty());
    assert_eq!(tree.client.get("/hosts/a").await.unwrap(), before);
}

#[tokio::test]
async fn after_an_expiry_they_are_back() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), Duration::from_millis(1200));
    up(&session).await;
    let mut presence = Presence::new(&session);
    let nodes = wanted(&[("/hosts/a", "1")]);
    presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    proxy.cut();
    eventually("the session to expire", async || !tree.exists("/hosts/a").await).await;
    proxy.heal();
    let second = joined(&session, 2, 0).await;
    assert_eq!(presence.apply(&nodes, &stale(NONE), &[]).await.unwrap().created, strings(&["/hosts/a"]));
    assert_eq!(tree.client.get("/hosts/a").await.unwrap().unwrap().ephemeral_owner, second.session_id);
}

#[tokio::test]
async fn what_others_did_is_found_and_fixed() {
    let tree = Tree::new().await;
    let session = tree.session();
    let up = up(&session).await;
    let mut presence = Presence::new(&session);
    let nodes = wanted(&[("/hosts/a", "1"), ("/hosts/b", "1")]);
    presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    // Deleted by hand: not noticed until told, then fixed.
    let by_hand = [
        Op::Delete { path: "/hosts/a".into(), version: None },
        Op::Set { path: "/hosts/b".into(), data: b"mine".to_vec(), version: None },
    ];
    tree.client.commit(&by_hand).await.unwrap();
    assert!(presence.apply(&nodes, &stale(NONE), &[]).await.unwrap().is_empty());
    presence.invalidate();
    let applied = presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    assert_eq!((applied.created, applied.updated), (strings(&["/hosts/a"]), strings(&["/hosts/b"])));
    // What was believed wrongly is a conflict, which is looked into at once.
    tree.client.commit(&[Op::Delete { path: "/hosts/a".into(), version: None }]).await.unwrap();
    let applied = presence.apply(&wanted(&[("/hosts/a", "2"), ("/hosts/b", "1")]), &stale(NONE), &[]).await.unwrap();
    assert_eq!(applied.created, strings(&["/hosts/a"]));
    // Someone put a persistent node in our place.
    let planted = [
        Op::Delete { path: "/hosts/a".into(), version: None },
        Op::Create { path: "/hosts/a".into(), data: b"2".to_vec() },
    ];
    tree.client.commit(&planted).await.unwrap();
    presence.invalidate();
    let applied = presence.apply(&wanted(&[("/hosts/a", "2"), ("/hosts/b", "1")]), &stale(NONE), &[]).await.unwrap();
    assert_eq!(applied.replaced, strings(&["/hosts/a"]));
    assert_eq!(tree.client.get("/hosts/a").await.unwrap().unwrap().ephemeral_owner, up.session_id);
}

#[tokio::test]
async fn what_another_took_over_is_left_to_it() {
    let tree = Tree::new().await;
    let (session, successor) = (tree.session(), tree.session());
    let (_, next) = (up(&session).await, up(&successor).await);
    let nodes = wanted(&[("/hosts/a", "1")]);
    let mut presence = Presence::new(&session);
    presence.apply(&nodes, &stale(NONE), &[]).await.unwrap();
    Presence::new(&successor).apply(&nodes, &stale(NONE), &[]).await.unwrap();
    presence.invalidate();
    assert!(presence.apply(&wanted(&[]), &stale(NONE), &[]).await.unwrap().is_empty());
    assert_eq!(tree.client.get("/hosts/a").await.unwrap().unwrap().ephemeral_owner, next.session_id);
}

#[tokio::test]
async fn a_conflict_that_stays_is_told() {
    let tree = Tree::new().await;
    let session = tree.session();
    up(&session).await;
    let planted = ["/hosts/a", "/hosts/a/x"].map(|path| Op::Create { path: path.into(), data: vec![] });
    tree.client.commit(&planted).await.unwrap();
    let failed = Presence::new(&session).apply(&wanted(&[("/hosts/a", "1")]), &stale(NONE), &[]).await;
    match failed {
        Err(PresenceError::Commit(CommitError::Conflict { path, cause, .. })) => {
            assert_eq!((path.as_str(), cause), ("/hosts/a", Conflict::NotEmpty));
        }
        other => panic!("{other:?}"),
    }
}

/// The caller may stop waiting, and change its mind, before the answer has come.
#[tokio::test]
async fn what_nobody_waited_for_is_cleaned_up() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await;
    let mut presence = Presence::new(&session);
    // What is there is known, so that the next call only writes; its answer will not come.
    presence.apply(&wanted(&[("/hosts/a", "1")]), &stale(&["/hosts/b"]), &[]).await.unwrap();
    proxy.deafen();
    let nodes = wanted(&[("/hosts/a", "2"), ("/hosts/b", "1")]);
    let nothing = stale(NONE);
    tokio::select! {
        applied = presence.apply(&nodes, &nothing, &[]) => panic!("{applied:?}"),
        () = eventually("the write", async || tree.exists("/hosts/b").await) => {}
    }
    proxy.flap().await;
    joined(&session, 1, 1).await;
    let applied = presence.apply(&wanted(&[]), &stale(NONE), &[]).await.unwrap();
    assert_eq!(applied.deleted, strings(&["/hosts/a", "/hosts/b"]));
    assert_eq!(tree.client.children("/hosts").await.unwrap().unwrap(), Vec::<String>::new());
}

/// What rides along is seen with the ephemerals or not at all, and never keeps them from landing.
#[tokio::test]
async fn riders_land_with_the_ephemerals_and_hold_nothing_up() {
    let tree = Tree::new().await;
    let session = tree.session();
    up(&session).await;
    let mut presence = Presence::new(&session);
    let data = b"{}".to_vec();
    let rider = |path: &str| [Op::Create { path: path.to_owned(), data: data.clone() }];
    let applied = presence.apply(&wanted(&[("/hosts/a", "1")]), &stale(NONE), &rider("/hosts/x")).await.unwrap();
    assert!(applied.ridden, "{applied:?}");
    let (node, other) = (tree.client.get("/hosts/a").await.unwrap(), tree.client.get("/hosts/x").await.unwrap());
    assert_eq!(node.unwrap().mzxid, other.unwrap().mzxid, "one transaction");
    // It exists: refused.
    let applied = presence.apply(&wanted(&[("/hosts/a", "2")]), &stale(NONE), &rider("/hosts/x")).await.unwrap();
    assert_eq!((applied.updated, applied.ridden), (strings(&["/hosts/a"]), false));
    // Nothing to go with.
    let applied = presence.apply(&wanted(&[("/hosts/a", "2")]), &stale(NONE), &rider("/hosts/y")).await.unwrap();
    assert!(applied.is_empty() && !tree.exists("/hosts/y").await, "{applied:?}");
}
