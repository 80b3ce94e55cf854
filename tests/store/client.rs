//! Transactions and reads.

use std::time::{Duration, Instant};

use zkops::{
    model::MAX_DOCUMENT_BYTES,
    store::{
        CommitError, Conflict, OpResult, SessionConfig, StoreError, connect_once, init::init, subtree::read_subtree,
    },
    tree::{layout, txn::Op},
};

use crate::support::{LONG, Tree, eventually, joined, link, up, within};

fn create(path: &str) -> Op {
    Op::Create { path: path.into(), data: b"{}".to_vec() }
}

fn set(path: &str, version: i32) -> Op {
    Op::Set { path: path.into(), data: b"[]".to_vec(), version: Some(version) }
}

fn delete(path: &str) -> Op {
    Op::Delete { path: path.into(), version: None }
}

#[tokio::test]
async fn a_transaction_lands_whole() {
    let tree = Tree::new().await;
    let check = Op::Check { path: "/hosts".into(), version: 0 };
    let sequential = Op::CreateSequential { prefix: "/services/".into(), data: vec![] };
    let ops =
        [check, create("/hosts/a"), sequential.clone(), set("/hosts/a", 0), create("/hosts/b"), delete("/hosts/b")];
    let results = tree.client.commit(&ops).await.unwrap();
    let created = |path: &str| OpResult::Created { path: path.into() };
    let expected = [
        OpResult::Done,
        created("/hosts/a"),
        created("/services/0000000000"),
        OpResult::Set { version: 1 },
        created("/hosts/b"),
        OpResult::Done,
    ];
    assert_eq!(results, expected);
    assert_eq!(tree.client.commit(&[sequential]).await.unwrap(), [created("/services/0000000001")]);
    let node = tree.client.get("/hosts/a").await.unwrap().unwrap();
    assert_eq!((node.data.as_slice(), node.version, node.ephemeral_owner), (b"[]".as_slice(), 1, 0));
    assert_eq!(tree.client.get("/hosts/b").await.unwrap(), None);
    assert_eq!(tree.client.children("/hosts").await.unwrap().unwrap(), ["a"]);
    assert_eq!(tree.client.children("/nowhere").await.unwrap(), None);
    assert_eq!(tree.client.commit(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_conflict_names_the_operation_and_nothing_lands() {
    let tree = Tree::new().await;
    tree.client.commit(&[create("/hosts/a"), create("/hosts/a/b")]).await.unwrap();
    let cases = [
        (set("/hosts/a", 7), "/hosts/a", Conflict::BadVersion),
        (Op::Check { path: "/hosts/a".into(), version: 1 }, "/hosts/a", Conflict::BadVersion),
        (create("/hosts/x/y"), "/hosts/x/y", Conflict::NoNode),
        (set("/hosts/x", 0), "/hosts/x", Conflict::NoNode),
        (create("/hosts/a"), "/hosts/a", Conflict::NodeExists),
        (delete("/hosts/a"), "/hosts/a", Conflict::NotEmpty),
    ];
    for (op, expected, why) in cases {
        for at in 0..3 {
            let mut ops = vec![create("/hosts/n"), create("/hosts/n/m")];
            ops.insert(at, op.clone());
            match tree.client.commit(&ops).await {
                Err(CommitError::Conflict { index, path, cause }) => {
                    assert_eq!((index, path.as_str(), cause), (at, expected, why), "{op:?}");
                }
                other => panic!("{op:?}: {other:?}"),
            }
            assert!(!tree.exists("/hosts/n").await);
        }
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let tree = Tree::new().await;
    let document = |path: &str, bytes| Op::Create { path: path.into(), data: vec![b' '; bytes] };
    let too_large = document("/hosts/a", MAX_DOCUMENT_BYTES + 1);
    match tree.client.commit(&[create("/hosts/b"), too_large]).await {
        Err(CommitError::TooLarge { path, bytes }) => {
            assert_eq!((path.as_str(), bytes), ("/hosts/a", MAX_DOCUMENT_BYTES + 1));
        }
        other => panic!("{other:?}"),
    }
    let many: Vec<Op> = (0..10).map(|n| document(&format!("/hosts/{n}"), 100_000)).collect();
    match tree.client.commit(&many).await {
        Err(CommitError::TooLarge { path, .. }) => assert_eq!(path, "/hosts/9"),
        other => panic!("{other:?}"),
    }
    assert_eq!(tree.client.children("/hosts").await.unwrap().unwrap(), Vec::<String>::new());
    // The largest that is allowed does land.
    tree.client.commit(&[document("/hosts/a", MAX_DOCUMENT_BYTES)]).await.unwrap();
    tree.client.commit(&many[..9]).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_while_disconnected_and_nothing_later() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let first = up(&session).await;
    // A write whose request reaches nobody: it may or may not be in force, as far as anyone here knows.
    proxy.stall();
    let ops = [create("/hosts/late")];
    let dropped = tokio::time::timeout(Duration::from_millis(100), first.client.commit(&ops)).await;
    assert!(dropped.is_err());
    let unknown = within("an answer", first.client.commit(&[create("/hosts/unknown")])).await;
    assert!(matches!(unknown, Err(CommitError::Unknown { .. })), "{unknown:?}");
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    let refused = first.client.commit(&[create("/hosts/refused")]).await;
    assert!(matches!(refused, Err(CommitError::Disconnected)), "{refused:?}");
    // What was on its way when the connection was given up is lost with it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    proxy.heal();
    let second = joined(&session, 1, 1).await;
    second.client.sync().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(second.client.children("/hosts").await.unwrap().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_that_never_came_is_unknown_though_it_landed() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let up = up(&session).await;
    proxy.deafen();
    let ops = [create("/hosts/a")];
    let commit = up.client.commit(&ops);
    let (answer, ()) = tokio::join!(commit, async {
        eventually("the write to land", async || tree.exists("/hosts/a").await).await;
        proxy.cut();
    });
    assert!(matches!(answer, Err(CommitError::Unknown { .. })), "{answer:?}");
}

#[tokio::test]
async fn init_creates_the_chroot_and_what_is_missing() {
    let tree = Tree::new().await;
    let servers = format!("{}{}/deep/er", tree.server.address(), tree.chroot);
    let client = connect_once(SessionConfig { servers, session_timeout: LONG }).await.unwrap();
    match client.mkdirs("/services").await {
        Err(StoreError::NoChroot { chroot }) => assert_eq!(chroot, format!("{}/deep/er", tree.chroot)),
        other => panic!("{other:?}"),
    }
    let made = init(&client).await.unwrap();
    let mut expected = vec![format!("{}/deep", tree.chroot), format!("{}/deep/er", tree.chroot)];
    expected.extend(layout::ROOTS.iter().map(|root| format!("{}/deep/er{root}", tree.chroot)));
    assert_eq!(made, expected);
    assert_eq!(init(&client).await.unwrap(), Vec::<String>::new());
    client.commit(&[delete(layout::AUDIT)]).await.unwrap();
    assert_eq!(init(&client).await.unwrap(), [format!("{}/deep/er/audit", tree.chroot)]);
    assert!(client.close(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_tree_is_read_whole_and_fast() {
    let tree = Tree::new().await;
    let mut expected = vec!["/services".to_owned()];
    for service in 0..100 {
        let parent = format!("/services/s{service:03}");
        let children: Vec<String> = (0..200).map(|n| format!("{parent}/{n:04}")).collect();
        let ops: Vec<Op> = [&parent].into_iter().chain(&children).map(|path| create(path)).collect();
        tree.client.commit(&ops).await.unwrap();
        expected.push(parent);
        expected.extend(children);
    }
    let start = Instant::now();
    let nodes = read_subtree(&tree.client, "/services").await.unwrap();
    let took = start.elapsed();
    assert!(nodes.keys().eq(&expected));
    assert!(nodes.values().skip(1).all(|node| node.data == b"{}"));
    eprintln!("{} nodes in {took:?}", nodes.len());
    assert!(took < Duration::from_secs(10), "took {took:?}");
    assert!(read_subtree(&tree.client, "/nowhere").await.unwrap().is_empty());
}
