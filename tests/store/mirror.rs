//! Mirrors: everything first, then what differs, and nothing missed whatever happens to the connection.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use zkops::{
    store::{Client, Link, Mirror, Session},
    tree::{
        node::{Batch, Node, Synced},
        txn::Op,
    },
};

use crate::{
    session::ephemeral,
    support::{LONG, Tree, eventually, joined, link, up, within},
};

fn create(path: &str, data: &str) -> Op {
    Op::Create { path: path.into(), data: data.into() }
}

fn set(path: &str, data: &str) -> Op {
    Op::Set { path: path.into(), data: data.into(), version: None }
}

fn delete(path: &str) -> Op {
    Op::Delete { path: path.into(), version: None }
}

async fn commit(client: &Client, ops: &[Op]) {
    client.commit(ops).await.unwrap();
}

/// A mirror and what it has told so far.
struct Copy {
    mirror: Mirror,
    nodes: BTreeMap<String, Node>,
    synced: Option<Synced>,
}

impl Copy {
    fn of(mirror: Mirror) -> Self {
        Self { mirror, nodes: BTreeMap::new(), synced: None }
    }

    /// Follows `/hosts`, and has read it once.
    async fn of_hosts(session: &Session) -> Self {
        let mut copy = Self::of(Mirror::start(session, vec!["/hosts".into()]));
        let first = copy.next().await;
        assert!(first.synced.is_some(), "the first batch is everything");
        copy
    }

    async fn next(&mut self) -> Batch {
        let batch = within("a batch", self.mirror.next()).await.unwrap();
        self.take(&batch);
        batch
    }

    fn take(&mut self, batch: &Batch) {
        assert!(batch.changes.is_sorted_by(|a, b| a.path < b.path), "sorted, one change per path: {batch:?}");
        for change in batch.changes.clone() {
            match change.node {
                Some(node) => self.nodes.insert(change.path, node),
                None => self.nodes.remove(&change.path),
            };
        }
        self.synced = batch.synced.or(self.synced);
    }

    fn data(&self, path: &str) -> Option<&str> {
        self.nodes.get(path).map(|node| std::str::from_utf8(&node.data).unwrap())
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            while !condition(self) {
                self.next().await;
            }
        })
        .await;
    }

    async fn until_synced(&mut self, epoch: u64, joins: u64) {
        let reached = |copy: &Self| copy.synced.is_some_and(|at| (at.epoch, at.joins) >= (epoch, joins));
        self.until(&format!("a full read over connection {joins} of session {epoch}"), reached).await;
    }
}

fn paths(batch: &Batch) -> Vec<(&str, bool)> {
    batch.changes.iter().map(|change| (change.path.as_str(), change.node.is_some())).collect()
}

#[tokio::test]
async fn first_everything_then_what_differs() {
    let tree = Tree::new().await;
    commit(&tree.client, &[create("/hosts/b", "1"), create("/hosts/a", "1"), create("/hosts/a/x", "1")]).await;
    commit(&tree.client, &[create("/services/s", "1")]).await;
    let session = tree.session();
    let mut copy = Copy::of(Mirror::start(&session, vec!["/services".into(), "/hosts".into()]));
    let first = copy.next().await;
    assert_eq!(first.synced, Some(Synced { epoch: 1, joins: 0 }));
    let all = ["/hosts", "/hosts/a", "/hosts/a/x", "/hosts/b", "/services", "/services/s"];
    assert_eq!(paths(&first), all.map(|path| (path, true)));

    commit(&tree.client, &[set("/hosts/b", "2"), delete("/hosts/a/x"), create("/services/s/i", "1")]).await;
    copy.until("the changes", |copy| copy.data("/services/s/i").is_some() && copy.data("/hosts/b") == Some("2")).await;
    assert_eq!(copy.data("/hosts/a/x"), None);
    let node = tree.client.get("/hosts/b").await.unwrap();
    assert_eq!(copy.nodes.get("/hosts/b"), node.as_ref());
    commit(&tree.client, &[set("/hosts/b", "3")]).await;
    let last = copy.next().await;
    assert_eq!((paths(&last), last.synced), (vec![("/hosts/b", true)], None));
    assert_eq!(copy.mirror.try_next(), None);
}

