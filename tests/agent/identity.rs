//! Whose work it is: the state on disk belongs to a host, and so does the host's name in the tree.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use zkops::{model::Verb, tree::txn::Op};

use super::{
    host::{Host, assignment},
    support::{LONG, eventually},
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";
const ALIVE: &str = "/hosts/web1/alive";

/// Long enough for an agent to do what it must not do.
const A_WHILE: Duration = Duration::from_secs(1);

fn owner(host: &Host) -> Value {
    serde_json::from_str(&fs::read_to_string(host.state().join("owner.json")).unwrap()).unwrap()
}

/// The state as it is on the disk of another host or machine.
fn becomes(host: &Host, key: &str, value: &str) {
    let mut owner = owner(host);
    owner[key] = json!(value);
    fs::write(host.state().join("owner.json"), owner.to_string()).unwrap();
}

/// Another machine's agent registers under this host's name.
async fn register_another(host: &Host) {
    let alive = json!({
        "version": "0.1.0", "machine_id": "another", "boot_id": "b", "pid": 1, "started": "2026-11-22T18:00:00Z",
    });
    let create = Op::CreateEphemeral { path: ALIVE.to_owned(), data: alive.to_string().into_bytes() };
    host.tree.client.mkdirs("/hosts/web1").await.unwrap();
    host.tree.client.commit(&[create]).await.unwrap();
}

/// One replica runs, and its agent is gone.
async fn running() -> Host {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_ledger(WEB).await;
    host.kill().await;
    host.jobs();
    host
}

#[tokio::test]
async fn the_state_of_another_name_is_left_alone_until_the_name_is_right_again() {
    let mut host = running().await;
    becomes(&host, "host", "web9");
    let (ledger, alive) = (host.ledger(), host.get(ALIVE).await);
    host.start();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((host.jobs(), host.ledger()), (vec![], ledger));
    assert_eq!(host.get(ALIVE).await, alive, "nothing was registered");
    assert!(host.unit(WEB_UNIT).await.active.is_up());
    becomes(&host, "host", "web1");
    eventually("the agent goes on", async || host.get(ALIVE).await["started"] != alive["started"]).await;
    host.wait_until_listed(WEB).await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn a_host_that_was_drained_may_take_another_name() {
    let mut host = running().await;
    host.withdraw(WEB).await;
    host.start();
    eventually("nothing left", async || !host.ledger().contains(WEB) && !host.drop_in(WEB_UNIT).exists()).await;
    host.kill().await;
    becomes(&host, "host", "web9");
    let alive = host.get(ALIVE).await;
    host.start();
    eventually("another process", async || host.get(ALIVE).await["started"] != alive["started"]).await;
    assert_eq!(owner(&host)["host"], "web1");
}

#[tokio::test]
async fn a_machine_whose_id_has_changed_goes_on_and_restarts_nothing() {
    let mut host = running().await;
    becomes(&host, "machine_id", "before");
    let alive = host.get(ALIVE).await;
    host.start();
    eventually("another process", async || host.get(ALIVE).await["started"] != alive["started"]).await;
    host.wait_until_listed(WEB).await;
    host.wait_for_ledger(WEB).await;
    assert_eq!(host.jobs(), []);
    assert!(host.state().join("ledger.json.of-web1-before").exists());
}

#[tokio::test]
async fn the_copy_of_a_machine_runs_nothing_of_its_work() {
    let mut host = Host::new().await;
    register_another(&host).await;
    let other = host.get(ALIVE).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    eventually("the tree read", async || host.plans() > 0).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((host.jobs(), host.drop_in(WEB_UNIT).exists()), (vec![], false));
    assert_eq!(host.status(WEB).await, Value::Null, "nor does it speak for it");
    assert_eq!(host.get(ALIVE).await, other);
    host.delete(ALIVE).await;
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn without_zookeeper_the_copy_of_a_machine_starts_nothing() {
    let mut host = running().await;
    host.reboot(&zkops::systemd::fake::Behaviour::default());
    becomes(&host, "machine_id", "before");
    let proxy = host.tree.proxy();
    proxy.cut();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), host.systemd.clone());
    // The host itself would start it after a session timeout, which is a second.
    tokio::time::sleep(3 * A_WHILE).await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn a_host_whose_name_was_taken_meanwhile_stops_nothing() {
    let mut host = running().await;
    host.delete(ALIVE).await;
    register_another(&host).await;
    host.withdraw(WEB).await;
    host.start();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(host.jobs(), []);
    assert!(host.unit(WEB_UNIT).await.active.is_up());
    host.delete(ALIVE).await;
    eventually("what is not its own is stopped", async || host.unit(WEB_UNIT).await.is_down()).await;
}

/// Two machines of one name may look at the same time, and both see that nobody has it.
#[tokio::test]
async fn nothing_is_started_before_the_name_is_taken() {
    let mut host = Host::new().await;
    host.patience = Duration::from_secs(60);
    // What has children cannot be replaced, and names no machine.
    host.put(&format!("{ALIVE}/in-the-way"), &json!({})).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    eventually("the tree read", async || host.plans() > 1).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(host.jobs(), []);
    host.delete_all(&[format!("{ALIVE}/in-the-way"), ALIVE.to_owned()]).await;
    host.wait_until_listed(WEB).await;
    assert_eq!(host.jobs(), [(Verb::Start, WEB_UNIT.to_owned())]);
}

/// As after a power cut of a whole site: the ensemble is up later than a session timeout after its hosts.
#[tokio::test]
async fn a_newcomer_waits_from_when_it_first_saw_the_tree() {
    let mut host = Host::new().await;
    host.patience = Duration::from_secs(3);
    host.put(&format!("{ALIVE}/in-the-way"), &json!({})).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    let proxy = host.tree.proxy();
    proxy.cut();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), host.systemd.clone());
    tokio::time::sleep(Duration::from_secs(4)).await;
    proxy.heal();
    tokio::time::sleep(2 * A_WHILE).await;
    assert_eq!(host.jobs(), [], "nobody knows yet whose name it is");
}
