//! Where things are in the tree: the one place that spells a path. All paths are absolute below the chroot.

use crate::model::{HostName, ReplicaId, ReplicaNumber, ServiceName};

/// ZooKeeper's own: the members of the ensemble. In the root of all, never below a chroot.
pub const ENSEMBLE: &str = "/zookeeper/config";
/// Services, one child each.
pub const SERVICES: &str = "/services";
/// Hosts, one child each.
pub const HOSTS: &str = "/hosts";
/// Batch operations.
pub const OPERATIONS: &str = "/operations";
/// Who changed what, when.
pub const AUDIT: &str = "/audit";
/// The controllers' own.
pub const CONTROLLER: &str = "/controller";
/// Contenders for leadership, one ephemeral sequential child each.
pub const ELECTION: &str = "/controller/election";

/// What `zkops init` creates, parents first.
pub const ROOTS: [&str; 6] = [SERVICES, HOSTS, OPERATIONS, AUDIT, CONTROLLER, ELECTION];

/// A service's description.
pub fn service(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}")
}

/// What should run of a service.
pub fn desired(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/desired")
}

/// The controller's summary of a service.
pub fn status(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/status")
}

/// Parent of the ready replicas' ephemerals.
pub fn instances(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/instances")
}

/// One ready replica's ephemeral; `name` is `<host>` or `<host>@<number>`.
pub fn instance(service: &ServiceName, name: &str) -> String {
    format!("{SERVICES}/{service}/instances/{name}")
}

/// Parent of a service's configuration revisions.
pub fn configs(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/config")
}

/// One configuration revision.
pub fn config(service: &ServiceName, revision: u64) -> String {
    format!("{SERVICES}/{service}/config/{revision}")
}

/// Replicas that an operator wants to leave their hosts.
pub fn moves(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/moves")
}

/// Parent of a service's rollouts; its data is the operator's last word on one.
pub fn rollouts(service: &ServiceName) -> String {
    format!("{SERVICES}/{service}/rollouts")
}

/// One rollout's record.
pub fn rollout(service: &ServiceName, number: u64) -> String {
    format!("{SERVICES}/{service}/rollouts/{number:010}")
}

/// A replica.
pub fn replica(id: &ReplicaId) -> String {
    format!("{SERVICES}/{}/{}", id.service, id.number)
}

/// What the controller wants of a replica.
pub fn replica_desired(id: &ReplicaId) -> String {
    format!("{SERVICES}/{}/{}/desired", id.service, id.number)
}

/// What the agent sees of a replica.
pub fn replica_status(id: &ReplicaId) -> String {
    format!("{SERVICES}/{}/{}/status", id.service, id.number)
}

/// The operator's word on a host.
pub fn host(host: &HostName) -> String {
    format!("{HOSTS}/{host}")
}

/// The host's agent's ephemeral.
pub fn alive(host: &HostName) -> String {
    format!("{HOSTS}/{host}/alive")
}

/// Parent of a host's work.
pub fn assigned(host: &HostName) -> String {
    format!("{HOSTS}/{host}/assigned")
}

/// One replica's work on a host.
pub fn assignment(host: &HostName, id: &ReplicaId) -> String {
    format!("{HOSTS}/{host}/assigned/{id}")
}

/// A place in the tree, read back from its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/services/<svc>`
    Service(ServiceName),
    /// `/services/<svc>/desired`
    Desired(ServiceName),
    /// `/services/<svc>/status`
    Status(ServiceName),
    /// `/services/<svc>/instances`
    Instances(ServiceName),
    /// `/services/<svc>/instances/<name>`
    Instance(ServiceName, String),
    /// `/services/<svc>/config`
    Configs(ServiceName),
    /// `/services/<svc>/config/<n>`
    Config(ServiceName, u64),
    /// `/services/<svc>/moves`
    Moves(ServiceName),
    /// `/services/<svc>/rollouts`
    Rollouts(ServiceName),
    /// `/services/<svc>/rollouts/<seq>`
    Rollout(ServiceName, u64),
    /// `/services/<svc>/<n>`
    Replica(ReplicaId),
    /// `/services/<svc>/<n>/desired`
    ReplicaDesired(ReplicaId),
    /// `/services/<svc>/<n>/status`
    ReplicaStatus(ReplicaId),
    /// `/hosts/<host>`
    Host(HostName),
    /// `/hosts/<host>/alive`
    Alive(HostName),
    /// `/hosts/<host>/assigned`
    Assigned(HostName),
    /// `/hosts/<host>/assigned/<svc>.<n>`
    Assignment(HostName, ReplicaId),
    /// Anything else.
    Other,
}

