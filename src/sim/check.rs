//! What must hold of whatever an agent begins, and of a host at rest: told from the tree, systemd and the disk, not from
//! what the agent thinks of them.

use super::{
    host::Host,
    tasks::{Task, needs},
    tree::Tree,
};
use crate::{
    model::{
        CheckedAssignment, Instance, Mode, ReplicaDesired, ReplicaId, ReplicaState, ReplicaStatus, UnitName, Verb,
        decode,
    },
    plan::agent::action::{Action, Job, Order, Registration, Write},
    tree::layout::{self, Place},
};

/// What is wrong with what is about to be begun.
pub(super) fn action(host: &Host, tree: &Tree, action: &Action) -> Vec<String> {
    let wrong = match action {
        Action::Run(job) => run(host, tree, job),
        Action::Write(order) => write(host, order),
        Action::Register(order) => register(host, tree, order),
        _ => Vec::new(),
    };
    wrong.into_iter().map(|wrong| format!("{wrong}: {action:?}")).collect()
}

fn stops(order: &Order) -> bool {
    matches!(order, Order::Verb(Verb::Stop | Verb::Restart))
}

fn run(host: &Host, tree: &Tree, job: &Job) -> Vec<String> {
    let unit = &job.assignment.unit;
    let mut wrong = Vec::new();
    let same_unit = |task: &&Task| matches!(&task.action, Action::Run(other) if other.assignment.unit == *unit);
    let overtakes = job.order == Order::Verb(Verb::Stop);
    let others: Vec<_> = host.tasks.iter().filter(same_unit).collect();
    let stops_already =
        others.iter().any(|task| matches!(&task.action, Action::Run(it) if it.order == Order::Verb(Verb::Stop)));
    if (!others.is_empty() && !overtakes) || stops_already {
        wrong.push(format!("{unit} has two jobs"));
    }
    if host.tasks.iter().any(|task| is_written(task, unit)) {
        wrong.push(format!("{unit} has a job while its files are written"));
    }
    if job.order.verb() != Verb::Stop && job.order.verb() != Verb::Reload && !may_run(host, &job.id) {
        wrong.push(format!("{} is started, and not to run here", job.id));
    }
    if !stops(&job.order) || host.systemd.unit(unit).is_none_or(|it| it.process.is_none()) {
        return wrong;
    }
    if is_listed(host, tree, &job.id) {
        wrong.push(format!("{} is in instances, and is to be stopped", job.id));
    }
    if !has_reason(host, job) {
        wrong.push(format!("{} is stopped without a reason", job.id));
    }
    wrong
}

fn is_written(task: &Task, unit: &UnitName) -> bool {
    let Action::Write(write) = &task.action else { return false };
    write.changes.iter().any(|change| change.assignment.unit == *unit)
}

/// Whether this host has the replica in `instances`.
fn is_listed(host: &Host, tree: &Tree, id: &ReplicaId) -> bool {
    let names = [host.name.to_string(), format!("{}@{}", host.name, id.number)];
    let entries = names.iter().filter_map(|name| tree.get(&layout::instance(&id.service, name)));
    entries.filter_map(|data| decode::<Instance>(data).ok()).any(|entry| entry.replica == id.number)
}

/// What the agent last saw to be wanted of the replica, or the ledger has while nothing was seen.
fn wanted(host: &Host, id: &ReplicaId) -> Option<CheckedAssignment> {
    let path = layout::assignment(&host.name, id);
    let seen = host.last_seen().get(&path).and_then(|(data, _)| decode::<CheckedAssignment>(data.as_ref()).ok());
    seen.or_else(|| host.ledger.replicas.get(id).map(|record| record.assignment.clone()))
}

/// Whether the replica is to run on this host, by what the agent last saw.
fn may_run(host: &Host, id: &ReplicaId) -> bool {
    let is_assigned = host.last_seen().contains_key(&layout::assignment(&host.name, id));
    wanted(host, id).is_some_and(|it| it.mode == Mode::Enabled)
        && (is_assigned || host.placed.contains(id) || !host.has_synced())
}

