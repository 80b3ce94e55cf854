//! Hosts that are lost, and hosts where a replica fails.

use serde_json::json;

use super::*;
use crate::model::{ConditionKind, Reason, RefusalReason};

#[test]
fn a_lost_hosts_replicas_move_after_lost_after() {
    let mut sim = webapp(3);
    sim.crash("web2");
    let plan = sim.plan();
    assert_eq!(plan.wake_at, Some(sim.now.checked_add(std::time::Duration::from_secs(10)).unwrap()));
    sim.live(9);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_condition(&sim, "webapp", &["HostLost: web2: has been gone since", "(webapp.0000000002)"]);
    sim.live(2);
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
    assert!(
        sim.replica("webapp.0000000002").unwrap().reason.starts_with("web2 has been lost since 2026-01-01T00:00:00Z")
    );
    assert_rest(&mut sim);
}

#[test]
fn failover_is_one_transaction_and_comes_first() {
    let mut sim = webapp(3);
    sim.service("another", &json!({ "unit": "another.service" }), &json!({}));
    sim.crash("web2");
    let _ = sim.plan();
    sim.sleep(10);
    let plan = sim.plan();
    let reasons: Vec<_> = plan.transactions.iter().map(|transaction| transaction.reason.as_str()).collect();
    assert!(
        reasons[0].starts_with("webapp: 0000000002 moved from web2 to web1: web2 has been lost since"),
        "{reasons:?}"
    );
    assert!(reasons[1].starts_with("another: "), "{reasons:?}");
}

#[test]
fn a_host_that_returns_in_time_keeps_its_replicas() {
    let mut sim = webapp(3);
    sim.crash("web2");
    sim.live(8);
    sim.boot("web2");
    sim.live(20);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_eq!(conditions(&sim.status("webapp")), "");
}

#[test]
fn a_host_that_returns_late_stops_what_moved() {
    let mut sim = webapp(3);
    sim.cut("web2");
    sim.live(12);
    sim.boot("web2");
    sim.settle();
    assert_eq!(
        sim.processes(),
        "web1:webapp@0000000001.service web1:webapp@0000000002.service web3:webapp@0000000003.service"
    );
}

#[test]
fn after_an_orderly_shutdown_nothing_is_waited_for() {
    let mut sim = webapp(3);
    sim.shut_down("web2");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
    assert!(sim.replica("webapp.0000000002").unwrap().reason.starts_with("web2 was shut down"));
}

