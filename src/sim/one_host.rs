//! A host and its part of the tree, and what can happen to them.

mod proptests;
mod stories;

use std::time::Duration;

use proptest::sample::Index;
use serde_json::{Value, json};

use super::{
    check,
    host::Host,
    tasks::Luck,
    tree::{Tree, merge},
};
use crate::{
    model::{ReplicaId, assigned},
    tree::layout,
};

pub(super) const REPLICAS: [&str; 3] = ["alpha.0000000001", "alpha.0000000002", "beta.0000000001"];

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The agent's loop turns.
    Turn,
    /// Something that is under way goes on.
    Advance(Index, Luck),
    /// So do all, one after the other, the agent's loop turning in between.
    Settle,
    Sleep(u64),
    Probe,
    Sick(&'static str, bool),
    /// The replica is this host's, with these keys of its assignment changed.
    Assign(&'static str, Value),
    /// The replica is another host's; or else only its assignment is deleted.
    Withdraw(&'static str, bool),
    /// A process ends by itself.
    End(Index, bool),
    Kill(bool),
    Start,
    Crash,
    Disconnect,
    Connect,
    /// Sessions that nobody holds expire; or also this one.
    Expire(bool),
    /// Somebody deletes what the agent wrote in the tree.
    Delete(Index),
    /// Somebody removes generated files and has systemd read all again.
    Revert(Index),
}

pub(super) struct World {
    pub(super) host: Host,
    tree: Tree,
    pub(super) wrong: Vec<String>,
    /// Another hand has deleted what the agent wrote, which it need not see.
    deleted: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let mut tree = Tree::default();
        for path in ["/hosts", "/hosts/web1", "/hosts/web1/assigned", "/hosts/web2", "/services"] {
            tree.write(path, b"{}").unwrap();
        }
        for id in REPLICAS.map(|id| id.parse::<ReplicaId>().unwrap()) {
            for path in [layout::service(&id.service), layout::instances(&id.service), layout::replica(&id)] {
                tree.write(&path, b"{}").unwrap();
            }
        }
        let mut host = Host::new("web1");
        host.start_agent();
        Self { host, tree, wrong: Vec::new(), deleted: false }
    }

    /// What is wrong, and how it came to it.
    pub(super) fn told(&self) -> String {
        format!("{}\n{}", self.wrong.join("\n"), self.host.story.whole())
    }

    fn assign(&mut self, id: &str, keys: &Value) {
        let id: ReplicaId = id.parse().unwrap();
        let path = layout::assignment(&self.host.name, &id);
        let usual = || {
            let unit = format!("{}@{}.service", id.service, id.number);
            json!({ "mode": "enabled", "unit": unit, "version": "v1", "min_healthy_time": "0s", "template": {} })
        };
        let mut document = self.tree.get(&path).map_or_else(usual, |data| serde_json::from_slice(data).unwrap());
        let mut keys = assigned(keys.clone());
        merge(&mut document["template"], &keys["template"].take());
        keys.as_object_mut().unwrap().remove("template");
        merge(&mut document, &keys);
        self.place(&id, "web1");
        self.tree.write(&path, document.to_string().as_bytes()).unwrap();
    }

    fn place(&mut self, id: &ReplicaId, node: &str) {
        let desired = json!({ "mode": "enabled", "node": node });
        self.tree.write(&layout::replica_desired(id), desired.to_string().as_bytes()).unwrap();
    }

    /// One thing happens; the agent's story tells of it.
    pub(super) fn happens(&mut self, step: &Step) {
        self.host.story.push(format!("— {step:?}"));
        let Self { host, tree, wrong, .. } = self;
        match step {
            Step::Turn => wrong.extend(host.turn(tree)),
            Step::Advance(index, luck) => host.advance_one(*index, tree, *luck),
            Step::Settle => {
                for _ in 0..30 {
                    wrong.extend(host.turn(tree));
                    if !host.tasks.is_empty() {
                        host.advance(0, tree, Luck::Good);
                    }
                }
            }
            Step::Sleep(millis) => host.sleep(Duration::from_millis(*millis), tree),
            Step::Probe => _ = host.check_probes(),
            Step::Sick(id, true) => _ = host.sick.insert(id.parse().unwrap()),
            Step::Sick(id, false) => _ = host.sick.remove(&id.parse().unwrap()),
            Step::Assign(id, keys) => self.assign(id, keys),
            Step::Withdraw(id, moved) => {
                let id = id.parse().unwrap();
                tree.delete_all(&layout::assignment(&host.name, &id));
                if *moved {
                    self.place(&id, "web2");
                }
            }
            Step::End(index, fails) => host.end_one(*index, *fails),
            Step::Kill(jobs_go_on) => host.kill_agent(tree, *jobs_go_on),
            Step::Start => host.start_agent(),
            Step::Crash => host.crash(tree),
            Step::Disconnect => host.disconnect(),
            Step::Connect => host.connect(),
            Step::Expire(also_own) => host.expire(tree, *also_own),
            Step::Delete(index) => {
                let written =
                    |path: &&str| path.contains("/instances/") || path.ends_with("/status") || path.ends_with("/alive");
                let paths: Vec<String> = tree.paths().filter(written).map(str::to_owned).collect();
                if !paths.is_empty() {
                    self.deleted = true;
                    tree.delete_all(&paths[index.index(paths.len())]);
                }
            }
            Step::Revert(index) => host.revert_one(*index),
        }
    }

    /// The first thing that is under way goes on.
    pub(super) fn go_on(&mut self, luck: Luck) {
        if !self.host.tasks.is_empty() {
            self.host.advance(0, &mut self.tree, luck);
        }
    }

    /// Nothing happens any more, and only what can be done is wanted.
    pub(super) fn come_to_rest(&mut self) {
        self.host.story.push("— nothing happens any more");
        let Self { host, tree, .. } = self;
        host.start_agent();
        host.connect();
        host.expire(tree, false);
        for id in REPLICAS {
            // The controller puts back what is placed here.
            let named = self.tree.get(&layout::replica_desired(&id.parse().unwrap()));
            if named.is_some_and(|data| String::from_utf8_lossy(data).contains("web1")) {
                let unit = id.replacen('.', "@", 1) + ".service";
                self.assign(id, &json!({ "version": "v4", "unit": unit }));
            }
        }
        let Self { host, tree, wrong, deleted } = self;
        wrong.extend(host.settle(tree));
        // Every few minutes all is read again.
        host.mirror = None;
        wrong.extend(host.settle(tree));
        if !*deleted {
            wrong.extend(check::at_rest(host, tree));
        }
        // What another hand deleted is written again when the controller asks for it.
        for id in REPLICAS {
            let path = layout::assignment(&host.name, &id.parse().unwrap());
            if let Some(data) = tree.get(&path).map(<[u8]>::to_vec) {
                tree.write(&path, &data).unwrap();
            }
        }
        wrong.extend(host.settle(tree));
        wrong.extend(check::at_rest(host, tree));
        let begun = host.story.len();
        host.sleep(Duration::from_secs(86_400), tree);
        wrong.extend(host.turn(tree));
        if host.story.len() > begun || !host.tasks.is_empty() {
            wrong.push(format!("it is not at rest: {:?} {:?}", host.story.since(begun), host.tasks));
        }
    }
}
