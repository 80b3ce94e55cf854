//! What a question costs: nothing is read that its answer does not show.

use std::collections::{BTreeMap, BTreeSet};

use super::{context, fleet::Fleet};
use crate::{
    model::{HostName, ServiceName},
    store::{
        Client, StoreError,
        subtree::{self, Reads},
    },
    tree::{
        layout::{self, Place},
        node::Node,
    },
};

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// All there is.
    Everything,
    /// All services, in a line each: no document of a replica.
    Services,
    /// One service, and whether its replicas' hosts are there.
    Service(ServiceName),
    /// All hosts: no document of a replica.
    Hosts,
    /// One host, as in such a list.
    Host(HostName),
}

impl About {
    /// Reads what the answer needs, and which controllers there are.
    pub(super) async fn read(&self, client: &Client) -> anyhow::Result<BTreeMap<String, Node>> {
        let mut nodes = match self {
            Self::Everything => return context::read_tree(client).await,
            Self::Services => services(client).await?,
            Self::Service(name) => service(name, client).await?,
            Self::Hosts => subtree::read_subtree_of(client, layout::HOSTS, in_list_of_hosts).await?,
            Self::Host(name) => subtree::read_subtree_of(client, &layout::host(name), in_list_of_hosts).await?,
        };
        nodes.extend(subtree::read_subtree(client, layout::ELECTION).await?);
        Ok(nodes)
    }
}

/// Of the rollouts of a service only the last counts, and of its instances how many there are.
async fn services(client: &Client) -> Result<BTreeMap<String, Node>, StoreError> {
    let mut nodes = subtree::read_subtree_of(client, layout::SERVICES, |path| match Place::of(path) {
        Place::Service(_) | Place::Desired(_) | Place::Status(_) | Place::Instances(_) | Place::Rollouts(_) => {
            Reads::Whole
        }
        Place::Instance(..) | Place::Rollout(..) => Reads::Name,
        Place::Other if is_misnamed(path) => Reads::Name,
        _ => Reads::Nothing,
    })
    .await?;
    let mut newest = BTreeMap::new();
    nodes.retain(|path, _| match Place::of(path) {
        Place::Rollout(name, number) => {
            newest.insert(name, number);
            false
        }
        _ => true,
    });
    let newest = newest.into_iter().map(|(name, number)| layout::rollout(&name, number));
    nodes.extend(subtree::read_nodes(client, newest.collect()).await?);
    let misnamed = |path: &str| if is_misnamed(path) { Reads::Name } else { Reads::Nothing };
    nodes.extend(subtree::read_subtree_of(client, layout::HOSTS, misnamed).await?);
    Ok(nodes)
}

async fn service(name: &ServiceName, client: &Client) -> Result<BTreeMap<String, Node>, StoreError> {
    let mut nodes = subtree::read_subtree_of(client, &layout::service(name), context::reads).await?;
    let fleet = Fleet::of(&nodes);
    let replicas = fleet.services.values().flat_map(|service| service.replicas.values());
    let hosts = replicas.filter_map(|replica| replica.host());
    let paths = hosts.flat_map(|host| [layout::host(host), layout::alive(host)]);
    let paths: BTreeSet<String> = paths.collect();
    nodes.extend(subtree::read_nodes(client, paths.into_iter().collect()).await?);
    Ok(nodes)
}

fn in_list_of_hosts(path: &str) -> Reads {
    match Place::of(path) {
        Place::Host(_) | Place::Alive(_) | Place::Assigned(_) => Reads::Whole,
        Place::Assignment(..) => Reads::Name,
        Place::Other if is_misnamed(path) => Reads::Name,
        _ => Reads::Nothing,
    }
}

/// Whether the node is beside the services or hosts, and none of them.
fn is_misnamed(path: &str) -> bool {
    path.matches('/').count() == 2 && Place::of(path) == Place::Other
}
