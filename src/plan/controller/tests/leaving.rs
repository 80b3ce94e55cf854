//! Leaving a host in order: cordon, drain, and rules that a host no longer meets.

use serde_json::json;

use super::*;

#[test]
fn a_cordoned_host_keeps_what_it_has() {
    let mut sim = webapp(3);
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_rest(&mut sim);
}

#[test]
fn a_draining_host_is_left_only_once_the_processes_are_gone() {
    let mut sim = webapp(3);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    let draining = sim.replica("webapp.0000000001").unwrap();
    assert_eq!((draining.mode.to_string().as_str(), draining.reason.as_str()), ("drain", "the host is draining"));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web3");
    assert_eq!(sim.replica("webapp.0000000001").unwrap().mode.to_string(), "enabled");
    assert_rest(&mut sim);
}

#[test]
fn a_drain_stays_within_the_budget() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 3 }));
    sim.settle();
    sim.tree.put("/hosts/web2", "");
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    let drained = (1..=3).filter(|number| {
        let id = format!("webapp.{number:010}");
        sim.replica(&id).unwrap().mode.to_string() == "drain"
    });
    assert_eq!(drained.count(), 1);
    assert_condition(&sim, "webapp", &["Waiting", "leaving (the host is draining) waits: max_unavailable (1)"]);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web2");
}

#[test]
fn without_another_host_a_drain_waits_and_says_so() {
    let mut sim = webapp_with(3, json!({ "placement": { "max_per_host": 1 } }));
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_eq!(sim.processes().matches("webapp").count(), 3);
    assert_condition(
        &sim,
        "webapp",
        &["Waiting: web1: the host is draining, but no other host fits: 3 hosts", "2 full"],
    );
    assert_rest(&mut sim);
}

#[test]
fn when_the_other_host_vanishes_meanwhile_it_comes_back() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &json!({ "unit": "webapp.service" }), &json!({}));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().as_str()), ("1=web1", "web1:webapp.service"));
    assert_rest(&mut sim);
}

#[test]
fn a_drain_that_is_called_off_leaves_it_where_it_is() {
    let mut sim = webapp(1);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.tree.put("/hosts/web1", "");
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().matches("webapp").count()), ("1=web1", 1));
}

#[test]
fn stopped_replicas_leave_a_draining_host_in_one_step() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.round();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web3");
    sim.settle();
    assert_eq!(sim.processes(), "");
}

