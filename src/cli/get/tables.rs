//! The same lists for people.

use jiff::Timestamp;

use super::Kind;
use crate::{
    cli::{
        fleet::{self, Fleet, Host, Replica, Service, State},
        render::{self, Cell, Table, Tone, or_dash},
        rollout::words,
    },
    model::{Instance, ReplicaNumber, ReplicaState, ServiceName, Summary},
};

/// Everything of a kind.
pub(super) fn table(kind: Kind, fleet: &Fleet, now: Timestamp) -> Table {
    match kind {
        Kind::Services => services(fleet),
        Kind::Replicas => replicas(fleet, now),
        Kind::Hosts => hosts(fleet, now),
        Kind::Instances => instances(fleet, now),
    }
}

fn services(fleet: &Fleet) -> Table {
    let mut table = Table::new(["SERVICE", "UNIT", "MODE", "VERSION", "CONFIG", "READY", "STATUS", "ROLLOUT"]);
    for (name, service) in &fleet.services {
        let (spec, desired) = (service.spec_in_force(), service.desired_or_accepted());
        table.row([
            name.into(),
            or_dash(spec.map(|spec| &spec.unit)),
            or_dash(desired.map(|desired| desired.mode)),
            or_dash(desired.and_then(|desired| desired.version.as_ref())),
            or_dash(desired.and_then(|desired| desired.config_version)),
            ready_cell(service),
            summary_cell(service),
            rollout_cell(service),
        ]);
    }
    table
}

/// The newest rollout and how far it is, `7 running 2/4`.
pub(in crate::cli) fn rollout_cell(service: &Service) -> Cell {
    let Some((number, rollout)) = service.newest_rollout() else { return "-".into() };
    let (healthy, total) = service.rollout_progress(number, rollout);
    let progress = if rollout.state.has_ended() { String::new() } else { format!(" {healthy}/{total}") };
    Cell::new(&format!("{number} {}{progress}", words::state(rollout)), words::tone(rollout))
}

/// How many of the replicas wanted are ready, `2/3`.
pub(in crate::cli) fn ready_cell(service: &Service) -> Cell {
    let wanted = fleet::read(service.status.as_ref()).map(|status| status.desired);
    let wanted = wanted.or_else(|| service.desired_or_accepted().map(|desired| desired.replicas));
    format!("{}/{}", service.listed(), wanted.unwrap_or(0)).into()
}

/// One word for a service; `pending` while no controller has answered to what is written.
pub(in crate::cli) fn summary_cell(service: &Service) -> Cell {
    match fleet::read(service.status.as_ref()) {
        Some(status) if service.is_observed() => Cell::new(&status.summary, summary_tone(status.summary)),
        _ => Cell::new("pending", Tone::Busy),
    }
}

const fn summary_tone(summary: Summary) -> Tone {
    match summary {
        Summary::Healthy => Tone::Good,
        Summary::Degraded => Tone::Bad,
        Summary::Progressing | Summary::Draining | Summary::Deleting => Tone::Busy,
        Summary::Disabled | Summary::Drained => Tone::Plain,
    }
}

const REPLICA_HEADERS: [&str; 10] =
    ["NUMBER", "HOST", "STATE", "READY", "PID", "VERSION", "CONFIG", "RESTARTS", "SINCE", "MESSAGE"];

/// A service's replicas.
pub(in crate::cli) fn replicas_of(service: &Service, fleet: &Fleet, now: Timestamp) -> Table {
    let mut table = Table::new(REPLICA_HEADERS);
    let ready = service.ready();
    for (number, replica) in &service.replicas {
        table.row(replica_row(number.into(), replica, ready.contains(number), fleet, now));
    }
    table
}

fn replicas(fleet: &Fleet, now: Timestamp) -> Table {
    let mut headers = REPLICA_HEADERS;
    headers[0] = "REPLICA";
    let mut table = Table::new(headers);
    for (name, service) in &fleet.services {
        let ready = service.ready();
        for (number, replica) in &service.replicas {
            let id = full_name(name, *number);
            table.row(replica_row(id.into(), replica, ready.contains(number), fleet, now));
        }
    }
    table
}

fn full_name(service: &ServiceName, number: ReplicaNumber) -> String {
    format!("{service}.{number}")
}

fn replica_row(name: Cell, replica: &Replica, ready: bool, fleet: &Fleet, now: Timestamp) -> [Cell; 10] {
    let status = replica.current_status();
    [
        name,
        or_dash(replica.host()),
        state_cell(fleet.state(replica)),
        if ready { Cell::new("yes", Tone::Good) } else { "no".into() },
        or_dash(status.and_then(|status| status.pid)),
        or_dash(status.and_then(|status| status.version.as_ref())),
        or_dash(status.and_then(|status| status.config_version)),
        or_dash(status.map(|status| status.restarts)),
        or_dash(status.map(|status| render::age(now, status.updated))),
        remark(replica).into(),
    ]
}

