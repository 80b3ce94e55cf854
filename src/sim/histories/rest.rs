//! Everything is fixed, and everyone is left alone: what the cluster must come to.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    steps::{HOSTS, SERVICES},
    world::World,
};
use crate::{
    model::{ConfigPolicy, Mode, RolloutState, ServiceStatus},
    tree::snapshot::Doc,
};

impl World {
    /// Everything is fixed, and everyone is left alone until nothing happens any more.
    pub(super) fn come_to_rest(&mut self) {
        self.fix_rollouts();
        for host in HOSTS {
            self.sim.boot(host);
            self.sim.host(host).fall_sick(false);
            self.sim.host(host).setup.failing.clear();
            self.sim.host(host).setup.refused.clear();
            self.sim.host(host).setup.accepts = None;
            let words = self.hosts[host].to_string();
            self.sim.tree.put(&format!("/hosts/{host}"), words);
        }
        for service in SERVICES {
            self.write(service);
            self.bring_config(service);
        }
        for turn in 0..60 {
            self.sim.settle();
            // Later on, whatever fails is left as it is.
            if turn < 20 && turn % 5 == 4 {
                for service in SERVICES {
                    self.order_on(service);
                }
            }
            self.sim.sleep(60);
        }
        self.sim.settle();
        self.assert_rolled_out();
        self.lose_for_good();
    }

    /// What is good, serves and fits is completed, if it was resumed whenever it had ended otherwise.
    fn assert_rolled_out(&mut self) {
        for name in SERVICES {
            let status = self.sim.status(name);
            let Some((_, record)) = self.newest(name) else { continue };
            let desired = &self.desireds[name];
            let bad = desired["version"].as_str().is_some_and(|version| !version.starts_with('v'));
            let serves = status.ready > 0 && desired["mode"] != json!("disabled") && desired["mode"] != json!("drain");
            let may = !bad && serves && fits(self, name);
            assert!(!may || record.state == RolloutState::Completed, "{name}: {status:#?}");
        }
    }

    /// Whatever configuration is wanted is there.
    fn bring_config(&mut self, service: &str) {
        let Some(revision) = self.desireds[service]["config_version"].as_u64() else { return };
        let configs = format!("/services/{service}/config");
        for path in [configs.clone(), format!("{configs}/{revision}")] {
            if self.sim.tree.get(&path).is_none() {
                self.sim.tree.put(&path, "{\"files\":{}}");
            }
        }
    }

    /// One host dies after the other, each some time after the one before was dealt with; one stays. While some work cannot
    /// leave a dead host, no more than half of them are dead: failover would be held.
    fn lose_for_good(&mut self) {
        let stays = HOSTS.into_iter().find(|host| self.is_open(host));
        for (dead, host) in self.doomed.clone().into_iter().filter(|host| Some(*host) != stays).enumerate() {
            if dead >= HOSTS.len() / 2 && SERVICES.into_iter().any(|name| self.on_dead_hosts(name) > 0) {
                break;
            }
            self.sim.crash(host);
            for _ in 0..15 {
                self.sim.settle();
                self.sim.sleep(60);
            }
            self.sim.settle();
        }
    }

    fn is_open(&self, host: &str) -> bool {
        let words = &self.hosts[host];
        words["drain"].is_null() && words["cordon"].is_null()
    }

    /// How many replicas stay with hosts that are dead for good.
    fn on_dead_hosts(&self, name: &str) -> u32 {
        let places = self.sim.places(name);
        let dead = |host: &&str| !self.sim.hosts[&host.parse().unwrap()].is_connected();
        let left = HOSTS.iter().filter(|host| dead(host)).map(|host| places.matches(&format!("={host}")).count());
        u32::try_from(left.sum::<usize>()).unwrap()
    }

    /// The hosts that are not dead for good, and that take replicas.
    fn takes_replicas(&self, host: &str) -> bool {
        self.is_open(host) && self.sim.hosts[&host.parse().unwrap()].is_connected()
    }
}

impl World {
    /// Nothing is to be done, and all is as it is wanted.
    pub(super) fn assert_at_rest(&mut self) {
        let plan = self.sim.plan();
        assert!(plan.transactions.is_empty(), "{:#?}", plan.transactions);
        assert_as_wanted(self);
    }
}