#[test]
fn a_host_that_no_longer_meets_the_constraints_is_left() {
    let mut sim = webapp_with(3, json!({ "placement": { "constraints": ["!gpu"] } }));
    sim.tree.put("/hosts/web2", r#"{"labels":{"gpu":"yes"}}"#);
    sim.run_controller();
    assert_eq!(sim.replica("webapp.0000000002").unwrap().reason, "the host does not meet !gpu");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn a_draining_host_that_is_lost_is_left_at_once_when_its_time_is_over() {
    let mut sim = webapp(1);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.crash("web1");
    sim.live(11);
    assert_eq!(sim.places("webapp"), "1=web2");
    assert_eq!(sim.processes(), "web2:webapp@0000000001.service");
}

#[test]
fn spread_alone_moves_nothing() {
    let mut sim = webapp(3);
    for host in ["web1", "web2", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"labels":{"rack":"r1"}}"#);
    }
    sim.patch("/services/webapp", &json!({ "placement": { "spread": "rack" } }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
}

#[test]
fn replicas_that_leave_do_not_take_each_others_places_before_these_are_free() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    let keys = json!({ "unit": "beta@.service", "max_unavailable": 2, "placement": { "max_per_host": 1 } });
    sim.service("alpha", &json!({ "unit": "alpha@.service" }), &json!({ "replicas": 2 }));
    sim.service("beta", &keys, &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!((sim.places("alpha"), sim.places("beta")), ("1=web1 2=web2".into(), "1=web3 2=web1".into()));
    // Replica 1 could go to web1 or web2, replica 2 to web2 or web3; web1 and web3 are taken until they have left.
    sim.patch("/services/beta", &json!({ "placement": { "constraints": ["!old"], "max_per_host": 1 } }));
    for host in ["web1", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"labels":{"old":"yes"}}"#);
    }
    sim.run_controller();
    let drains = |sim: &Sim, id: &str| sim.replica(id).unwrap().mode.to_string() == "drain";
    assert_eq!((drains(&sim, "beta.0000000001"), drains(&sim, "beta.0000000002")), (true, false));
    sim.settle();
    assert_eq!(sim.places("beta"), "1=web2 2=web1");
    assert_condition(&sim, "beta", &["Waiting: web1: the host does not meet !old", "1 full"]);
}

/// Three hosts, and so many replicas of which none may ever be missing.
fn never_missing(replicas: u32, placement: Value) -> Sim {
    let keys = json!({ "max_unavailable": 0, "placement": placement,
                       "rollout": { "max_surge": 1, "min_healthy_time": "0s" } });
    webapp_with(replicas, keys)
}

fn drain(sim: &mut Sim, host: &str) {
    sim.tree.put(&format!("/hosts/{host}"), r#"{"drain":true}"#);
}

/// Lets everyone act in turn until nothing happens, and returns the fewest that were ready meanwhile.
fn fewest_ready(sim: &mut Sim, service: &str) -> usize {
    let ready = |sim: &Sim| sim.cluster().services[&service.parse().unwrap()].instances.len();
    let hosts: Vec<String> = sim.cluster().hosts.keys().map(ToString::to_string).collect();
    let mut fewest = ready(sim);
    for _ in 0..150 {
        let planned = sim.round();
        fewest = fewest.min(ready(sim));
        for host in &hosts {
            sim.step_agent(host);
            fewest = fewest.min(ready(sim));
        }
        sim.sleep(u64::from(!planned));
    }
    fewest
}

#[test]
fn where_none_may_be_missing_another_is_started_before_one_leaves() {
    for keys in [json!({ "max_per_host": 1 }), json!({})] {
        let mut sim = never_missing(2, keys);
        assert_eq!(sim.places("webapp"), "1=web1 2=web2");
        drain(&mut sim, "web1");
        assert_eq!(fewest_ready(&mut sim, "webapp"), 2);
        let places = sim.places("webapp");
        assert!(places.starts_with("2=web2 ") && places.ends_with("=web3"), "{places}");
        assert_eq!((sim.status("webapp").replicas, versions(&sim).as_str()), (2, "v1 v1"), "none is for the time only");
        assert_rest(&mut sim);
    }
}

#[test]
fn a_lower_max_per_host_is_carried_out_where_none_may_be_missing() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    for host in ["web2", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"cordon":true}"#);
    }
    let rollout = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    sim.service("webapp", &spec(json!({ "max_unavailable": 0, "rollout": rollout })), &json!({ "replicas": 3 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web1");
    for host in ["web2", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), "{}");
    }
    sim.patch("/services/webapp", &json!({ "placement": { "max_per_host": 1 } }));
    assert_eq!(fewest_ready(&mut sim, "webapp"), 3);
    let hosts: Vec<String> =
        sim.places("webapp").split(' ').map(|place| place.split('=').nth(1).unwrap().to_owned()).collect();
    assert_eq!((hosts.len(), hosts.iter().collect::<std::collections::BTreeSet<_>>().len()), (3, 3), "{hosts:?}");
    assert_rest(&mut sim);
}

/// The rollout waits for what it cannot update where it is, which therefore does not wait for the rollout.
#[test]
fn what_keeps_a_rollout_from_its_end_leaves_within_it() {
    let policy = json!({ "max_surge": 1, "min_healthy_time": "0s", "progress_deadline": "10m" });
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    let alpha = json!({ "unit": "alpha.service", "max_unavailable": 0, "port": 80, "rollout": policy });
    sim.service("alpha", &alpha, &json!({ "version": "v1" }));
    sim.service("beta", &json!({ "unit": "beta.service", "port": 81 }), &json!({}));
    sim.settle();
    assert_eq!((sim.places("alpha"), sim.places("beta")), ("1=web1".into(), "1=web2".into()));
    drain(&mut sim, "web2");
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!(sim.places("beta"), "1=web1");
    sim.tree.put("/hosts/web2", "{}");
    sim.tree.put("/hosts/web3", "{}");
    // Another's port there, while the host drains.
    drain(&mut sim, "web1");
    sim.patch("/services/alpha", &json!({ "port": 81 }));
    sim.settle();
    let rollout = sim.status("alpha").rollout.unwrap();
    assert_eq!((rollout.number, rollout.state.to_string().as_str()), (2, "completed"), "{:#?}", sim.log);
    // Another's unit.
    sim.tree.put("/hosts/web1", "{}");
    let at = sim.places("beta");
    sim.patch("/services/alpha", &json!({ "unit": "beta.service", "port": null }));
    sim.settle();
    let rollout = sim.status("alpha").rollout.unwrap();
    assert_eq!((rollout.number, rollout.state.to_string().as_str()), (3, "completed"), "{:#?}", sim.log);
    assert_eq!(sim.places("beta"), at);
    assert_rest(&mut sim);
}

/// With no more spare hosts than replicas that have to leave, the surge replica has the last of them.
#[test]
fn what_fits_nowhere_gives_way_to_the_surge_replica_that_has_its_place() {
    for (replicas, max_unavailable, asked) in
        [(1, 0, false), (2, 0, false), (2, 1, false), (3, 1, false), (1, 0, true), (3, 2, true)]
    {
        let hosts = ["web1", "web2", "web3", "web4", "web5", "web6"];
        let mut sim = Sim::new(&hosts[..2 * replicas]);
        let spare = &hosts[replicas..2 * replicas];
        for host in spare {
            sim.tree.put(&format!("/hosts/{host}"), r#"{"cordon":true}"#);
        }
        let policy = json!({ "max_surge": 1, "min_healthy_time": "0s", "progress_deadline": "10m" });
        let alpha =
            json!({ "unit": "alpha.service", "max_unavailable": max_unavailable, "port": 80, "rollout": policy });
        sim.service("alpha", &alpha, &json!({ "version": "v1", "replicas": replicas }));
        sim.service("beta", &json!({ "unit": "beta.service", "port": 81 }), &json!({ "replicas": replicas }));
        sim.settle();
        for host in spare {
            sim.tree.put(&format!("/hosts/{host}"), "{}");
        }
        let beta = sim.places("beta");
        sim.patch("/services/alpha", &json!({ "port": 81 }));
        if asked {
            let leave = (1..=replicas)
                .map(|number| (number.to_string(), json!(hosts[number - 1])))
                .collect::<serde_json::Map<_, _>>();
            sim.tree.put("/services/alpha/moves", json!({ "leave": leave }).to_string());
        }
        let fewest = fewest_ready(&mut sim, "alpha");
        assert!(fewest + max_unavailable >= replicas, "{fewest} of {replicas}: {:#?}", sim.log);
        let status = sim.status("alpha");
        let rollout = status.rollout.unwrap();
        assert_eq!((rollout.number, rollout.state.to_string().as_str()), (2, "completed"), "{:#?}", sim.log);
        let places = sim.places("alpha");
        let at: Vec<&str> = places.split(' ').map(|place| place.split('=').nth(1).unwrap()).collect();
        assert!(at.len() == replicas && at.iter().all(|host| spare.contains(host)), "{places}");
        assert_eq!((status.ready, sim.places("beta")), (u32::try_from(replicas).unwrap(), beta));
        assert_rest(&mut sim);
    }
}

#[test]
fn a_lower_max_per_host_and_a_new_version_come_at_once_where_none_may_be_missing() {
    let others = ["web2", "web3", "web4"];
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    for host in others {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"cordon":true}"#);
    }
    let rollout = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    let keys = json!({ "max_unavailable": 0, "rollout": rollout });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 3, "version": "v1" }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web1");
    for host in others {
        sim.tree.put(&format!("/hosts/{host}"), "{}");
    }
    sim.patch("/services/webapp", &json!({ "placement": { "max_per_host": 1 } }));
    want(&mut sim, "v2");
    sim.live(120);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2", "2 completed"), "{:#?}", sim.log);
}

#[test]
fn a_service_may_ask_that_its_replicas_start_first() {
    let placement = json!({ "move": "start-first" });
    let mut sim = webapp_with(1, json!({ "placement": placement, "rollout": { "min_healthy_time": "0s" } }));
    drain(&mut sim, "web1");
    assert_eq!(fewest_ready(&mut sim, "webapp"), 1);
    assert!(sim.places("webapp").ends_with("=web2"), "{}", sim.places("webapp"));
    // The same when it is its labels that the host has no more.
    let labelled = |zone: &str| json!({ "labels": { "zone": zone } }).to_string();
    sim.tree.put("/hosts/web2", labelled("a"));
    sim.tree.put("/hosts/web3", labelled("a"));
    sim.patch("/services/webapp", &json!({ "placement": { "move": "start-first", "constraints": ["zone=a"] } }));
    sim.settle();
    sim.tree.put("/hosts/web2", labelled("b"));
    assert_eq!(fewest_ready(&mut sim, "webapp"), 1);
    assert!(sim.places("webapp").ends_with("=web3"), "{}", sim.places("webapp"));
    assert_rest(&mut sim);
}

#[test]
fn one_that_starts_first_and_fails_takes_nobodys_place() {
    let mut sim = never_missing(2, json!({ "max_per_host": 1 }));
    sim.host("web3").setup.failing.insert("webapp".parse().unwrap());
    drain(&mut sim, "web1");
    sim.live(120);
    assert!(sim.places("webapp").starts_with("1=web1 2=web2 "), "{}", sim.places("webapp"));
    assert_eq!(sim.status("webapp").ready, 2);
    assert_condition(&sim, "webapp", &["Failed", "web3"]);
    // Told to stay, the host keeps what it has, and the other goes.
    sim.tree.put("/hosts/web1", "{}");
    sim.live(60);
    assert_eq!((sim.places("webapp").as_str(), sim.status("webapp").replicas), ("1=web1 2=web2", 2));
    assert_rest(&mut sim);
}

#[test]
fn without_a_place_for_another_a_host_is_not_left_and_it_is_said() {
    let mut sim = never_missing(3, json!({ "max_per_host": 1 }));
    drain(&mut sim, "web1");
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.status("webapp").replicas), ("1=web1 2=web2 3=web3", 3));
    assert_condition(&sim, "webapp", &["Waiting", "web1: the host is draining, but no other host fits", "2 full"]);
    assert_rest(&mut sim);
}

