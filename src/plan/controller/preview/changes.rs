//! What is put on the tree before the planner looks at it.

use super::world::World;
use crate::{
    model::{HostName, HostSpec, ServiceName, encode},
    tree::{
        layout,
        snapshot::{Doc, HostView},
    },
};

/// What a preview begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Nodes that are created or set, parents first: the path and the document.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Hosts that die, and don't come back.
    pub lose: Vec<HostName>,
    /// Hosts that are drained.
    pub drain: Vec<HostName>,
    /// How many hosts are added.
    pub add: usize,
    /// The host that they are like: its labels and what it accepts. The first that is open when absent.
    pub like: Option<HostName>,
}

/// A host that a change needs and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownHost {
    /// No node of it is in the tree.
    #[error("there is no host {0}")]
    Missing(HostName),
    /// It has no agent, so that nobody knows what it is like.
    #[error("{0} is lost: no host can be added that is like it")]
    Lost(HostName),
    /// There is none that an added one could be like.
    #[error("no host has an agent: no host can be added that is like another")]
    NoneIsAlive,
}

impl Changes {
    pub(super) fn put_on(&self, world: &mut World) -> Result<(), UnknownHost> {
        let named = self.lose.iter().chain(&self.drain).chain(&self.like);
        if let Some(missing) = named.into_iter().find(|host| !world.cluster.hosts.contains_key(*host)) {
            return Err(UnknownHost::Missing(missing.clone()));
        }
        self.add_hosts(world)?;
        for (path, data) in &self.documents {
            world.write(path, data);
        }
        self.drain.iter().for_each(|host| drain(world, host));
        self.lose.iter().for_each(|host| lose(world, host));
        Ok(())
    }

    fn add_hosts(&self, world: &mut World) -> Result<(), UnknownHost> {
        if self.add == 0 {
            return Ok(());
        }
        let like = self.model(world)?;
        let read = |path: &str| world.tree.get(path).unwrap_or(b"{}").to_vec();
        let (spec, alive) = (read(&layout::host(&like)), read(&layout::alive(&like)));
        for name in new_names(world, &like, self.add) {
            world.write(&layout::host(&name), &spec);
            world.write(&layout::assigned(&name), b"{}");
            world.write(&layout::alive(&name), &alive);
        }
        Ok(())
    }

    fn model(&self, world: &World) -> Result<HostName, UnknownHost> {
        match &self.like {
            Some(like) if world.cluster.hosts.get(like).is_some_and(|host| host.alive.is_some()) => Ok(like.clone()),
            Some(like) => Err(UnknownHost::Lost(like.clone())),
            None => {
                let mut open =
                    world.cluster.hosts.iter().filter(|(name, host)| {
                        !self.lose.contains(name) && !self.drain.contains(name) && is_open(host)
                    });
                open.next().map(|(name, _)| name.clone()).ok_or(UnknownHost::NoneIsAlive)
            }
        }
    }
}

fn is_open(host: &HostView) -> bool {
    let word = host.spec.as_ref().and_then(Doc::good);
    host.alive.as_ref().and_then(Doc::good).is_some() && word.is_some_and(|word| !word.cordon && !word.drain)
}

/// Names that no host has: `web1-new1`, `web1-new2` …
fn new_names(world: &World, like: &HostName, count: usize) -> Vec<HostName> {
    let names = (1..).filter_map(|number: u32| {
        let name = format!("{like}-new{number}").parse().or_else(|_| format!("new{number}").parse());
        name.ok().filter(|name| !world.cluster.hosts.contains_key(name))
    });
    names.take(count).collect()
}

fn drain(world: &mut World, host: &HostName) {
    let word = world.cluster.hosts.get(host).and_then(|host| host.spec.as_ref()?.good().cloned());
    let word = HostSpec { drain: true, ..word.unwrap_or_default() };
    world.write(&layout::host(host), &encode(&word));
}

/// Its session has run out: its ephemerals are gone.
fn lose(world: &mut World, host: &HostName) {
    world.delete_all(&layout::alive(host));
    let of_host =
        |name: &str| name == host.as_str() || name.strip_prefix(host.as_str()).is_some_and(|it| it.starts_with('@'));
    let listed = |name: &ServiceName, names: Vec<&String>| -> Vec<String> {
        names.into_iter().map(|instance| layout::instance(name, instance)).collect()
    };
    let services = world.cluster.services.iter();
    let gone: Vec<String> = services
        .flat_map(|(name, view)| listed(name, view.instances.keys().filter(|it| of_host(it)).collect()))
        .collect();
    for path in &gone {
        world.delete_all(path);
    }
}