#[tokio::test]
async fn configuration_revisions_are_there_without_their_data() {
    let tree = Tree::new().await;
    let large = "x".repeat(400 * 1024);
    commit(&tree.client, &[create("/services/s", "1"), create("/services/s/config", "{}")]).await;
    commit(&tree.client, &[create("/services/s/config/1", &large)]).await;
    let mut copy = Copy::of(Mirror::start(&tree.session(), vec!["/services".into()]));
    copy.next().await;
    assert_eq!((copy.data("/services/s/config"), copy.data("/services/s/config/1")), (Some("{}"), Some("")));
    commit(&tree.client, &[create("/services/s/config/2", &large), delete("/services/s/config/1")]).await;
    let next =
        |copy: &Copy| copy.data("/services/s/config/2") == Some("") && copy.data("/services/s/config/1").is_none();
    copy.until("the next revision in place of the first", next).await;
}

#[tokio::test]
async fn changes_while_the_reader_is_busy_are_merged() {
    let tree = Tree::new().await;
    let session = tree.session();
    let mut copy = Copy::of_hosts(&session).await;
    let client = up(&session).await.client;
    commit(&client, &[create("/hosts/b", "1")]).await;
    commit(&client, &[create("/hosts/a", "1")]).await;
    commit(&client, &[set("/hosts/b", "2")]).await;
    commit(&client, &[create("/hosts/c", "1")]).await;
    commit(&client, &[delete("/hosts/c")]).await;
    assert!(copy.mirror.barrier().await);
    let batch = copy.mirror.try_next().unwrap();
    copy.take(&batch);
    assert_eq!(paths(&batch), [("/hosts/a", true), ("/hosts/b", true), ("/hosts/c", false)]);
    assert_eq!(copy.data("/hosts/b"), Some("2"));
}

#[tokio::test]
async fn after_a_barrier_own_writes_are_there() {
    let tree = Tree::new().await;
    let session = tree.session();
    let mut copy = Copy::of_hosts(&session).await;
    let client = up(&session).await.client;
    for n in 0..200 {
        let path = format!("/hosts/h{n}");
        commit(&client, &[create(&path, "1"), create(&format!("{path}/x"), "1")]).await;
        assert!(copy.mirror.barrier().await);
        let batch = copy.mirror.try_next().unwrap();
        assert_eq!(paths(&batch), [(path.as_str(), true), (format!("{path}/x").as_str(), true)]);
    }
}

#[tokio::test]
async fn a_barrier_during_the_first_read_waits_for_it() {
    let tree = Tree::new().await;
    let many: Vec<Op> = (0..2000).map(|n| create(&format!("/hosts/h{n}"), "1")).collect();
    commit(&tree.client, &many).await;
    let session = tree.session();
    up(&session).await;
    let mut mirror = Mirror::start(&session, vec!["/hosts".into()]);
    tokio::task::yield_now().await;
    assert!(mirror.barrier().await);
    let batch = mirror.try_next().unwrap();
    assert_eq!(batch.changes.len(), 2001);
    assert!(batch.synced.is_some());
}

#[tokio::test]
async fn a_barrier_does_not_outlive_the_connection() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let copy = Copy::of_hosts(&session).await;
    proxy.stall();
    commit(&tree.client, &[create("/hosts/a", "1")]).await;
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    assert!(!within("an answer", copy.mirror.barrier()).await);
}

/// Field note 13 and the reason why a deletion is read again: a takeover must never look like a loss.
#[tokio::test]
async fn a_takeover_is_one_change() {
    let tree = Tree::new().await;
    let (old, new, watching) = (tree.session(), tree.session(), tree.session());
    up(&old).await.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    let mut copy = Copy::of_hosts(&watching).await;
    let new = up(&new).await;
    for round in 0..50 {
        let take = Op::CreateEphemeral { path: "/hosts/e".into(), data: format!("{round}").into() };
        commit(&new.client, &[delete("/hosts/e"), take]).await;
        let data = format!("{round}");
        while copy.data("/hosts/e") != Some(data.as_str()) {
            let batch = copy.next().await;
            assert_eq!(paths(&batch), [("/hosts/e", true)], "round {round}");
        }
    }
    assert_eq!(copy.nodes["/hosts/e"].ephemeral_owner, new.session_id);
}