#[test]
fn a_drain_waits_for_the_rollout_under_way_and_says_so() {
    let keys = json!({ "max_unavailable": 0, "rollout": { "max_surge": 1, "canary": 1, "min_healthy_time": "0s" } });
    let mut sim = webapp_with(2, keys);
    want(&mut sim, "v2");
    sim.settle();
    drain(&mut sim, "web1");
    sim.settle();
    assert_condition(&sim, "webapp", &["Waiting", "web1", "once rollout 2 has ended", "zkops rollout status webapp"]);
    order(&mut sim, 2, "promote");
    assert!(fewest_ready(&mut sim, "webapp") >= 2);
    assert!(!sim.places("webapp").contains("web1"), "{}", sim.places("webapp"));
    assert_eq!((sim.status("webapp").replicas, state(&sim).as_str()), (2, "2 completed"));
}

#[test]
fn after_its_deadline_a_drain_keeps_to_no_budget() {
    for placement in [json!({}), json!({ "move": "start-first" })] {
        let keys = json!({ "max_unavailable": 1, "placement": placement, "rollout": { "min_healthy_time": "0s" } });
        let mut sim = webapp_with(3, keys);
        // What is not ready elsewhere uses the budget up.
        sim.host("web2").setup.failing.insert("webapp".parse().unwrap());
        sim.host("web3").setup.failing.insert("webapp".parse().unwrap());
        sim.power_cycle("web2");
        sim.settle();
        let deadline = sim.now.checked_add(std::time::Duration::from_secs(600)).unwrap();
        sim.tree.put("/hosts/web1", json!({ "drain": true, "drain_deadline": deadline }).to_string());
        sim.live(590);
        assert!(sim.places("webapp").contains("=web1"), "{placement}: {}", sim.places("webapp"));
        sim.live(30);
        assert!(!sim.places("webapp").contains("=web1"), "{placement}: {}", sim.places("webapp"));
    }
}

