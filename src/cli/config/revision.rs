//! Reading a service's revisions, and who uses them.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    cli::{
        context,
        failure::Failure,
        fleet::{self, Replica, Service},
    },
    model::{ConfigFile, ConfigRevision, RolloutState, ServiceName, counted, decode},
    store::Client,
    tree::{
        layout::{self, Place},
        node::Node,
    },
};

/// The numbers of a service's revisions, oldest first.
///
/// # Errors
/// When there is no such service.
pub(super) async fn numbers(name: &ServiceName, client: &Client) -> anyhow::Result<Vec<u64>> {
    match known(name, client).await? {
        Some(numbers) => Ok(numbers),
        None if client.exists(&layout::service(name)).await? => Ok(Vec::new()),
        None => Err(context::no_service(name)),
    }
}

/// The numbers of a service's revisions, oldest first; `None` when there never was one.
pub(super) async fn known(name: &ServiceName, client: &Client) -> anyhow::Result<Option<Vec<u64>>> {
    let parent = layout::configs(name);
    let number = |child: &String| match Place::of(&format!("{parent}/{child}")) {
        Place::Config(_, number) => Some(number),
        _ => None,
    };
    let Some(children) = client.children(&parent).await? else { return Ok(None) };
    let mut numbers: Vec<u64> = children.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(Some(numbers))
}

/// A revision and its node.
///
/// # Errors
/// [`Failure::NotFound`]; what is wrong with its document.
pub(super) async fn read(name: &ServiceName, number: u64, client: &Client) -> anyhow::Result<(ConfigRevision, Node)> {
    let path = layout::config(name, number);
    let Some(node) = client.get(&path).await? else {
        // A service that is not there is said to be so.
        numbers(name, client).await?;
        return Err(missing(name, number).into());
    };
    let revision = decode(&node.data).map_err(|error| Failure::Conflict(format!("{path} cannot be read: {error}")))?;
    Ok((revision, node))
}

/// The failure of naming a revision that is not there.
pub(in crate::cli) fn missing(name: &ServiceName, number: u64) -> Failure {
    Failure::NotFound(format!(
        "{name} has no configuration revision {number} (`zkops config list {name}` lists them, `zkops config push {name} \
         DIR` makes one)"
    ))
}

/// A file's bytes.
///
/// # Errors
/// When it holds neither text nor base64.
pub(super) fn bytes(path: &str, file: &ConfigFile) -> Result<Vec<u8>, Failure> {
    match (&file.text, &file.base64) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map_err(|error| Failure::Conflict(format!("{path} is no base64: {error}")))
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Who uses a revision.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// What runs or is to run by it, in words.
    pub(super) now: Vec<String>,
    /// Rollouts that brought it, to which one could go back.
    pub(super) history: BTreeSet<u64>,
}

impl Uses {
    pub(super) fn of(number: u64, service: &Service) -> Self {
        let mut uses = Self::default();
        let wanted = fleet::read(service.desired.as_ref()).and_then(|desired| desired.config_version);
        let in_force = service.accepted().and_then(|accepted| accepted.desired.config_version);
        if [wanted, in_force].contains(&Some(number)) {
            uses.now.push("desired".to_owned());
        }
        let replicas = service.replicas.values().filter(|replica| has(replica, number)).count();
        if replicas > 0 {
            uses.now.push(counted(replicas, "replica"));
        }
        let newest = service.newest_rollout();
        let live = newest.map(|(newest, record)| {
            // A completed rollout needs nothing to go back to.
            let from = record.from.filter(|_| record.state != RolloutState::Completed);
            [Some(newest), from]
        });
        for (rollout, document) in &service.rollouts {
            let brings = |record: &crate::model::Rollout| record.revision.config_version == Some(number);
            if !document.read.as_ref().is_ok_and(brings) {
                continue;
            }
            if live.is_some_and(|live| live.contains(&Some(*rollout))) {
                uses.now.push(format!("rollout {rollout}"));
            } else {
                uses.history.insert(*rollout);
            }
        }
        uses
    }
}

fn has(replica: &Replica, number: u64) -> bool {
    let wanted = fleet::read(replica.desired.as_ref()).and_then(|desired| desired.config_version);
    let there = fleet::read(replica.status.as_ref()).and_then(|status| status.config_version);
    [wanted, there].contains(&Some(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::{fixture, fleet::Fleet};

    #[test]
    fn whoever_uses_a_revision_is_found() {
        let mut tree = fixture::tree();
        let mut add = |number: u64, state: &str, config: u64| {
            let path = format!("/services/webapp/rollouts/{number:010}");
            tree.insert(path, fixture::node(&fixture::rollout(state, "v1", config), 0));
        };
        add(1, "completed", 5);
        add(2, "superseded", 6);
        add(3, "running", 7);
        let fleet = Fleet::of(&tree);
        let service = fleet.services.first_key_value().unwrap().1;
        assert_eq!(Uses::of(7, service).now, ["desired", "3 replicas", "rollout 3"]);
        assert_eq!(Uses::of(5, service).now, ["rollout 1"], "a rollback would need it");
        assert_eq!(Uses::of(6, service), Uses { now: Vec::new(), history: BTreeSet::from([2]) });
        assert_eq!(Uses::of(4, service), Uses::default());
    }
}