#[test]
fn unless_the_service_waits_for_a_reboot() {
    let mut sim = webapp_with(3, json!({ "wait_for_reboot": true, "lost_after": "30s" }));
    sim.shut_down("web2");
    sim.live(20);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    sim.boot("web2");
    sim.live(20);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    sim.shut_down("web2");
    sim.live(32);
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn stopped_replicas_need_not_move() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    sim.crash("web2");
    sim.live(30);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_eq!(sim.status("webapp").summary.to_string(), "disabled");
    // Enabled again, it cannot start there.
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn without_another_host_it_waits_where_it_is() {
    let mut sim = webapp_with(3, json!({ "placement": { "max_per_host": 1 } }));
    sim.crash("web2");
    sim.live(20);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_condition(&sim, "webapp", &["HostLost: web2", "no other host fits", "2 full"]);
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
    assert_rest(&mut sim);
    sim.boot("web2");
    sim.settle();
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
}

#[test]
fn when_most_hosts_are_lost_failover_holds_and_nothing_else_does() {
    let mut sim = webapp(3);
    sim.crash("web2");
    sim.crash("web3");
    sim.live(60);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_condition(&sim, "webapp", &["FailoverHeld", "2 of 3 hosts are lost", "55 %"]);
    sim.patch_desired("webapp", &json!({ "replicas": 4 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3 7=web1");
    sim.boot("web3");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web3 3=web3 7=web1");
}

#[test]
fn a_deleted_host_counts_as_lost() {
    let mut sim = webapp(3);
    sim.crash("web2");
    sim.tree.delete_all("/hosts/web2");
    sim.live(12);
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn a_replica_that_fails_moves_to_a_host_where_it_did_not() {
    let mut sim = webapp(1);
    sim.host("web1").setup.failing.insert("webapp".parse().unwrap());
    sim.power_cycle("web1");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2");
    let desired = sim.replica("webapp.0000000001").unwrap();
    assert!(
        desired
            .reason
            .starts_with("failed on web1: webapp@0000000001.service failed (exit-code): exited with status 1"),
        "{}",
        desired.reason
    );
    assert_eq!(desired.failed_on.len(), 1);
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
}

#[test]
fn failing_everywhere_it_stays_and_is_tried_elsewhere_after_a_while() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    for host in ["web1", "web2", "web3"] {
        sim.host(host).setup.failing.insert("webapp".parse().unwrap());
    }
    sim.service("webapp", &spec(json!({})), &json!({}));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3");
    assert_condition(
        &sim,
        "webapp",
        &[
            "Failed: web3: webapp@0000000001.service failed (exit-code): exited with status 1; it failed on 2 other hosts within 10m",
        ],
    );
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
    sim.sleep(599);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3");
    sim.sleep(1);
    sim.settle();
    assert_ne!(sim.places("webapp"), "1=web3");
}

#[test]
fn what_fails_everywhere_is_moved_a_few_times_only() {
    let names: Vec<String> = (1..=30).map(|number| format!("web{number:02}")).collect();
    for refused in [true, false] {
        let mut sim = Sim::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names {
            let host = sim.host(name);
            let set = if refused { &mut host.setup.refused } else { &mut host.setup.failing };
            set.insert("webapp".parse().unwrap());
        }
        sim.service("webapp", &spec(json!({})), &json!({ "replicas": 10 }));
        sim.settle();
        let name = "webapp".parse().unwrap();
        let moves = |sim: &Sim| {
            let replicas = sim.cluster().services[&name].replicas.clone();
            let known = replicas.values().filter_map(|replica| replica.desired.as_ref()?.good().cloned());
            known.map(|desired| desired.failed_on.len()).sum::<usize>()
        };
        let first = moves(&sim);
        assert!((1..=20).contains(&first), "{first} moves");
        let kind = if refused { "Refused" } else { "Failed" };
        assert_condition(&sim, "webapp", &[kind, "stays here"]);
        let id = "webapp.0000000001".parse().unwrap();
        let context = sim.context();
        let prospects = crate::plan::controller::prospects(&sim.cluster(), &context, &id);
        assert!(prospects.held.is_some_and(|held| held.contains("stays here")), "explained, too");
        sim.live(120);
        assert_eq!(moves(&sim), first, "and no more in the next minutes");
        sim.sleep(3600);
        sim.settle();
        assert!(moves(&sim) <= 20, "later it is tried elsewhere, as often");
    }
}

#[test]
fn one_broken_host_loses_all_its_replicas_to_others() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 12 }));
    sim.settle();
    sim.host("web1").setup.failing.insert("webapp".parse().unwrap());
    sim.power_cycle("web1");
    sim.settle();
    assert!(!sim.places("webapp").contains("web1"), "{}", sim.places("webapp"));
}

#[test]
fn hosts_that_died_long_ago_do_not_hold_a_failover() {
    let names: Vec<String> = (1..=10).map(|number| format!("web{number:02}")).collect();
    let mut sim = Sim::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 10 }));
    sim.settle();
    for name in &names[..5] {
        sim.crash(name);
        sim.live(60);
    }
    sim.sleep(14 * 24 * 3600);
    sim.settle();
    sim.crash("web06");
    sim.live(60);
    assert!(!sim.places("webapp").contains("web06"), "{}", sim.places("webapp"));
    // Of those that are left, more than the fraction at once is a fault of the network.
    for name in &names[6..9] {
        sim.cut(name);
    }
    sim.live(60);
    assert_condition(&sim, "webapp", &["FailoverHeld"]);
}

#[test]
fn what_was_planned_before_a_cordon_does_not_land_after_it() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 3 }));
    while !sim.log.iter().any(|reason| reason.contains("created")) {
        sim.round();
    }
    let plan = sim.plan();
    assert!(plan.transactions.iter().any(|transaction| transaction.reason.contains("placed on web1")), "{plan:#?}");
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    for transaction in &plan.transactions {
        assert!(sim.tree.commit(&transaction.ops).is_err() || !transaction.reason.contains("placed on web1"));
    }
    sim.settle();
    assert_condition(&sim, "webapp", &["Unplaced", "cordoned"]);
}

