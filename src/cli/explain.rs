//! `zkops explain`: why each replica is where it is, or unplaced.
//!
//! The controller's own words come first (a replica's `reason`, the service's conditions); beside them stands what speaks
//! against every host, which is asked of the function that the controller places by, so that the two cannot disagree.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    context::{self, Context as Cli},
    failure::Failure,
    fleet::{self, Fleet, Host, Replica, Service, State},
    get::Format,
    render::{self, Tone},
    rollout::words,
};
use crate::{
    model::{
        ConditionKind, HostName, InvalidName, Mode, ReplicaId, ReplicaNumber, ReplicaState, ReplicaStatus,
        RolloutState, ServiceName, read_sequence,
    },
    plan::controller::{Context, Prospects, keeps_away, port_neighbours, prospects},
    tree::{layout, snapshot::Cluster},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  zkops explain webapp\n  zkops explain webapp.0000000002")]
pub(super) struct Args {
    /// A service, or one of its replicas
    #[arg(value_name = "SERVICE[.NUMBER]")]
    what: Subject,
    #[command(flatten)]
    output: Format,
}

/// What is to be explained.
#[derive(Clone, Debug)]
struct Subject {
    service: ServiceName,
    number: Option<ReplicaNumber>,
}

impl std::str::FromStr for Subject {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Some((service, number)) = text.rsplit_once('.')
            && let Ok(number) = read_sequence(number)
        {
            // People leave the zeros out.
            return Ok(Self { service: service.parse()?, number: Some(ReplicaNumber(number)) });
        }
        Ok(Self { service: text.parse()?, number: None })
    }
}

pub(super) async fn run(args: &Args, cx: &Cli) -> anyhow::Result<()> {
    let nodes = cx.tree().await?;
    let explanation = Explanation::of(&args.what, &Fleet::of(&nodes), &context::cluster(&nodes), Timestamp::now())?;
    let text = if args.output.is_json() { render::json_text(&explanation)? } else { explanation.text() };
    Ok(render::out(&text)?)
}

/// Why a service's replicas are where they are.
#[derive(Debug, Serialize)]
struct Explanation {
    service: ServiceName,
    /// What holds of the whole service.
    why: Vec<String>,
    replicas: Vec<ReplicaExplanation>,
}

#[derive(Debug, Serialize)]
struct ReplicaExplanation {
    name: String,
    host: Option<HostName>,
    state: String,
    ready: bool,
    /// The controller's reason, and what stands in the way.
    why: Vec<String>,
    /// What speaks against each host; only for a replica that needs one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hosts: BTreeMap<HostName, Vec<String>>,
}

impl Explanation {
    fn of(subject: &Subject, fleet: &Fleet, cluster: &Cluster, now: Timestamp) -> anyhow::Result<Self> {
        let name = &subject.service;
        let service = fleet.services.get(name).ok_or_else(|| context::no_service(name))?;
        let wanted = service.replicas.iter().filter(|(number, _)| subject.number.is_none_or(|only| only == **number));
        let explain = |(number, replica): (&ReplicaNumber, &Replica)| {
            let id = ReplicaId { service: name.clone(), number: *number };
            ReplicaExplanation::of(&id, replica, (service, fleet), cluster, now)
        };
        let replicas: Vec<_> = wanted.map(explain).collect();
        if let (Some(number), true) = (subject.number, replicas.is_empty()) {
            return Err(Failure::NotFound(format!("there is no replica {name}.{number}")).into());
        }
        Ok(Self { service: name.clone(), why: of_service(name, service, fleet), replicas })
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", Tone::Strong.paint(self.service.as_str()));
        for why in &self.why {
            let _ = writeln!(text, "  {}", render::harmless(why));
        }
        for replica in &self.replicas {
            text += &replica.text();
        }
        text
    }
}

/// What holds of the whole service.
fn of_service(name: &ServiceName, service: &Service, fleet: &Fleet) -> Vec<String> {
    let mut why = Vec::new();
    match fleet::read(service.status.as_ref()) {
        None if service.desired.is_none() => why.push(format!(
            "nothing of it runs: {} is missing; write it, with `zkops apply` or by hand",
            layout::desired(name)
        )),
        None => why.push(fleet.no_answer().to_owned()),
        Some(status) => {
            if !service.is_observed() {
                why.push(format!("the latest change is not in force: {}", fleet.no_answer()));
            }
            why.push(format!("{}: {} of {} replicas ready", status.summary, status.ready, status.desired));
            let conditions = status.conditions.iter().filter(|condition| !is_told_below(condition.kind, service));
            why.extend(conditions.map(|condition| format!("{}: {}", condition.kind, condition.message)));
        }
    }
    if let Some((number, rollout)) = service.newest_rollout() {
        let way_out = words::way_out(name, rollout).map(|way_out| format!("; {way_out}")).unwrap_or_default();
        why.push(format!("{}{way_out}", words::line(service, number, rollout)));
    }
    if let Some(order) = service.open_order() {
        why.push(format!(
            "rollout {}: {} was requested, and is not carried out yet",
            order.rollout,
            words::order(order.action)
        ));
    }
    why
}

/// Whether the newest rollout's own line says the same.
fn is_told_below(kind: ConditionKind, service: &Service) -> bool {
    matches!(kind, ConditionKind::RolledBack | ConditionKind::RolloutPaused) && service.newest_rollout().is_some()
}