/// Whether there is one to stop or restart what runs: it is not to run, not here, not as this unit, runs otherwise, or is not
/// alive.
fn has_reason(host: &Host, job: &Job) -> bool {
    let unit = &job.assignment.unit;
    let is_assigned = host.last_seen().contains_key(&layout::assignment(&host.name, &job.id));
    let Some(wanted) = wanted(host, &job.id) else { return true };
    if wanted.mode != Mode::Enabled || wanted.unit != *unit || (!is_assigned && host.has_synced()) {
        return true;
    }
    let is_dead = host.probers.get(&job.id).is_some_and(|it| !it.verdict().alive);
    if is_dead || host.handed_over.contains(unit) {
        return true;
    }
    let files = host.systemd.files.get(unit).cloned().unwrap_or_default();
    let (_, release, config) = needs(&job.id, &job.assignment);
    let process = host.systemd.unit(unit).and_then(|unit| unit.process.as_ref());
    job.order != Order::Verb(Verb::Stop)
        && process.is_some_and(|it| {
            (&it.variables, &it.drop_in) != (&files.variables, &files.drop_in)
                || (&it.release, &it.config) != (&release, &config)
        })
}

fn write(host: &Host, order: &Write) -> Vec<String> {
    let mut wrong = Vec::new();
    if host.tasks.iter().any(|task| matches!(task.action, Action::Write(_))) {
        wrong.push("two writes at a time".to_owned());
    }
    for change in &order.changes {
        let record = order.ledger.replicas.get(&change.id);
        let unit = &change.assignment.unit;
        match &change.prepare {
            Some(prepare) => {
                let told = record.is_some_and(|it| it.prepared_key.as_ref() == Some(&prepare.key));
                if !told || record.is_none_or(|it| it.assignment.unit != *unit) {
                    wrong.push(format!("the ledger does not say what {unit}'s files are written for"));
                }
            }
            None if record.is_some() => wrong.push(format!("{} is forgotten, and stays in the ledger", change.id)),
            None if host.systemd.unit(unit).is_some_and(|it| it.process.is_some()) && !is_read(host, unit) => {
                wrong.push(format!("{} is forgotten, and {unit} runs", change.id));
            }
            None => {}
        }
    }
    wrong
}

/// Whether news of the unit are on their way to the agent, or it could not be read.
fn is_read(host: &Host, unit: &UnitName) -> bool {
    let reads = |task: &Task| match &task.action {
        Action::ReadUnit { unit: read, .. } => read == unit,
        Action::Run(job) => job.assignment.unit == *unit,
        _ => false,
    };
    host.unreadable.contains(unit) || host.systemd.changed.contains(unit) || host.tasks.iter().any(reads)
}

fn register(host: &Host, tree: &Tree, order: &Registration) -> Vec<String> {
    let mut wrong = Vec::new();
    if host.session.is_none_or(|session| host.ephemerals.get(&order.alive) != Some(&session)) {
        let own = host.systemd.processes().filter(|(unit, _)| host.drives(unit));
        let gone = own.filter_map(|(unit, _)| gone(host, tree, unit));
        wrong.extend(gone.map(|id| format!("the host registers, and {id} runs, which is another's")));
    }
    for (path, data) in &order.ephemerals.0 {
        let Place::Instance(service, _) = Place::of(path) else { continue };
        let entry: Instance = decode(data).unwrap();
        let id = ReplicaId { service, number: entry.replica };
        let Some(wanted) = wanted(host, &id) else {
            wrong.push(format!("{id} is listed, and not this host's"));
            continue;
        };
        let record = host.agent.as_ref().and_then(|agent| agent.ledger().replicas.get(&id));
        let unit = record.map_or(&wanted.unit, |record| &record.assignment.unit);
        let runs = host.systemd.unit(unit).is_some_and(|it| it.process.is_some());
        if !runs && !is_read(host, unit) {
            wrong.push(format!("{id} is listed, and {unit} does not run"));
        }
        let prober = host.probers.get(&id);
        if prober.is_some_and(|prober| !prober.verdict().ready) {
            wrong.push(format!("{id} is listed, and not ready"));
        }
    }
    wrong
}

