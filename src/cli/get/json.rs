//! The stable shapes for programs: each document as it is in the tree, beside the names and versions of its nodes.

use serde::Serialize;
use serde_json::Value;

use super::{Kind, tables::host_status};
use crate::{
    cli::{
        fleet::{Document, Fleet, Host, Replica, Service},
        render,
    },
    model::{HostName, ReplicaId, ReplicaNumber, ServiceName},
    tree::layout,
};

/// A list; an object, so that it can gain fields.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
}

/// All services, and what is in the tree beside them.
#[derive(Serialize)]
struct FleetPage<'f> {
    items: Vec<ServiceItem<'f>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct ServiceItem<'f> {
    name: &'f ServiceName,
    versions: ServiceVersions,
    service: Option<&'f Value>,
    desired: Option<&'f Value>,
    status: Option<&'f Value>,
    problems: Vec<Trouble>,
}

#[derive(Serialize)]
struct ServicePage<'f> {
    #[serde(flatten)]
    service: ServiceItem<'f>,
    replicas: Vec<ReplicaItem<'f>>,
    instances: Vec<InstanceItem<'f>>,
}

#[derive(Serialize)]
struct ServiceVersions {
    service: Option<i32>,
    desired: Option<i32>,
    status: Option<i32>,
}

#[derive(Serialize)]
pub(in crate::cli) struct ReplicaItem<'f> {
    name: String,
    service: &'f ServiceName,
    number: ReplicaNumber,
    ready: bool,
    versions: ReplicaVersions,
    desired: Option<&'f Value>,
    status: Option<&'f Value>,
    problems: Vec<Trouble>,
}

#[derive(Serialize)]
struct ReplicaVersions {
    desired: Option<i32>,
    status: Option<i32>,
}

#[derive(Serialize)]
struct HostItem<'f> {
    name: &'f HostName,
    state: &'static str,
    labels: std::collections::BTreeMap<String, String>,
    versions: HostVersions,
    host: Option<&'f Value>,
    alive: Option<&'f Value>,
    assigned: Vec<&'f ReplicaId>,
    problems: Vec<Trouble>,
}

#[derive(Serialize)]
struct HostVersions {
    host: Option<i32>,
    alive: Option<i32>,
}

#[derive(Serialize)]
struct InstanceItem<'f> {
    name: &'f str,
    service: &'f ServiceName,
    host: &'f str,
    version: i32,
    instance: Option<&'f Value>,
    problems: Vec<Trouble>,
}

/// A document that is not what belongs at its place.
#[derive(Serialize)]
pub(in crate::cli) struct Trouble {
    path: String,
    message: String,
}

/// Everything of a kind as JSON; the one thing there is without a list around it when `bare`.
pub(in crate::cli) fn text(kind: Kind, fleet: &Fleet, bare: bool) -> anyhow::Result<String> {
    let services = fleet.services.iter();
    match kind {
        Kind::Services => items(services.map(|(name, it)| service(name, it)), bare),
        Kind::Hosts => items(fleet.hosts.iter().map(|(name, it)| host(name, it)), bare),
        Kind::Replicas => items(services.flat_map(|(name, it)| replicas(name, it)), bare),
        Kind::Instances => items(services.flat_map(|(name, it)| instances(name, it)), bare),
    }
}

fn items<T: Serialize>(items: impl Iterator<Item = T>, bare: bool) -> anyhow::Result<String> {
    let items: Vec<T> = items.collect();
    match items.as_slice() {
        [item] if bare => render::json_text(item),
        _ => render::json_text(&List { items }),
    }
}

/// All services, and what is in the tree and nothing is done about, as `zkops status` shows them.
pub(in crate::cli) fn fleet_page(fleet: &Fleet) -> anyhow::Result<String> {
    let items = fleet.services.iter().map(|(name, it)| service(name, it)).collect();
    render::json_text(&FleetPage { items, notes: fleet.left_alone() })
}

/// One service with its replicas and instances, as `zkops status SERVICE` shows it.
pub(in crate::cli) fn page(name: &ServiceName, it: &Service) -> anyhow::Result<String> {
    let (replicas, instances) = (replicas(name, it).collect(), instances(name, it).collect());
    render::json_text(&ServicePage { service: service(name, it), replicas, instances })
}

/// What is wrong with the documents of a service and its replicas, a line each.
pub(in crate::cli) fn troubles(name: &ServiceName, it: &Service) -> Vec<String> {
    let replicas = replicas(name, it).flat_map(|replica| replica.problems);
    let instances = instances(name, it).flat_map(|instance| instance.problems);
    let all = service(name, it).problems.into_iter().chain(replicas).chain(instances);
    all.map(|Trouble { path, message }| format!("{path}: {message}")).collect()
}

/// A service's replicas, for the documents that list them.
pub(in crate::cli) fn replicas<'f>(
    name: &'f ServiceName,
    service: &'f Service,
) -> impl Iterator<Item = ReplicaItem<'f>> {
    let ready = service.ready();
    service.replicas.iter().map(move |(number, it)| replica(name, *number, it, ready.contains(number)))
}

