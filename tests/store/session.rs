//! Sessions: resumed, expired, closed, abandoned.

use std::time::{Duration, Instant};

use zkops::{
    store::{CommitError, Link, Session, SessionConfig, StoreError, connect_once},
    tree::txn::Op,
};

use crate::support::{LONG, Tree, ZooKeeper, eventually, joined, link, up, within};

const SHORT: Duration = Duration::from_millis(1200);

pub(crate) fn ephemeral(path: &str) -> Vec<Op> {
    vec![Op::CreateEphemeral { path: path.into(), data: b"{}".to_vec() }]
}

#[tokio::test]
async fn a_cut_is_a_new_join_of_the_same_session() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let first = up(&session).await;
    assert_eq!((first.epoch, first.joins), (1, 0));
    first.client.commit(&ephemeral("/hosts/e")).await.unwrap();

    proxy.cut();
    link(&session, "the loss to be noticed", |link| matches!(link, Link::Suspended)).await;
    assert!(matches!(first.client.get("/hosts").await, Err(StoreError::Disconnected)));
    proxy.heal();
    let healed = Instant::now();
    let second = joined(&session, 1, 1).await;
    assert!(healed.elapsed() < Duration::from_secs(1), "took {:?}", healed.elapsed());
    assert_eq!(second.session_id, first.session_id);
    assert_eq!(tree.client.get("/hosts/e").await.unwrap().unwrap().ephemeral_owner, first.session_id);
    assert!(second.client.exists("/hosts/e").await.unwrap());
    assert!(matches!(first.client.get("/hosts").await, Err(StoreError::Disconnected)), "an old handle stays dead");
}

#[tokio::test]
async fn a_silent_stall_is_noticed_and_left_within_a_second_of_healing() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let first = up(&session).await;
    proxy.stall();
    let stalled = Instant::now();
    link(&session, "the silence to be noticed", |link| link.up().is_none()).await;
    assert!(stalled.elapsed() < Duration::from_secs(4), "took {:?}", stalled.elapsed());
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.heal();
    let healed = Instant::now();
    let second = joined(&session, 1, 1).await;
    assert!(healed.elapsed() < Duration::from_secs(1), "took {:?}", healed.elapsed());
    assert_eq!(second.session_id, first.session_id);
}

#[tokio::test]
async fn an_expired_session_is_followed_by_a_new_one() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), SHORT);
    let first = up(&session).await;
    first.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    proxy.cut();
    eventually("the session to expire", async || !tree.exists("/hosts/e").await).await;
    proxy.heal();
    let second = joined(&session, 2, 0).await;
    assert_eq!((second.epoch, second.joins), (2, 0));
    assert_ne!(second.session_id, first.session_id);
    assert!(matches!(first.client.commit(&ephemeral("/hosts/e")).await, Err(CommitError::Disconnected)));
}

#[tokio::test]
async fn a_long_loss_is_called_down_and_says_why() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), SHORT);
    up(&session).await;
    proxy.cut();
    link(&session, "the loss to be noticed", |link| matches!(link, Link::Suspended)).await;
    let down = link(&session, "the session to be given up", |link| matches!(link, Link::Down { .. })).await;
    let Link::Down { reason } = down else { panic!("{down:?}") };
    assert!(reason.contains("refused") && reason.contains(&proxy.address()), "{reason}");
}

#[tokio::test]
async fn ten_flaps_end_connected() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let first = up(&session).await;
    for _ in 0..10 {
        proxy.flap().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("a connection that works", async || {
        let up = up(&session).await;
        up.client.exists("/hosts").await.is_ok() && up.session_id == first.session_id
    })
    .await;
}