#[tokio::test]
async fn a_root_may_come_and_go() {
    let tree = Tree::new().await;
    let session = tree.session();
    let mut copy = Copy::of(Mirror::start(&session, vec!["/hosts/a/b".into()]));
    let first = copy.next().await;
    assert_eq!((first.changes.len(), first.synced.is_some()), (0, true));
    tree.client.mkdirs("/hosts/a/b/c").await.unwrap();
    copy.until("the root", |copy| copy.nodes.len() == 2).await;
    commit(&tree.client, &[delete("/hosts/a/b/c"), delete("/hosts/a/b")]).await;
    copy.until("its end", |copy| copy.nodes.is_empty()).await;
    commit(&tree.client, &[create("/hosts/a/b", "again")]).await;
    copy.until("its return", |copy| copy.data("/hosts/a/b") == Some("again")).await;
    assert!(!copy.nodes.contains_key("/hosts/a"));
}

/// Field notes 1 and 2: the library forgets persistent watches, and ZooKeeper does not replay their events.
#[tokio::test]
async fn what_happened_during_a_cut_is_seen_and_so_is_what_comes_after() {
    let tree = Tree::new().await;
    commit(&tree.client, &[create("/hosts/a", "1"), create("/hosts/b", "1"), create("/hosts/same", "1")]).await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut copy = Copy::of_hosts(&session).await;
    proxy.cut();
    link(&session, "the loss to be noticed", |link| link.up().is_none()).await;
    commit(&tree.client, &[set("/hosts/a", "2"), delete("/hosts/b"), create("/hosts/c", "1")]).await;
    proxy.heal();
    let healed = Instant::now();
    let batch = copy.next().await;
    assert!(healed.elapsed() < Duration::from_secs(1), "took {:?}", healed.elapsed());
    assert_eq!(paths(&batch), [("/hosts/a", true), ("/hosts/b", false), ("/hosts/c", true)]);
    assert_eq!(batch.synced, Some(Synced { epoch: 1, joins: 1 }));
    commit(&tree.client, &[set("/hosts/same", "2")]).await;
    copy.until("an event over the new connection", |copy| copy.data("/hosts/same") == Some("2")).await;
}

#[tokio::test]
async fn what_happened_during_a_silence_is_seen() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut copy = Copy::of_hosts(&session).await;
    proxy.stall();
    commit(&tree.client, &[create("/hosts/a", "1")]).await;
    link(&session, "the silence to be noticed", |link| link.up().is_none()).await;
    commit(&tree.client, &[create("/hosts/b", "1")]).await;
    proxy.heal();
    copy.until("both", |copy| copy.data("/hosts/a").is_some() && copy.data("/hosts/b").is_some()).await;
}

/// Field notes 9 and 10: expiry ends the library's client, and its watchers panic when polled after that.
#[tokio::test]
async fn an_expiry_is_survived() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), Duration::from_millis(1200));
    let mut copy = Copy::of_hosts(&session).await;
    up(&session).await.client.commit(&ephemeral("/hosts/e")).await.unwrap();
    copy.until("the ephemeral", |copy| copy.data("/hosts/e").is_some()).await;
    proxy.cut();
    eventually("the session to expire", async || !tree.exists("/hosts/e").await).await;
    proxy.heal();
    copy.until_synced(2, 0).await;
    assert_eq!(copy.data("/hosts/e"), None);
    commit(&tree.client, &[create("/hosts/a", "1")]).await;
    copy.until("an event in the new session", |copy| copy.data("/hosts/a").is_some()).await;
}

#[tokio::test]
async fn a_mirror_ends_with_its_session() {
    let tree = Tree::new().await;
    for close in [true, false] {
        let session = tree.session();
        let mut copy = Copy::of_hosts(&session).await;
        if close {
            assert!(session.close(Duration::from_secs(10)).await);
        } else {
            session.abandon();
        }
        assert_eq!(within("the end", copy.mirror.next()).await, None);
        assert!(!copy.mirror.barrier().await);
    }
}

/// Writes without pause while the connection flaps: in the end the copy is the tree.
#[tokio::test]
async fn flaps_under_load_converge() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut copy = Copy::of_hosts(&session).await;
    let (client, done) = (tree.client.clone(), tokio::sync::watch::channel(false).0);
    let mut stop = done.subscribe();
    let writing = tokio::spawn(async move {
        let mut count = 0_u32;
        while !*stop.borrow_and_update() {
            let path = format!("/hosts/h{}", count * 7 % 40);
            let op = match client.get(&path).await.unwrap() {
                Some(_) if count.is_multiple_of(3) => delete(&path),
                Some(_) => set(&path, &count.to_string()),
                None => create(&path, &count.to_string()),
            };
            commit(&client, &[op]).await;
            count += 1;
        }
        count
    });
    for round in 0..10 {
        proxy.flap().await;
        joined(&session, 1, round + 1).await;
        let pause = tokio::time::sleep(Duration::from_millis(10 * round));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = copy.next() => {}
            }
        }
    }
    done.send_replace(true);
    assert!(writing.await.unwrap() > 50);
    commit(&tree.client, &[create("/hosts/last", "1")]).await;
    copy.until("the last write", |copy| copy.data("/hosts/last").is_some()).await;
    let truth = zkops::store::subtree::read_subtree(&tree.client, "/hosts").await.unwrap();
    assert_eq!(copy.nodes, truth);
}

