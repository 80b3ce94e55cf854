//! ZooKeeper lost, slow, or changed by another hand.

use std::{sync::Arc, time::Duration};

use zkops::{systemd::fake::End, tree::txn::Op};

use super::{
    host::{Host, assignment, name},
    support::{LONG, eventually},
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

#[tokio::test]
async fn an_outage_in_the_middle_of_a_publication_does_not_keep_the_loop_spinning() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    let proxy = host.tree.proxy();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), Arc::clone(&host.systemd));
    host.wait_until_listed(WEB).await;
    proxy.stall();
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    tokio::time::sleep(Duration::from_millis(200)).await;
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let plans = host.plans();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.plans() - plans < 20, "{} plans in a second", host.plans() - plans);
    proxy.heal();
    eventually("the news", async || host.status(WEB).await["restarts"] == 1).await;
}

#[tokio::test]
async fn a_replica_whose_nodes_were_deleted_is_not_written_to_without_rest() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.assign("webapp.0000000002", &assignment("webapp@0000000002.service")).await;
    let proxy = host.tree.proxy();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), Arc::clone(&host.systemd));
    host.wait_for_state(WEB, "running").await;
    host.wait_for_state("webapp.0000000002", "running").await;
    for path in ["status", "desired"] {
        host.delete(&format!("/services/webapp/0000000001/{path}")).await;
    }
    host.delete("/services/webapp/0000000001").await;
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let requests = proxy.requests();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(proxy.requests() - requests < 20, "{} requests in two seconds", proxy.requests() - requests);
    host.systemd.end(&name("webapp@0000000002.service"), End::Kill);
    eventually("the other's news", async || host.status("webapp.0000000002").await["restarts"] == 1).await;
}

#[tokio::test]
async fn what_another_hand_deletes_is_put_back() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    for _ in 0..10 {
        host.delete("/hosts/web1/alive").await;
        host.wait_until_registered().await;
    }
    // As fast as it comes back: a mirror that found nothing before and after has no change to tell of.
    for _ in 0..200 {
        let _ = host.tree.client.commit(&[Op::Delete { path: "/hosts/web1/alive".into(), version: None }]).await;
    }
    host.wait_until_registered().await;
    host.delete_all(&["/assigned/webapp.0000000001", "/assigned", "/alive", ""].map(|end| format!("/hosts/web1{end}")))
        .await;
    host.wait_until_registered().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(host.unit(WEB_UNIT).await.active.is_up());
    assert_eq!(host.jobs().len(), 1, "nothing but the first start");
    assert!(!host.instance(WEB).await.is_null());
}