/// What must hold of the cluster at rest.
fn assert_as_wanted(world: &mut World) {
    let cluster = world.sim.cluster();
    for name in SERVICES {
        let status = world.sim.status(name);
        let view = &cluster.services[&name.parse().unwrap()];
        let desired = view.desired.as_ref().unwrap().good().unwrap();
        let unplaced =
            view.replicas.values().filter(|replica| replica.desired.as_ref().unwrap().good().unwrap().node.is_none());
        let unplaced = u32::try_from(unplaced.count()).unwrap();
        let says = |text: &str| status.conditions.iter().any(|condition| condition.kind.to_string() == text);
        // An index deleted by hand just when another service took over its unit's name: only a person can tell.
        if status.conditions.iter().any(|condition| condition.message.contains("its index is gone")) {
            continue;
        }
        // A rollout that waits for a person keeps its surge replicas.
        let surge = status.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Paused);
        if surge {
            assert!(status.replicas >= desired.replicas, "{name}: {status:#?}");
        } else {
            assert_eq!(status.replicas, desired.replicas, "{name}: {status:#?}");
        }
        assert_eq!(unplaced > 0, says("Unplaced"), "{name}: {status:#?}");
        let bad = desired.version.as_deref().is_some_and(|version| !version.starts_with('v'));
        if desired.mode == Mode::Enabled && !says("Waiting") && !bad {
            let dead = world.on_dead_hosts(name);
            assert!(dead == 0 || !fits(world, name), "{name} fits elsewhere: {status:#?}");
            assert_eq!(status.ready, status.replicas - unplaced - dead, "{name}: {status:#?}");
        }
        let record = world.newest(name).map(|(_, record)| record);
        let ended =
            record.as_ref().is_some_and(|record| record.state.has_ended() || record.state == RolloutState::Paused);
        assert!(ended, "{name}: {record:#?}");
        assert!(
            record.as_ref().is_some_and(|record| record.state != RolloutState::Paused || !record.reason.is_empty())
        );
        if bad {
            continue;
        }
        let fits = fits(world, name);
        assert!(!fits || unplaced == 0, "{name} fits: {status:#?}");
        let waits = says("Waiting");
        assert!(!fits || !says("FailoverHeld"), "{name}: {status:#?}");
        assert_configs_are_forgotten(world, name, &status);
        // Where others fit, nobody waits for a budget for ever.
        let starved = status.conditions.iter().find(|condition| condition.message.contains("max_unavailable ("));
        assert!(!fits || surge || starved.is_none(), "{name}: {starved:?}");
        if fits && !waits {
            let places = world.sim.places(name);
            let left = HOSTS.into_iter().find(|host| {
                let gone = !world.sim.hosts[&host.parse().unwrap()].is_connected();
                let leaves = !world.hosts[host]["drain"].is_null() || gone && desired.mode == Mode::Enabled;
                leaves && places.contains(&format!("={host}"))
            });
            assert!(left.is_none(), "{left:?} is not left: {places} {status:#?}");
            let summary = match desired.mode {
                Mode::Enabled => "healthy",
                Mode::Disabled => "disabled",
                Mode::Drain => "drained",
            };
            assert_eq!(status.summary.to_string(), summary, "{name}: {status:#?}");
        }
    }
}

/// Of the revisions that nothing wants, no more than `keep` are there.
fn assert_configs_are_forgotten(world: &World, name: &str, status: &ServiceStatus) {
    let cluster = world.sim.cluster();
    let view = &cluster.services[&name.parse().unwrap()];
    let keep = world.specs[name]["config"]["keep"].as_u64();
    let keep = usize::try_from(keep.unwrap_or(u64::from(ConfigPolicy::KEEP))).unwrap();
    let records = view.rollouts.values().filter_map(Doc::good).filter_map(|record| record.revision.config_version);
    let wanted = world.desireds[name]["config_version"].as_u64();
    let told = view.replicas.values().filter_map(|replica| replica.desired.as_ref()?.good()?.config_version);
    let used: BTreeSet<u64> = records.chain(wanted).chain(told).collect();
    let unused = view.configs.difference(&used).count();
    assert!(unused <= keep, "{name}: {:?} are there, {used:?} are used: {status:#?}", view.configs);
}

/// Whether another service has not left the service's unit yet.
fn others_have(world: &World, name: &str) -> bool {
    let file = world.specs[name]["unit"].as_str().unwrap().split('@').next().unwrap();
    let hosts = world.sim.cluster().hosts;
    let mut others = hosts.values().flat_map(|host| &host.assigned).filter(|(id, _)| id.service.as_str() != name);
    others.any(|(_, doc)| doc.good().is_some_and(|assignment| assignment.unit.as_str().starts_with(file)))
}

/// Whether the service surely fits: any number on any host, and an open host there is.
fn fits(world: &World, name: &str) -> bool {
    let spec = &world.specs[name];
    let own = spec["unit"] == json!("gamma@.service") || name == "alpha" && spec["unit"] == json!("alpha@.service");
    let alone = world.specs.iter().all(|(other, spec)| *other == name || spec["unit"] != world.specs[name]["unit"]);
    let portless = world.specs.values().all(|spec| spec["port"].is_null());
    let free = portless && spec["placement"]["constraints"].is_null() && spec["placement"]["max_per_host"].is_null();
    let open = HOSTS.into_iter().any(|host| world.takes_replicas(host));
    own && alone && free && open && !others_have(world, name)
}