/// What is to be said of a replica beside its state: that it is there for a rollout only, that its update was given
/// up, and what its agent says.
pub(in crate::cli) fn remark(replica: &Replica) -> String {
    let surge = fleet::read(replica.desired.as_ref()).is_some_and(|desired| desired.surge);
    let status = replica.current_status();
    let message = status.and_then(|status| status.message.as_deref());
    let about = match status {
        Some(status) if status.rejected => Some("update rejected"),
        Some(status) if !status.ready && status.state == ReplicaState::Running => Some("not ready"),
        _ => None,
    };
    let said = [about, message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let surge = surge.then(|| "surge".to_owned());
    surge.into_iter().chain([said]).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}

pub(in crate::cli) fn state_cell(state: State) -> Cell {
    let tone = match state {
        State::Seen(ReplicaState::Running) => Tone::Good,
        State::Seen(ReplicaState::Stopped) => Tone::Plain,
        State::Seen(ReplicaState::Failed | ReplicaState::Refused) | State::Unplaced | State::Lost => Tone::Bad,
        State::Seen(_) => Tone::Busy,
    };
    Cell::new(&state, tone)
}

fn hosts(fleet: &Fleet, now: Timestamp) -> Table {
    let mut table = Table::new(["HOST", "STATUS", "ADDRESS", "REPLICAS", "LABELS", "VERSION", "AGE"]);
    for (name, host) in &fleet.hosts {
        let alive = fleet::read(host.alive.as_ref());
        let (word, tone) = host_status(host);
        table.row([
            name.into(),
            Cell::new(word, tone),
            or_dash(alive.and_then(|alive| alive.address.as_ref())),
            host.assigned.len().into(),
            or_dash(labels(host)),
            or_dash(alive.map(|alive| &alive.version)),
            or_dash(alive.map(|alive| render::age(now, alive.started))),
        ]);
    }
    table
}

/// One word for a host: whether its agent is there, else what the operator said of it.
pub(in crate::cli) fn host_status(host: &Host) -> (&'static str, Tone) {
    let word = host.word();
    match () {
        () if host.alive.is_none() => ("lost", Tone::Bad),
        () if word.drain && host.assigned.is_empty() => ("drained", Tone::Plain),
        () if word.drain => ("draining", Tone::Busy),
        () if word.cordon => ("cordoned", Tone::Busy),
        () => ("ready", Tone::Good),
    }
}

fn labels(host: &Host) -> Option<String> {
    let labels: Vec<_> = host.labels().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

fn instances(fleet: &Fleet, now: Timestamp) -> Table {
    let mut table = Table::new(["SERVICE", "INSTANCE", "REPLICA", "ADDRESS", "PORT", "PID", "VERSION", "AGE"]);
    for (service, it) in &fleet.services {
        for (name, document) in &it.instances {
            table.row(instance_row(service, name, document.read.as_ref().ok(), now));
        }
    }
    table
}

fn instance_row(service: &ServiceName, name: &String, instance: Option<&Instance>, now: Timestamp) -> [Cell; 8] {
    [
        service.into(),
        name.into(),
        or_dash(instance.map(|instance| instance.replica)),
        or_dash(instance.and_then(|instance| instance.address.as_ref())),
        or_dash(instance.and_then(|instance| instance.port)),
        or_dash(instance.and_then(|instance| instance.pid)),
        or_dash(instance.and_then(|instance| instance.version.as_ref())),
        or_dash(instance.map(|instance| render::age(now, instance.started))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    #[test]
    fn each_kind_has_its_table() {
        let fleet = fixture::fleet();
        let text = [Kind::Services, Kind::Replicas, Kind::Hosts, Kind::Instances]
            .map(|kind| table(kind, &fleet, fixture::now()).text(""))
            .join("\n");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r#"
    SERVICE   UNIT              MODE      VERSION   CONFIG   READY   STATUS     ROLLOUT
    webapp    webapp@.service   enabled   v2        7        1/3     degraded   -
    worker    -                 enabled   -         -        0/2     pending    -

    REPLICA             HOST   STATE      READY   PID    VERSION   CONFIG   RESTARTS   SINCE   MESSAGE
    webapp.0000000001   web1   running    yes     4711   v2        7        1          2m
    webapp.0000000002   web2   lost       no      99     v2        -        0          12m
    webapp.0000000003   -      unplaced   no      -      -         -        -          -

    HOST   STATUS     ADDRESS    REPLICAS   LABELS            VERSION   AGE
    web1   ready      10.0.0.1   1          zone=a            0.1.0     60m
    web2   lost       -          1          -                 -         -
    web3   cordoned   10.0.0.1   0          disk=ssd,zone=c   0.1.0     60m

    SERVICE   INSTANCE   REPLICA      ADDRESS    PORT   PID    VERSION   AGE
    webapp    web1       0000000001   10.0.0.1   8080   4711   v2        2m
    "#);
    }

    #[test]
    fn a_drain_is_done_when_nothing_is_left() {
        let mut host = Host { spec: None, ..fixture::fleet().hosts.into_values().next().unwrap_or_default() };
        assert_eq!(host_status(&host).0, "ready");
        host.spec = Some(fleet::Document::of(&fixture::node(&serde_json::json!({"drain": true}), 1)));
        assert_eq!(host_status(&host).0, "draining");
        host.assigned.clear();
        assert_eq!(host_status(&host).0, "drained");
    }
}