fn instances<'f>(name: &'f ServiceName, service: &'f Service) -> impl Iterator<Item = InstanceItem<'f>> {
    service.instances.iter().map(move |(node, document)| instance(name, node, document))
}

/// One service.
fn service<'f>(name: &'f ServiceName, service: &'f Service) -> ServiceItem<'f> {
    let (spec, desired, status) = (service.spec.as_ref(), service.desired.as_ref(), service.status.as_ref());
    let troubles = [
        trouble(spec, || layout::service(name)),
        trouble(desired, || layout::desired(name)),
        trouble(status, || layout::status(name)),
    ];
    let rollouts = service.rollouts.iter();
    let rollouts = rollouts.filter_map(|(number, it)| trouble(Some(it), || layout::rollout(name, *number)));
    // Before the first order the node holds an empty object, or nothing.
    let spoken =
        service.order.as_ref().filter(|it| it.json.as_ref().is_some_and(|json| *json != serde_json::json!({})));
    let order = trouble(spoken, || layout::rollouts(name));
    ServiceItem {
        name,
        versions: ServiceVersions { service: version(spec), desired: version(desired), status: version(status) },
        service: json(spec),
        desired: json(desired),
        status: json(status),
        problems: troubles.into_iter().flatten().chain(order).chain(rollouts).collect(),
    }
}

fn replica<'f>(service: &'f ServiceName, number: ReplicaNumber, replica: &'f Replica, ready: bool) -> ReplicaItem<'f> {
    let id = ReplicaId { service: service.clone(), number };
    let (desired, status) = (replica.desired.as_ref(), replica.status.as_ref());
    let troubles = [trouble(desired, || layout::replica_desired(&id)), trouble(status, || layout::replica_status(&id))];
    ReplicaItem {
        name: id.to_string(),
        service,
        number,
        ready,
        versions: ReplicaVersions { desired: version(desired), status: version(status) },
        desired: json(desired),
        status: json(status),
        problems: troubles.into_iter().flatten().collect(),
    }
}

fn host<'f>(name: &'f HostName, host: &'f Host) -> HostItem<'f> {
    let (spec, alive) = (host.spec.as_ref(), host.alive.as_ref());
    // An empty node is the operator's silence, not a broken document.
    let spoken = spec.filter(|document| document.json.is_some());
    let troubles = [trouble(spoken, || layout::host(name)), trouble(alive, || layout::alive(name))];
    HostItem {
        name,
        state: host_status(host).0,
        labels: host.labels(),
        versions: HostVersions { host: version(spec), alive: version(alive) },
        host: json(spec),
        alive: json(alive),
        assigned: host.assigned.keys().collect(),
        problems: troubles.into_iter().flatten().collect(),
    }
}

fn instance<'f>(
    service: &'f ServiceName,
    name: &'f str,
    document: &'f Document<crate::model::Instance>,
) -> InstanceItem<'f> {
    InstanceItem {
        name,
        service,
        host: name.split('@').next().unwrap_or(name),
        version: document.version,
        instance: document.json.as_ref(),
        problems: trouble(Some(document), || layout::instance(service, name)).into_iter().collect(),
    }
}

fn version<T>(document: Option<&Document<T>>) -> Option<i32> {
    document.map(|document| document.version)
}

fn json<T>(document: Option<&Document<T>>) -> Option<&Value> {
    document?.json.as_ref()
}

pub(in crate::cli) fn trouble<T>(document: Option<&Document<T>>, path: impl Fn() -> String) -> Option<Trouble> {
    let error = document?.read.as_ref().err()?;
    Some(Trouble { path: path(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::cli::fixture;

    fn parsed(kind: Kind, bare: bool) -> Value {
        serde_json::from_str(&text(kind, &fixture::fleet(), bare).unwrap()).unwrap()
    }

    #[test]
    fn documents_are_passed_on_as_they_are() {
        let services = parsed(Kind::Services, false);
        assert_eq!(services["items"][0]["versions"], json!({"service": 2, "desired": 5, "status": 9}));
        assert_eq!(services["items"][0]["desired"]["config_version"], 7);
        assert_eq!(services["items"][1]["service"], json!({"unit": 7}));
        assert_eq!(services["items"][1]["status"], Value::Null);
        let problem = services["items"][1]["problems"][0]["message"].as_str().unwrap();
        assert!(problem.starts_with("unit: invalid type: integer"), "{problem}");
    }

    #[test]
    fn replicas_hosts_and_instances_have_names() {
        let replica = &parsed(Kind::Replicas, false)["items"][0];
        assert_eq!((&replica["name"], &replica["ready"]), (&json!("webapp.0000000001"), &json!(true)));
        let host = &parsed(Kind::Hosts, false)["items"][2];
        assert_eq!((&host["name"], &host["state"]), (&json!("web3"), &json!("cordoned")));
        assert_eq!(host["labels"], json!({"zone": "c", "disk": "ssd"}));
        let instance = &parsed(Kind::Instances, true);
        assert_eq!((&instance["host"], &instance["instance"]["port"]), (&json!("web1"), &json!(8080)));
    }
}