impl Place {
    /// The place that `path` names; [`Place::Other`] for what zkops does not know or whose names are malformed.
    pub fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["services", service, rest @ ..] => {
                service.parse().ok().and_then(|service| Self::in_service(service, rest))
            }
            ["hosts", host, rest @ ..] => host.parse().ok().and_then(|host| Self::in_host(host, rest)),
            _ => None,
        }
        .unwrap_or(Self::Other)
    }

    fn in_service(service: ServiceName, rest: &[&str]) -> Option<Self> {
        let id = |number: &str| -> Option<ReplicaId> {
            let number: ReplicaNumber = number.parse().ok()?;
            Some(ReplicaId { service: service.clone(), number })
        };
        Some(match rest {
            [] => Self::Service(service),
            ["desired"] => Self::Desired(service),
            ["status"] => Self::Status(service),
            ["instances"] => Self::Instances(service),
            ["instances", name] => Self::Instance(service, (*name).to_owned()),
            ["config"] => Self::Configs(service),
            ["config", revision] => {
                let number = revision.parse().ok().filter(|number: &u64| number.to_string() == *revision)?;
                Self::Config(service, number)
            }
            ["moves"] => Self::Moves(service),
            ["rollouts"] => Self::Rollouts(service),
            ["rollouts", number] => {
                let parsed = number.parse().ok().filter(|parsed: &u64| format!("{parsed:010}") == *number)?;
                Self::Rollout(service, parsed)
            }
            [number] => Self::Replica(id(number)?),
            [number, "desired"] => Self::ReplicaDesired(id(number)?),
            [number, "status"] => Self::ReplicaStatus(id(number)?),
            _ => return None,
        })
    }

    fn in_host(host: HostName, rest: &[&str]) -> Option<Self> {
        Some(match rest {
            [] => Self::Host(host),
            ["alive"] => Self::Alive(host),
            ["assigned"] => Self::Assigned(host),
            ["assigned", id] => Self::Assignment(host, id.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InvalidName;

    #[test]
    fn places_read_back() -> Result<(), InvalidName> {
        let id: ReplicaId = "webapp.0000000001".parse()?;
        let host_name: HostName = "web1.example.org".parse()?;
        assert_eq!(Place::of(&service(&id.service)), Place::Service(id.service.clone()));
        assert_eq!(Place::of(&replica_status(&id)), Place::ReplicaStatus(id.clone()));
        assert_eq!(
            Place::of(&instance(&id.service, "web1@0000000001")),
            Place::Instance(id.service.clone(), "web1@0000000001".into())
        );
        assert_eq!(Place::of(&rollout(&id.service, 12)), Place::Rollout(id.service.clone(), 12));
        assert_eq!(Place::of(&config(&id.service, 7)), Place::Config(id.service.clone(), 7));
        assert_eq!(Place::of(&alive(&host_name)), Place::Alive(host_name.clone()));
        assert_eq!(Place::of(&assignment(&host_name, &id)), Place::Assignment(host_name, id));
        for other in [
            "/",
            "/services",
            "/services/UPPER",
            "/services/a/rollouts/1",
            "/services/a/config/01",
            "/hosts/h/assigned/x",
            "/audit/1",
        ] {
            assert_eq!(Place::of(other), Place::Other, "{other}");
        }
        Ok(())
    }
}
