//! Agents of thousands of hosts in one process, as far as a controller can tell: each host is there, and says at once
//! that what it is given runs. No systemd, no processes, no sessions of their own: what is measured with it is the
//! controller, and ZooKeeper.
//!
//! `agents SERVERS HOSTS` makes the hosts `h00000` …, says `ready`, and answers until it is killed.

use std::{collections::BTreeMap, error::Error, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use zkops::{
    model::{Assignment, Mode, ReplicaId, decode},
    store::{Client, Link, Mirror, Session, SessionConfig},
    tree::{layout, node::Batch, txn::Op},
};

type Outcome = Result<(), Box<dyn Error>>;

/// How many hosts are made by one transaction, and how many requests are on their way at once.
const AT_ONCE: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, hosts] = arguments.as_slice() else { return Err("usage: agents SERVERS HOSTS".into()) };
    let (servers, session_timeout) = (servers.clone(), Duration::from_secs(30));
    let session = Session::start(SessionConfig { servers, session_timeout });
    let mut link = session.link();
    let client = loop {
        if let Link::Up(up) = &*link.borrow_and_update() {
            break up.client.clone();
        }
        link.changed().await?;
    };
    make_hosts(&client, hosts.parse()?).await?;
    println!("ready");
    let mut mirror = Mirror::start(&session, vec![layout::HOSTS.to_owned()]);
    let mut answered = BTreeMap::new();
    while let Some(batch) = mirror.next().await {
        answer(&client, &batch, &mut answered).await;
    }
    Err("the session ended".into())
}

async fn make_hosts(client: &Client, count: usize) -> Outcome {
    let now = jiff::Timestamp::now();
    let alive = json!({ "address": "10.0.0.1", "version": "0.1.0", "systemd": 252, "machine_id": "m", "boot_id": "b",
                        "pid": 1, "started": now, "accepts": { "units": ["*"] } });
    let alive = alive.to_string().into_bytes();
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(AT_ONCE) {
        let mut ops = Vec::new();
        for number in chunk {
            let host = format!("h{number:05}").parse()?;
            ops.push(Op::Create { path: layout::host(&host), data: Vec::new() });
            ops.push(Op::Create { path: layout::assigned(&host), data: b"{}".to_vec() });
            ops.push(Op::Create { path: layout::alive(&host), data: alive.clone() });
        }
        client.commit(&ops).await?;
    }
    Ok(())
}

/// Says of each assignment that came or changed that it runs, or is stopped, as it is wanted.
async fn answer(client: &Client, batch: &Batch, answered: &mut BTreeMap<String, i32>) {
    let mut requests = Vec::new();
    for change in &batch.changes {
        let Some((host, id)) = change.path.strip_prefix("/hosts/").and_then(|rest| rest.split_once("/assigned/"))
        else {
            continue;
        };
        let Some(node) = &change.node else {
            answered.remove(&change.path);
            continue;
        };
        let (Ok(id), Ok(wanted)) = (id.parse::<ReplicaId>(), decode::<Assignment>(&node.data)) else { continue };
        let again = answered.insert(change.path.clone(), node.version).is_some();
        requests.push(said(host, &id, &wanted, node.version, again));
    }
    let commits = requests.iter().map(|ops| async move {
        if let Err(error) = client.commit(ops).await {
            eprintln!("agents: {error}");
        }
    });
    stream::iter(commits).buffer_unordered(AT_ONCE).collect::<()>().await;
}

fn said(host: &str, id: &ReplicaId, wanted: &Assignment, version: i32, again: bool) -> Vec<Op> {
    let runs = wanted.mode == Mode::Enabled;
    let now = jiff::Timestamp::now();
    let state = if runs { "running" } else { "stopped" };
    let status = json!({ "state": state, "node": host, "pid": 1, "version": wanted.version, "assignment": version,
                         "ready": runs, "restarts": 0, "updated": now });
    let (path, data) = (layout::replica_status(id), status.to_string().into_bytes());
    let status = if again { Op::Set { path, data, version: None } } else { Op::Create { path, data } };
    let path = layout::instance(&id.service, &format!("{host}@{}", id.number));
    let instance = json!({ "replica": id.number, "pid": 1, "version": wanted.version, "started": now });
    let data = instance.to_string().into_bytes();
    let instance = (runs && !again).then_some(Op::Create { path, data });
    std::iter::once(status).chain(instance).collect()
}