/// The replica of the agent's that a unit runs, if another host has it, and the agent has seen that it may.
fn gone(host: &Host, tree: &Tree, unit: &UnitName) -> Option<ReplicaId> {
    let ledger = host.agent.as_ref()?.ledger();
    let (id, _) = ledger.replicas.iter().find(|(_, record)| record.assignment.unit == *unit)?;
    let is_assigned = host.last_seen().contains_key(&layout::assignment(&host.name, id));
    let named = tree.get(&layout::replica_desired(id)).and_then(|data| decode::<ReplicaDesired>(data).ok());
    let elsewhere = named.is_some_and(|it| it.node.as_ref() != Some(&host.name));
    (!is_assigned && elsewhere).then(|| id.clone())
}

/// What is wrong with a host at rest, whose agent has a connection, and of which only work that can be done is wanted.
pub(super) fn at_rest(host: &Host, tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    let prefix = format!("{}/", layout::assigned(&host.name));
    let assigned: Vec<ReplicaId> =
        tree.below(&layout::assigned(&host.name)).filter_map(|path| path.strip_prefix(&prefix)?.parse().ok()).collect();
    let mut units = Vec::new();
    for id in &assigned {
        let path = layout::assignment(&host.name, id);
        let wanted: CheckedAssignment = decode(tree.get(&path).unwrap()).unwrap();
        units.push(wanted.unit.clone());
        let problems = replica(host, tree, id, &wanted, tree.version(&path).unwrap());
        wrong.extend(problems.into_iter().map(|problem| format!("{id}: {problem}")));
    }
    let strays = host.systemd.processes().map(|(unit, _)| unit).filter(|unit| !units.contains(unit));
    wrong.extend(strays.map(|unit| format!("{unit} runs, and is nobody's")));
    let left = host.systemd.files.iter().filter(|(unit, files)| files.drop_in.is_some() && !units.contains(unit));
    wrong.extend(left.map(|(unit, _)| format!("{unit} has files, and is nobody's")));
    let known = host.ledger.replicas.keys().filter(|id| !assigned.contains(id));
    wrong.extend(known.map(|id| format!("{id} is in the ledger, and not this host's")));
    if host.agent.as_ref().is_some_and(|agent| *agent.ledger() != host.ledger) {
        wrong.push("the ledger on disk is another".to_owned());
    }
    wrong
}

fn replica(host: &Host, tree: &Tree, id: &ReplicaId, wanted: &CheckedAssignment, version: i32) -> Vec<String> {
    let mut wrong = Vec::new();
    let process = host.systemd.unit(&wanted.unit).and_then(|unit| unit.process.as_ref());
    let serves =
        wanted.mode == Mode::Enabled && !(host.sick.contains(id) && wanted.template.probes.readiness.is_some());
    if is_listed(host, tree, id) != serves {
        wrong.push(format!("it is{} in instances", if serves { " not" } else { "" }));
    }
    let Some(Ok(status)) = tree.get(&layout::replica_status(id)).map(decode::<ReplicaStatus>) else {
        wrong.push("it has no status".to_owned());
        return wrong;
    };
    if status.assignment != Some(version) {
        wrong.push(format!("its status answers to {:?}, not to {version}", status.assignment));
    }
    if wanted.mode != Mode::Enabled {
        if process.is_some() || status.state != ReplicaState::Stopped {
            wrong.push(format!("it is {:?}, and runs: {process:?}", status.state));
        }
        return wrong;
    }
    let (_, release, config) = needs(id, wanted);
    let right = process.is_some_and(|it| {
        it.version() == wanted.version.as_deref() && (&it.release, &it.config) == (&release, &config)
    });
    if !right {
        wrong.push(format!("it does not run as it is wanted: {process:?}"));
    }
    if status.state != ReplicaState::Running || status.ready != serves || status.version != wanted.version {
        wrong.push(format!("its status is {status:?}"));
    }
    wrong
}