/// What the newest rollout has to do with a replica, and what its agent says of its update.
fn of_update(replica: &Replica, service: &Service) -> Vec<String> {
    let mut why = Vec::new();
    let Some(desired) = fleet::read(replica.desired.as_ref()) else { return why };
    if desired.surge {
        why.push(
            "surge: beyond the replicas wanted, for a rollout or to serve in place of one that leaves its host"
                .to_owned(),
        );
    }
    if let (Some(own), Some((newest, rollout))) = (desired.rollout, service.newest_rollout())
        && own != newest
    {
        let brought = service.rollouts.get(&own).and_then(|document| document.read.as_ref().ok());
        let what = brought.map(|record| format!(" ({})", words::revision(&record.revision))).unwrap_or_default();
        let turn = match rollout.state {
            RolloutState::Running => ": waiting for its turn",
            RolloutState::Paused => ": the rollout is paused",
            _ => "",
        };
        why.push(format!("it runs what rollout {own} brought{what}, not what {newest} brings{turn}"));
    }
    let status = replica.current_status();
    if status.is_some_and(|status| status.rejected) {
        why.push("its update was rejected, what ran before keeps running; only another change is tried".to_owned());
    }
    let runs = status.filter(|status| status.state == ReplicaState::Running);
    if runs.is_some_and(|status| !status.ready) {
        why.push("it runs, but its readiness probe does not succeed".to_owned());
    } else if runs.is_some_and(|status| status.unconfirmed) {
        why.push(
            "it is on trial: no check made since its last change has succeeded yet, or the last one failed".to_owned(),
        );
    }
    why
}

impl ReplicaExplanation {
    fn of(
        id: &ReplicaId,
        replica: &Replica,
        (of, fleet): (&Service, &Fleet),
        cluster: &Cluster,
        now: Timestamp,
    ) -> Self {
        let state = fleet.state(replica);
        let settled = matches!(state, State::Seen(_)) && !replica.current_status().is_some_and(ReplicaStatus::is_down);
        let could_be = if settled { Prospects::default() } else { prospects(cluster, &Context::of_onlooker(now), id) };
        let mut why = of_replica(replica, state, of, fleet, now);
        why.extend(could_be.held.map(|held| format!("no other host is tried: {held}")));
        why.extend(port_neighbours(cluster, id).map(|(port, others)| {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            format!(
                "port {port} of its host is {}'s as well: only one of them can bind it, and a check of one may be answered \
                 by the other; nothing is moved for that: drain the host, or scale down and up again",
                others.join(", ")
            )
        }));
        Self {
            name: id.to_string(),
            host: replica.host().cloned(),
            state: state.to_string(),
            ready: of.ready().contains(&id.number),
            why,
            hosts: could_be.hosts.into_iter().map(|(host, against)| (host, against.into_iter().collect())).collect(),
        }
    }

    fn text(&self) -> String {
        let place = self.host.as_ref().map_or_else(|| "is on no host".to_owned(), |host| format!("is on {host}"));
        let ready = if self.ready { ", ready" } else { ", not ready" };
        let mut text = format!("\n{} {place}: {}{ready}\n", Tone::Strong.paint(&self.name), self.state);
        for why in &self.why {
            let _ = writeln!(text, "  {}", render::harmless(why));
        }
        if !self.hosts.is_empty() {
            text += "  hosts:\n";
        }
        for (host, against) in &self.hosts {
            let against = if against.is_empty() { "fits".to_owned() } else { against.join("; ") };
            let _ = writeln!(text, "    {host}: {}", render::harmless(&against));
        }
        text
    }
}

/// The controller's reason, and what the replica's own documents say.
fn of_replica(replica: &Replica, state: State, service: &Service, fleet: &Fleet, now: Timestamp) -> Vec<String> {
    let mut why = Vec::new();
    let Some(desired) = fleet::read(replica.desired.as_ref()) else {
        return vec!["the controller has not decided on it yet".to_owned()];
    };
    if !desired.reason.is_empty() {
        why.push(format!("reason: {}", desired.reason));
    }
    if desired.removing {
        why.push("it is being removed, once it has stopped".to_owned());
    } else if desired.mode != Mode::Enabled {
        why.push(format!("its mode is {}", desired.mode));
    }
    if let (State::Lost, Some(host)) = (state, &desired.node) {
        why.push(format!("{host} is lost: no agent of it is connected, so what runs there is not known"));
    }
    if let Some(host) = desired.node.as_ref().and_then(|host| Some((host, fleet.hosts.get(host)?))) {
        why.extend(of_host(host.0, host.1));
    }
    if desired.node.is_none() && fleet.hosts.is_empty() {
        why.push("no host is known: is zkops-agent.service running anywhere?".to_owned());
    }
    why.extend(of_update(replica, service));
    why.extend(replica.current_status().and_then(|status| status.message.clone()).map(|text| format!("agent: {text}")));
    why.extend(desired.failed_on.iter().map(|failed| {
        let what = if failed.refused.is_some() { "was refused" } else { "failed" };
        let over = if keeps_away(failed, now) { "" } else { "; that host is tried again" };
        format!("it {what} on {} at {}{over}", failed.node, render::moment(failed.at))
    }));
    why
}

/// What the operator said of the host that a replica is on.
fn of_host(name: &HostName, host: &Host) -> Option<String> {
    let word = host.word();
    if word.drain {
        let until = word.drain_deadline.map(|until| format!(" until {}", render::moment(until))).unwrap_or_default();
        return Some(format!("{name} is being drained: it has to leave, within the service's max_unavailable{until}"));
    }
    word.cordon.then(|| format!("{name} is cordoned: it stays, nothing new is placed there"))
}

#[cfg(test)]
mod tests;