#[tokio::test]
async fn closing_removes_ephemerals_at_once() {
    let tree = Tree::new().await;
    let session = tree.session();
    let up = up(&session).await;
    up.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    let mut link = session.link();
    let start = Instant::now();
    assert!(session.close(Duration::from_secs(10)).await);
    assert!(!tree.exists("/hosts/e").await);
    assert!(start.elapsed() < LONG / 2);
    assert!(matches!(up.client.commit(&ephemeral("/hosts/e")).await, Err(CommitError::Disconnected)));
    while link.changed().await.is_ok() {}
    assert!(matches!(&*link.borrow(), Link::Down { .. }));
}

#[tokio::test]
async fn closing_while_disconnected_resumes_to_close() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    proxy.cut();
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    let closing = tokio::spawn(session.close(Duration::from_secs(10)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.heal();
    assert!(closing.await.unwrap());
    assert!(!tree.exists("/hosts/e").await);
}

#[tokio::test]
async fn closing_without_a_server_gives_up_in_time() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await;
    proxy.stall();
    let start = Instant::now();
    assert!(!session.close(Duration::from_millis(300)).await);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn abandoning_leaves_ephemerals_until_the_timeout() {
    let tree = Tree::new().await;
    let session = tree.session_at(&tree.server.address(), Duration::from_secs(2));
    let up = up(&session).await;
    up.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    session.abandon();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(tree.exists("/hosts/e").await);
    assert!(matches!(up.client.commit(&ephemeral("/hosts/f")).await, Err(CommitError::Disconnected)));
    eventually("the session to expire", async || !tree.exists("/hosts/e").await).await;
}

#[tokio::test]
async fn a_session_survives_the_servers_restart() {
    let mut server = tokio::task::spawn_blocking(ZooKeeper::start).await.unwrap();
    let session = Session::start(SessionConfig { servers: server.address(), session_timeout: LONG });
    let first = up(&session).await;
    first.client.commit(&ephemeral("/e")).await.unwrap();
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.resume();
        server
    })
    .await
    .unwrap();
    let second = joined(&session, 1, 1).await;
    assert_eq!(second.session_id, first.session_id);
    let node = second.client.get("/e").await.unwrap().unwrap();
    assert_eq!(node.ephemeral_owner, first.session_id);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test]
async fn a_daemon_waits_for_its_server() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    proxy.cut();
    let session = tree.session_at(&proxy.address(), LONG);
    let down = link(&session, "a reason", |link| matches!(link, Link::Down { reason } if reason.contains("refused")));
    down.await;
    proxy.heal();
    assert_eq!(up(&session).await.epoch, 1);
}

#[tokio::test]
async fn a_command_does_not_wait() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let config = SessionConfig { servers: format!("{}{}", proxy.address(), tree.chroot), session_timeout: LONG };
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    let error = connect_once(config.clone()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable { reason, .. } if reason.contains("refused")), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    // It accepts, and never serves.
    proxy.stall();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = within("an error", connect_once(config)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn any_server_that_answers_will_do() {
    let tree = Tree::new().await;
    let (one, other) = (tree.proxy(), tree.proxy());
    let session = tree.session_at(&format!("{},{}", one.address(), other.address()), LONG);
    one.cut();
    let first = up(&session).await;
    for joins in 1..=4 {
        let (next, last) = if joins % 2 == 0 { (&other, &one) } else { (&one, &other) };
        next.heal();
        last.cut();
        let up = joined(&session, 1, joins).await;
        assert_eq!(up.session_id, first.session_id);
        assert!(up.client.exists("/hosts").await.unwrap());
    }
    // One that accepts and never serves is no obstacle for long.
    one.stall();
    other.flap().await;
    eventually("a connection through the other", async || up(&session).await.client.exists("/hosts").await.is_ok())
        .await;
}

#[tokio::test]
async fn a_bad_connection_string_is_named() {
    let session = Session::start(SessionConfig { servers: "zk1:port".into(), session_timeout: LONG });
    let down = link(&session, "a reason", |link| matches!(link, Link::Down { reason } if reason.contains("zk1:port")));
    down.await;
    assert!(!session.close(Duration::from_secs(1)).await);
}