/// What was found when the connection was lost, and not shown yet, is shown after the next one's read.
#[tokio::test]
async fn a_first_read_that_is_cut_short_is_not_forgotten() {
    let tree = Tree::new().await;
    let many: Vec<Op> = (0..3000).map(|n| create(&format!("/hosts/h{n}"), "1")).collect();
    commit(&tree.client, &many).await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    up(&session).await;
    proxy.stall_after(500);
    let mut copy = Copy::of(Mirror::start(&session, vec!["/hosts".into()]));
    within("the read to be half way", proxy.stalled()).await;
    proxy.flap().await;
    let first = copy.next().await;
    assert_eq!(first.synced, Some(Synced { epoch: 1, joins: 1 }));
    assert_eq!(first.changes.len(), 3001);
    assert!(first.changes.iter().all(|change| change.node.is_some()));
}

#[tokio::test]
async fn the_backstop_reads_all_and_tells_nothing_new() {
    let tree = Tree::new().await;
    commit(&tree.client, &[create("/hosts/a", "1")]).await;
    let session = tree.session();
    let mut copy = Copy::of(Mirror::resyncing(&session, vec!["/hosts".into()], Duration::from_millis(100)));
    assert_eq!(copy.next().await.changes.len(), 2);
    for _ in 0..3 {
        let again = copy.next().await;
        assert_eq!((again.changes.len(), again.synced), (0, Some(Synced { epoch: 1, joins: 0 })));
    }
}

/// Events that come while everything is read are neither lost nor undone by the older read.
#[tokio::test]
async fn writes_during_full_reads_converge() {
    let tree = Tree::new().await;
    let many: Vec<Op> = (0..1000).map(|n| create(&format!("/hosts/h{n:03}"), "0")).collect();
    commit(&tree.client, &many).await;
    let session = tree.session();
    let mut copy = Copy::of(Mirror::resyncing(&session, vec!["/hosts".into()], Duration::from_millis(20)));
    for round in 1..=20 {
        let ops: Vec<Op> = (0..100).map(|n| set(&format!("/hosts/h{:03}", n * 10), &round.to_string())).collect();
        commit(&tree.client, &ops).await;
        commit(&tree.client, &[create("/hosts/x", "1"), create("/hosts/x/y", "1")]).await;
        copy.next().await;
        commit(&tree.client, &[delete("/hosts/x/y"), delete("/hosts/x")]).await;
    }
    let truth = zkops::store::subtree::read_subtree(&tree.client, "/hosts").await.unwrap();
    copy.until("the truth", |copy| copy.nodes == truth).await;
    // Stays so.
    for _ in 0..5 {
        copy.next().await;
        assert_eq!(copy.nodes, truth);
    }
}

#[tokio::test]
async fn an_event_costs_one_read() {
    let tree = Tree::new().await;
    commit(&tree.client, &[create("/hosts/a", "0")]).await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut copy = Copy::of_hosts(&session).await;
    let before = proxy.requests();
    let mut took = Vec::new();
    for n in 1..=50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let start = Instant::now();
        commit(&tree.client, &[set("/hosts/a", &n.to_string())]).await;
        copy.next().await;
        took.push(start.elapsed());
        assert_eq!(copy.data("/hosts/a"), Some(n.to_string().as_str()));
    }
    took.sort();
    eprintln!("write to batch, through a proxy: median {:?}, highest {:?}", took[25], took[49]);
    assert_eq!(proxy.requests() - before, 50);
}

#[tokio::test]
async fn the_link_tells_consumers_the_same_story() {
    let tree = Tree::new().await;
    let proxy = tree.proxy();
    let session = tree.session_at(&proxy.address(), LONG);
    let mut copy = Copy::of_hosts(&session).await;
    proxy.flap().await;
    let up = joined(&session, 1, 1).await;
    copy.until_synced(1, 1).await;
    assert!(matches!(&*session.link().borrow(), Link::Up(now) if now.joins == up.joins));
}