/// What `zkops rebalance` would ask for now, and asks for it.
fn rebalance(sim: &mut Sim, most: usize) -> Vec<String> {
    let (cluster, context) = (sim.cluster(), sim.context());
    let moves = crate::plan::controller::spread(&cluster, &context, &std::collections::BTreeSet::new(), most);
    let mut leave = serde_json::Map::new();
    for it in &moves {
        assert_eq!(it.id.service.as_str(), "webapp");
        leave.insert(it.id.number.0.to_string(), it.from.to_string().into());
    }
    sim.tree.put("/services/webapp/moves", json!({ "leave": leave }).to_string());
    moves.iter().map(|it| format!("{}: {} → {}", it.id.number.0, it.from, it.to)).collect()
}

/// Six replicas, all of them on the first two of three hosts.
fn uneven(keys: Value) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(keys), &json!({ "replicas": 6, "version": "v1" }));
    sim.settle();
    sim.tree.put("/hosts/web3", "{}");
    sim.settle();
    assert!(!sim.places("webapp").contains("web3"));
    sim
}

#[test]
fn what_is_uneven_is_spread_again_when_somebody_asks() {
    let mut sim = uneven(json!({ "rollout": { "min_healthy_time": "0s" } }));
    assert_eq!(rebalance(&mut sim, usize::MAX), ["6: web2 → web3", "5: web1 → web3"]);
    assert!(fewest_ready(&mut sim, "webapp") >= 5, "within max_unavailable");
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web1 4=web2 5=web3 6=web3");
    assert_eq!(sim.tree.get("/services/webapp/moves"), None, "it is done");
    assert_rest(&mut sim);
    assert_eq!(rebalance(&mut sim, usize::MAX), Vec::<String>::new(), "there is nothing to gain");
    sim.settle();
    assert_rest(&mut sim);
}