#[test]
fn a_new_version_is_tried_where_the_old_one_failed() {
    let mut sim = Sim::new(&["web1", "web2"]);
    for host in ["web1", "web2"] {
        sim.host(host).setup.failing.insert("webapp".parse().unwrap());
    }
    sim.service("webapp", &spec(json!({})), &json!({ "version": "v1" }));
    sim.settle();
    for host in ["web1", "web2"] {
        sim.host(host).setup.failing.clear();
    }
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    let desired = sim.replica("webapp.0000000001").unwrap();
    assert_eq!((desired.version.as_deref(), desired.failed_on.len()), (Some("v2"), 0));
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
}

#[test]
fn a_refused_replica_moves_or_says_so() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.host("web1").setup.refused.insert("webapp".parse().unwrap());
    sim.service("webapp", &spec(json!({})), &json!({}));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2");
    sim.host("web2").setup.refused.insert("webapp".parse().unwrap());
    sim.power_cycle("web2");
    sim.settle();
    assert_condition(&sim, "webapp", &["Refused: web2", "no other host fits"]);
    let on_web1 = &sim.replica("webapp.0000000001").unwrap().failed_on[0];
    let reason = on_web1.refused.as_ref().map(|refused| refused.reason);
    assert_eq!((on_web1.node.as_str(), reason), ("web1", Some(RefusalReason::NotAllowed)));
}

#[test]
fn a_removed_replica_on_a_lost_host_is_given_up_after_lost_after() {
    let mut sim = webapp(3);
    sim.crash("web3");
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.live(5);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3(removing)");
    sim.live(6);
    assert_eq!(sim.places("webapp"), "1=web1 2=web2");
}

#[test]
fn a_host_described_before_it_ever_joined_is_not_lost() {
    let mut sim = webapp(3);
    for host in ["web7", "web8", "web9"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"labels":{"zone":"b"}}"#);
    }
    sim.crash("web2");
    sim.live(12);
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn a_lost_host_gets_no_unit_that_is_anothers_there() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({ "replicas": 3 }));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({}));
    sim.settle();
    sim.crash("web1");
    sim.patch("/services/beta", &json!({ "unit": "alpha.service" }));
    sim.settle();
    let index: Value = serde_json::from_slice(sim.tree.get("/hosts/web1/assigned/beta.0000000001").unwrap()).unwrap();
    assert_eq!(index["unit"], "beta.service");
}

/// Whatever keeps a replica where it is, the host on which it failed is looked at again once it may be tried again.
#[test]
fn a_host_where_it_failed_is_tried_again_in_time() {
    for gone in ["lost", "drained"] {
        let mut sim = Sim::new(&["web1", "web2"]);
        sim.host("web1").setup.failing.insert("webapp".parse().unwrap());
        sim.service("webapp", &spec(json!({ "lost_after": "1s" })), &json!({ "replicas": 1, "version": "v1" }));
        sim.live(5);
        assert_eq!(sim.places("webapp"), "1=web2");
        sim.host("web1").setup.failing.clear();
        match gone {
            "lost" => sim.crash("web2"),
            _ => sim.tree.put("/hosts/web2", r#"{"drain":true}"#),
        }
        sim.live(10);
        assert_eq!(sim.places("webapp"), "1=web2", "{gone}: it failed on web1 just now");
        let due = sim.plan().wake_at.expect("it is looked at again");
        sim.sleep(due.duration_since(sim.now).unsigned_abs().as_secs() + 1);
        sim.settle();
        assert_eq!(sim.places("webapp"), "1=web1", "{gone}, {due}");
    }
}

/// What programs branch on: the type, the reason, what it is about and whom; and a date that other replicas don't move.
#[test]
fn a_lost_host_is_told_as_values_too() {
    let mut sim = webapp_with(3, json!({ "lost_after": "60s" }));
    sim.crash("web2");
    sim.live(1);
    let told = |sim: &Sim| {
        let status = sim.status("webapp");
        let lost = status.conditions.into_iter().find(|it| it.kind == ConditionKind::HostLost).unwrap();
        (lost.reason, lost.subject.unwrap(), lost.replicas.iter().map(|it| it.0).collect::<Vec<_>>(), lost.since)
    };
    let (reason, subject, replicas, since) = told(&sim);
    assert_eq!((reason, subject.as_str(), replicas), (Reason::AwaitingReturn, "/hosts/web2", vec![2]));
    for host in ["web1", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"cordon":true}"#);
    }
    sim.live(60);
    let later = (Reason::NoFeasibleHost, "/hosts/web2".to_owned(), vec![2], since);
    assert_eq!(told(&sim), later, "another reason, about the same host, since then");
}
