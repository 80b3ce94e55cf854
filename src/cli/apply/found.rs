//! What the tree says of a service before it is applied to, and the index that stands for it.

use std::collections::BTreeMap;

use crate::{
    cli::rollout,
    model::ServiceName,
    store::Client,
    tree::{
        copy::Stored,
        layout::{self, Place},
        node::Node,
        txn::Op,
    },
};

/// The nodes that decide what applying a file does.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Found {
    pub(super) service: Option<Node>,
    pub(super) desired: Option<Node>,
    pub(super) status: Option<Node>,
    /// The newest rollout's record.
    pub(super) rollout: Option<Node>,
}

impl Found {
    pub(super) async fn read(name: &ServiceName, client: &Client) -> anyhow::Result<Self> {
        // The status first: it changes with every rollout, so a newer record than it knows is never missed.
        let status = client.get(&layout::status(name)).await?;
        let rollout = match rollout::numbers(name, client).await?.and_then(|numbers| numbers.last().copied()) {
            Some(newest) => client.get(&layout::rollout(name, newest)).await?,
            None => None,
        };
        Ok(Self {
            service: client.get(&layout::service(name)).await?,
            desired: client.get(&layout::desired(name)).await?,
            status,
            rollout,
        })
    }

    /// The same, of a tree that has been read.
    pub(super) fn among(name: &ServiceName, nodes: &BTreeMap<String, Stored>) -> Self {
        let node = |path: &str| nodes.get(path).map(|stored| stored.node.clone());
        let records = format!("{}/", layout::rollouts(name));
        let newest = nodes.range(records.clone()..).take_while(|(path, _)| path.starts_with(&records));
        let newest = newest.filter(|(path, _)| matches!(Place::of(path), Place::Rollout(..))).last();
        Self {
            service: node(&layout::service(name)),
            desired: node(&layout::desired(name)),
            status: node(&layout::status(name)),
            rollout: newest.map(|(_, stored)| stored.node.clone()),
        }
    }

    /// Grows whenever the description, the desired state or the newest rollout changes: ZooKeeper's number of the last
    /// transaction that wrote one of them. 0 for a service that is not there.
    pub(super) fn index(&self) -> i64 {
        let nodes = [&self.service, &self.desired, &self.rollout];
        nodes.into_iter().flatten().map(|node| node.mzxid).max().unwrap_or(0)
    }

    /// Makes sure that the controller has written nothing meanwhile: each of its transactions sets the status.
    pub(super) fn guard(&self, name: &ServiceName) -> Option<Op> {
        self.status.as_ref().map(|node| Op::Check { path: layout::status(name), version: node.version })
    }
}