#[test]
fn what_is_asked_to_leave_waits_for_another_where_the_service_allows_one_beside_it() {
    for max_surge in [0, 1] {
        let mut sim = uneven(json!({ "rollout": { "min_healthy_time": "0s", "max_surge": max_surge } }));
        assert_eq!(rebalance(&mut sim, usize::MAX).len(), 2);
        assert_eq!(fewest_ready(&mut sim, "webapp"), 5 + max_surge);
        for host in ["web1", "web2", "web3"] {
            assert_eq!(sim.places("webapp").matches(host).count(), 2, "{}", sim.places("webapp"));
        }
        assert_rest(&mut sim);
    }
}

/// The successor's own host is to be left too, and it cannot: it goes, and another one comes.
#[test]
fn a_successor_that_has_no_place_itself_is_no_successor() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    let policy = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    let keys = json!({ "max_unavailable": 0, "rollout": policy });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 1, "version": "v1" }));
    sim.settle();
    drain(&mut sim, "web1");
    sim.run_controller();
    sim.tree.put("/services/webapp/moves", r#"{"leave":{"2":"web2","3":"web2"}}"#);
    sim.live(60);
    assert_eq!((sim.status("webapp").replicas, sim.status("webapp").ready), (1, 1), "{:#?}", sim.log);
    assert!(sim.places("webapp").contains("=web2"), "{}", sim.places("webapp"));
}

#[test]
fn moves_are_bounded_and_start_first_where_that_is_wanted() {
    let mut sim = uneven(json!({ "max_unavailable": 0, "rollout": { "max_surge": 1, "min_healthy_time": "0s" } }));
    assert_eq!(rebalance(&mut sim, 1), ["6: web2 → web3"]);
    assert_eq!(fewest_ready(&mut sim, "webapp"), 6);
    assert_eq!(sim.places("webapp").matches("web3").count(), 1, "{}", sim.places("webapp"));
    assert_eq!((sim.status("webapp").replicas, sim.tree.get("/services/webapp/moves")), (6, None));
    assert_rest(&mut sim);
}

#[test]
fn a_service_with_a_rollout_under_way_is_left_alone() {
    let mut sim = uneven(json!({ "rollout": { "min_healthy_time": "0s", "canary": 1 } }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(rebalance(&mut sim, usize::MAX), Vec::<String>::new());
}

#[test]
fn moves_that_are_nonsense_move_nothing_and_are_named() {
    let mut sim = uneven(json!({}));
    let before = sim.places("webapp");
    sim.tree.put("/services/webapp/moves", "{");
    sim.settle();
    assert_condition(&sim, "webapp", &["InvalidDocument", "/services/webapp/moves", "nothing is moved for it"]);
    // Of replicas that there are not, or that are elsewhere, nothing is asked.
    sim.tree.put("/services/webapp/moves", r#"{"leave":{"77":"web1","1":"web3","2":"nowhere"}}"#);
    sim.settle();
    assert_eq!((sim.places("webapp"), sim.tree.get("/services/webapp/moves")), (before, None));
    assert_rest(&mut sim);
}

/// A rollout leaves a surge replica that no host fits, and others have to leave their host: that one is no successor of theirs.
#[test]
fn a_surge_replica_that_no_host_fits_is_no_successor() {
    let mut sim = Sim::new(&["web1", "web2"]);
    let policy = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    let spec = json!({ "unit": "webapp@.service", "max_unavailable": 0, "rollout": policy });
    sim.service("webapp", &spec, &json!({ "replicas": 2, "version": "v1" }));
    sim.run_controller();
    sim.patch("/services/webapp", &json!({ "placement": { "constraints": ["zone=a"] } }));
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.run_controller();
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.live(60);
    assert_eq!(sim.places("webapp"), "1=web1", "{:#?}", sim.log);
    assert_eq!(sim.status("webapp").replicas, 1);
}

/// Nor is one that would have to leave its own host: where no host fits, nothing takes anybody's place.
#[test]
fn a_surge_replica_that_may_not_stay_is_no_successor() {
    let mut sim =
        webapp_with(2, json!({ "max_unavailable": 0, "rollout": { "max_surge": 1, "min_healthy_time": "0s" } }));
    want(&mut sim, "v2");
    sim.run_controller();
    sim.run_agents();
    assert_eq!(sim.status("webapp").replicas, 3, "the rollout has one more");
    sim.patch("/services/webapp", &json!({ "placement": { "constraints": ["zone=a"] } }));
    sim.live(60);
    assert_eq!((sim.status("webapp").replicas, state(&sim).as_str()), (2, "2 completed"), "{:#?}", sim.log);
    assert_condition(&sim, "webapp", &["Waiting", "no other host fits"]);
    assert_rest(&mut sim);
}

/// Two services have instances of one template: the successor's number may be the other's on the only host that is left.
#[test]
fn a_successor_whose_unit_is_anothers_is_followed_by_one_whose_is_not() {
    let mut sim = Sim::new(&["web1", "web2"]);
    let keys = json!({ "unit": "shared@.service", "placement": { "move": "start-first" } });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 1, "version": "v1" }));
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2");
    sim.tree.put("/hosts/web1", "{}");
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("other", &json!({ "unit": "shared@.service" }), &json!({ "replicas": 8, "version": "v1" }));
    sim.settle();
    sim.tree.put("/hosts/web2", r#"{"drain":true}"#);
    sim.live(60);
    assert!(!sim.places("webapp").contains("web2"), "{} {}", sim.places("webapp"), sim.places("other"));
    assert_eq!((sim.status("webapp").replicas, sim.status("webapp").ready), (1, 1));
    assert_rest(&mut sim);
}

/// Three replicas of a plain unit on three hosts, brought from port 80 to 81 and not healthy for long enough yet; meanwhile port
/// 80 becomes another service's on web3. `ports`: that of each replica, by number.
fn taken_behind_its_back(keys: Value) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4", "web5"]);
    sim.tree.put("/hosts/web4", r#"{"cordon":true}"#);
    sim.tree.put("/hosts/web5", r#"{"cordon":true}"#);
    let mut webapp = json!({ "unit": "webapp.service", "port": 80, "rollout": { "min_healthy_time": "20s" } });
    crate::sim::cluster::merge(&mut webapp, &keys);
    sim.service("webapp", &webapp, &json!({ "replicas": 3, "version": "v1" }));
    sim.live(30);
    sim.tree.put("/hosts/web4", "{}");
    sim.patch("/services/webapp", &json!({ "port": 81 }));
    for _ in 0..200 {
        if !ports(&sim).contains("=80") {
            break;
        }
        sim.live(1);
    }
    assert_eq!(state(&sim), "2 running");
    for host in ["web1", "web2", "web4"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"cordon":true}"#);
    }
    sim.service("other", &json!({ "unit": "other.service", "port": 80 }), &json!({}));
    sim.run_controller();
    assert_eq!(sim.places("other"), "1=web3", "{}", conditions(&sim.status("other")));
    for host in ["web1", "web2", "web4"] {
        sim.tree.put(&format!("/hosts/{host}"), "{}");
    }
    sim
}

fn ports(sim: &Sim) -> String {
    let hosts = sim.cluster().hosts;
    let indexes = hosts.values().flat_map(|host| &host.assigned).filter(|(id, _)| id.service.as_str() == "webapp");
    let ports: std::collections::BTreeMap<_, _> =
        indexes.map(|(id, index)| (id.number.0, index.good().unwrap().template.port.unwrap())).collect();
    ports.iter().map(|(number, port)| format!("{number}={port}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_cannot_go_back_keeps_no_other_from_it() {
    let mut sim =
        taken_behind_its_back(json!({ "rollout": { "min_healthy_time": "20s", "progress_deadline": "10m" } }));
    sim.tree.put("/hosts/web4", r#"{"cordon":true}"#);
    order(&mut sim, 2, "abort");
    sim.live(120);
    assert_eq!((ports(&sim).as_str(), state(&sim).as_str()), ("1=80 2=80 3=81", "2 rolling_back"), "{:#?}", sim.log);
    assert_condition(
        &sim,
        "webapp",
        &["Waiting: web3", "port 80 there is in use by other.0000000001, but no other host fits"],
    );
    // Once there is a place, it goes there.
    sim.tree.put("/hosts/web4", "{}");
    sim.live(60);
    assert_eq!((ports(&sim).as_str(), state(&sim).as_str()), ("1=80 2=80 3=80", "2 rolled_back"), "{:#?}", sim.log);
}

/// The surge replica is where none is to be that is to go further: those that are wanted do not wait for it.
#[test]
fn a_surge_replica_that_cannot_be_updated_keeps_no_other_from_it() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    let policy = json!({ "min_healthy_time": "20s", "max_surge": 1, "progress_deadline": "10m" });
    let webapp = json!({ "unit": "webapp.service", "port": 80, "max_unavailable": 0, "rollout": policy });
    sim.service("webapp", &webapp, &json!({ "replicas": 2, "version": "v1" }));
    sim.live(30);
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("other", &json!({ "unit": "other.service", "port": 82 }), &json!({}));
    sim.run_controller();
    want(&mut sim, "v2");
    sim.live(5);
    assert_eq!((versions(&sim).as_str(), sim.places("webapp").ends_with("=web3")), ("v1 v1 [v2]", true));
    sim.patch("/services/webapp", &json!({ "port": 82 }));
    sim.live(120);
    assert_eq!((ports(&sim).as_str(), state(&sim).as_str()), ("1=82 2=82", "3 completed"), "{:#?}", sim.log);
    assert_rest(&mut sim);
}

/// Nobody hopes that what failed serves on the way back; once it has given way, another does in its place.
#[test]
fn what_has_given_way_is_not_left_out_any_more() {
    let policy = json!({ "min_healthy_time": "20s", "max_surge": 1, "progress_deadline": "10m" });
    let mut sim = taken_behind_its_back(json!({ "max_unavailable": 0, "rollout": policy }));
    sim.host("web3").setup.failing.insert("webapp".parse().unwrap());
    sim.power_cycle("web3");
    sim.live(60);
    let ready = |sim: &Sim| sim.status("webapp").ready;
    assert_eq!(ready(&sim), 3, "{:#?}", sim.log);
    let (now, state_now) = (ports(&sim), state(&sim));
    assert!(
        now.starts_with("1=81 2=81 ") && now.ends_with("=80") && state_now == "2 rolling_back",
        "{now}, {state_now}"
    );
    // Another is started first, as soon as there is a place.
    sim.tree.put("/hosts/web5", "{}");
    sim.live(120);
    assert_eq!(
        (ports(&sim).matches("=80").count(), ready(&sim), state(&sim)),
        (3, 3, "2 rolled_back".into()),
        "{:#?}",
        sim.log
    );
    assert_rest(&mut sim);
}

/// As its port there is another's by now, and as it is asked to leave, too.
#[test]
fn what_has_to_leave_to_go_back_does_so_beside_a_lost_one_for_whatever_reason() {
    for asked in [false, true] {
        let mut sim = taken_behind_its_back(json!({ "lost_after": "1h" }));
        sim.crash("web1");
        if asked {
            sim.tree.put("/services/webapp/moves", r#"{"leave":{"3":"web3"}}"#);
        }
        order(&mut sim, 2, "abort");
        sim.live(60);
        assert_eq!((sim.places("webapp").as_str(), ports(&sim).as_str()), ("1=web1 2=web2 3=web4", "1=80 2=80 3=80"));
    }
}

/// It cannot be touched, and what gives way costs nothing.
#[test]
fn what_serves_and_may_not_be_missed_does_not_keep_what_gives_way_waiting() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    let keys = json!({
        "placement": { "max_per_host": 1 }, "max_unavailable": 0, "lost_after": "1h",
        "rollout": { "min_healthy_time": "0s", "max_surge": 1, "progress_deadline": "10m" },
    });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 2, "version": "v1" }));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.tree.put("/hosts/web3", "{}");
    sim.service("other", &json!({ "unit": "shared@.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!((sim.places("webapp"), sim.places("other")), ("1=web1 2=web2".into(), "1=web3 2=web2".into()));
    sim.tree.put("/hosts/web1", "{}");
    // It is not ready there, and goes nowhere else.
    sim.crash("web2");
    sim.patch("/services/webapp", &json!({ "unit": "shared@.service" }));
    sim.live(60);
    let places = sim.places("webapp");
    assert!(places.starts_with("1=web1 2=web2(removing) ") && places.contains("=web3"), "{places}");
    sim.boot("web2");
    sim.live(60);
    let (rollout, ready) = (sim.status("webapp").rollout.unwrap(), sim.status("webapp").ready);
    assert_eq!((rollout.number, rollout.state.to_string().as_str(), ready), (2, "completed", 2), "{:#?}", sim.log);
}

/// While the rollout goes on without what failed, nobody hopes that this serves; from its end on, it is missing.
#[test]
fn a_drain_at_any_moment_of_a_rollout_with_failures_keeps_to_the_budget() {
    let mut ended = std::collections::BTreeSet::new();
    for step in (0..90).step_by(3) {
        let mut sim = Sim::new(&["web1", "web2", "web3"]);
        let keys = json!({ "rollout": { "min_healthy_time": "0s", "max_failures": 1 } });
        sim.service("webapp", &spec(keys), &json!({ "replicas": 2, "version": "v1" }));
        sim.settle();
        for host in ["web2", "web3"] {
            sim.host(host).setup.failing.insert("webapp".parse().unwrap());
        }
        want(&mut sim, "v2");
        for _ in 0..step {
            // Each plan is checked.
            sim.round();
            for host in ["web1", "web2", "web3"] {
                sim.step_agent(host);
            }
            sim.sleep(1);
        }
        ended.insert(state(&sim));
        drain(&mut sim, "web1");
        sim.live(30);
    }
    assert!(ended.is_superset(&["2 running".to_owned(), "2 completed".to_owned()].into()), "{ended:?}");
}
