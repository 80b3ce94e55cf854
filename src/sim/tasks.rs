//! What an agent has begun, and what comes of it: as `reconcile::agent` would carry it out, a part at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{host::Host, systemd::Systemd, tree::Tree};
use crate::{
    model::{
        CheckedAssignment, Files, Instance, JobResult, ReplicaDesired, ReplicaId, ReplicaStatus, Verb, decode, encode,
    },
    plan::agent::{
        Links,
        action::{
            Action, Artifacts, Changed, Event, Job, JobEnd, JobOutcome, Listed, Order, Published, Refusal, Registered,
            Registration, StatusWrite, UnitRead, Write, Written,
        },
    },
    tree::layout::{self, Place},
};

/// A version that no source has.
pub(crate) const REJECTED: &str = "rejected";

/// Something under way.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) action: Action,
    /// Of a write: how many of its parts are done.
    done: usize,
}

impl From<Action> for Task {
    fn from(action: Action) -> Self {
        Self { action, done: 0 }
    }
}

/// How a task's next part goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    Good,
    /// It fails, and nothing was done.
    Fails,
    /// It is done, and the answer is lost.
    Lost,
}

impl Task {
    /// Does the next part; the event, if that was the last.
    pub(crate) fn advance(&mut self, host: &mut Host, tree: &mut Tree, luck: Luck) -> Option<Event> {
        let paths = host.paths.clone();
        Some(match self.action.clone() {
            Action::ReadUnit { unit, with_files } => {
                let answer = if luck == Luck::Good {
                    host.unreadable.remove(&unit);
                    Ok(host.systemd.status(&unit, &paths))
                } else {
                    host.unreadable.insert(unit.clone());
                    Err("systemd cannot be reached".to_owned())
                };
                let files = with_files.then(|| Ok(files(&host.systemd, &unit)));
                Event::UnitRead(Box::new(UnitRead { unit, answer, files }))
            }
            Action::ReadFiles(unit) => Event::FilesRead(unit.clone(), Ok(files(&host.systemd, &unit))),
            Action::ReadAllFiles(units) => {
                let read = units.into_iter().map(|unit| (unit.clone(), Ok(files(&host.systemd, &unit))));
                Event::AllFilesRead(read.collect())
            }
            Action::ReadLastLine { unit, invocation } => Event::LastLineRead { unit, invocation, line: None },
            Action::LookAtArtifacts { id, number, assignment } => {
                Event::ArtifactsSeen { id: id.clone(), number, artifacts: host.artifacts(&id, &assignment) }
            }
            Action::Stage(stage) => {
                let result = match (luck, stage.assignment.version.as_deref()) {
                    (_, Some(REJECTED)) => Err(Refusal::rejected("its checksum is wrong")),
                    (Luck::Good, _) => {
                        host.staged.insert(needs(&stage.id, &stage.assignment));
                        Ok(())
                    }
                    _ => Err(Refusal::passing("503")),
                };
                let found = host.artifacts(&stage.id, &stage.assignment);
                Event::Staged { stage, result: Some((result, found)) }
            }
            Action::Prune(prune) => {
                host.staged.retain(|(id, version, config)| {
                    id.service != prune.service
                        || (version.as_ref().is_none_or(|version| prune.versions.contains(version))
                            && config.as_ref().is_none_or(|config| prune.revisions.contains(config)))
                });
                Event::Pruned(prune.service)
            }
            Action::Run(job) => {
                let end = run(&job, host, luck);
                Event::JobEnded(job, Box::new(end))
            }
            Action::Write(write) => return self.write(*write, host, luck),
            Action::ReadPlacement(id) => {
                let named = tree.get(&layout::replica_desired(&id)).map(decode::<ReplicaDesired>);
                let placed = named.is_some_and(|it| it.map_or(true, |it| it.node.as_ref() == Some(&host.name)));
                if luck == Luck::Good && placed {
                    host.placed.insert(id.clone());
                }
                Event::PlacementRead(id, (luck == Luck::Good).then_some(placed))
            }
            Action::ReadListed { id, unit } => {
                let names = [host.name.to_string(), format!("{}@{}", host.name, id.number)];
                let entries = names.iter().filter_map(|name| tree.get(&layout::instance(&id.service, name)));
                let mut entries = entries.filter_map(|data| decode::<Instance>(data).ok());
                let entry = entries.find(|entry| entry.replica == id.number);
                let listed = (luck == Luck::Good).then(|| Listed::by(entry.as_ref(), &unit));
                Event::ListedRead { id, invocation: unit.invocation, listed }
            }
            Action::Delist(id) => {
                let done = luck != Luck::Fails && host.connected;
                for name in [host.name.to_string(), format!("{}@{}", host.name, id.number)] {
                    let path = layout::instance(&id.service, &name);
                    let entry = tree.get(&path).and_then(|data| decode::<Instance>(data).ok());
                    if done && entry.is_some_and(|entry| entry.replica == id.number) {
                        tree.delete_all(&path);
                        host.ephemerals.remove(&path);
                    }
                }
                Event::Delisted(id, done && luck == Luck::Good)
            }
            Action::Register(order) => Event::Published(Box::new(register(*order, host, tree, luck))),
            Action::WriteStatuses { at, all } => {
                let write = |write: StatusWrite| (write.id.clone(), write_status(&write, host, tree, luck));
                let statuses: Vec<_> = all.into_iter().map(write).collect();
                let writes = u32::try_from(statuses.len()).unwrap();
                Event::Published(Box::new(Published { at, ephemerals: None, statuses, writes }))
            }
            other => unreachable!("{other:?} is done at once"),
        })
    }

    /// The ledger, then each replica's files, then one daemon-reload.
    fn write(&mut self, write: Write, host: &mut Host, luck: Luck) -> Option<Event> {
        let Write { ledger, changes, unloaded } = write;
        self.done += 1;
        if self.done == 1 && luck == Luck::Fails {
            let failed = Err("no space left on device".to_owned());
            let refused = |change| Changed {
                result: Err(Refusal::passing("no space left on device")),
                status: Ok(host.status_of(&change)),
                files: Ok(host.files_of(&change)),
                change,
            };
            let changes = changes.into_iter().map(refused).collect();
            return Some(Event::Written(Box::new(Written { ledger, saved: failed, changes, reloads: 0 })));
        }
        if self.done == 1 {
            host.ledger.clone_from(&ledger);
        } else if let Some(change) = changes.get(self.done - 2) {
            let unit = change.assignment.unit.clone();
            match &change.prepare {
                Some(prepare) => drop(host.systemd.files.insert(unit, prepare.files.clone())),
                None => drop(host.systemd.files.remove(&unit)),
            }
        }
        if self.done <= changes.len() {
            return None;
        }
        let is_unread = |unit| host.systemd.status(unit, &host.paths).need_daemon_reload || unloaded.contains(unit);
        let reloads = u64::from(changes.iter().any(|change| is_unread(&change.assignment.unit)));
        if reloads > 0 {
            host.systemd.daemon_reload();
        }
        let changes = changes
            .into_iter()
            .map(|change| Changed {
                result: Ok(()),
                status: Ok(host.status_of(&change)),
                files: Ok(host.files_of(&change)),
                change,
            })
            .collect();
        Some(Event::Written(Box::new(Written { ledger, saved: Ok(()), changes, reloads })))
    }
}

fn files(systemd: &Systemd, unit: &crate::model::UnitName) -> Files {
    systemd.files.get(unit).cloned().unwrap_or_default()
}

/// What a piece of work needs on the host.
pub(crate) type Needs = (ReplicaId, Option<String>, Option<u64>);

pub(crate) fn needs(id: &ReplicaId, assignment: &CheckedAssignment) -> Needs {
    let version = assignment.version.clone().filter(|_| !assignment.template.source.is_none());
    (id.clone(), version, assignment.config_version.filter(|_| assignment.template.config.is_some()))
}

impl Host {
    pub(crate) fn artifacts(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Artifacts {
        let needs = needs(id, assignment);
        let staged = self.staged.contains(&needs) || (needs.1.is_none() && needs.2.is_none());
        let (release, config) = self.links.get(id).cloned().unwrap_or_default();
        let links = Links {
            release: !staged || needs.1.is_none() || needs.1 == release,
            config: !staged || needs.2.is_none() || needs.2 == config,
        };
        Artifacts { staged, links }
    }
}

fn run(job: &Job, host: &mut Host, luck: Luck) -> JobEnd {
    let unit = &job.assignment.unit;
    let (_, release, config) = needs(&job.id, &job.assignment);
    let outcome = if luck == Luck::Fails {
        JobOutcome::NoJob { message: "systemd cannot be reached".to_owned(), unreachable: true }
    } else if !host.artifacts(&job.id, &job.assignment).staged && job.order != Order::Verb(Verb::Stop) {
        JobOutcome::NotSwitched(Refusal::passing("it is not on this host"))
    } else {
        let links = host.links.entry(job.id.clone()).or_default();
        match &job.order {
            Order::Verb(Verb::Stop) => {}
            Order::Verb(Verb::Reload) | Order::Signal(_) => links.1 = config,
            Order::Verb(Verb::Start | Verb::Restart) | Order::ResetAndStart => *links = (release, config),
        }
        let links = links.clone();
        if host.setup.failing.contains(&job.id.service) {
            host.systemd.failing.insert(unit.clone());
        } else {
            host.systemd.failing.remove(unit);
        }
        if job.order == Order::ResetAndStart {
            host.systemd.reset_failed(unit);
        }
        let ended = host.systemd.run(job.order.verb(), unit, links, host.clock().time);
        match luck {
            Luck::Good => JobOutcome::Ended(ended),
            _ => JobOutcome::NoJob { message: "no answer".to_owned(), unreachable: true },
        }
    };
    if job.order == Order::Verb(Verb::Stop) && outcome == JobOutcome::Ended(JobResult::Done) {
        host.systemd.reset_failed(unit);
    }
    let status = Ok(host.systemd.status(unit, &host.paths));
    JobEnd { outcome, status, complaint: None, artifacts: host.artifacts(&job.id, &job.assignment) }
}

fn register(order: Registration, host: &mut Host, tree: &mut Tree, luck: Luck) -> Published {
    let Registration { at, look, ephemerals, riders, stale, known, alive } = order;
    let lost = || Err("connection lost".to_owned());
    let names = riders.iter().map(|(id, _)| id.clone()).collect();
    let registered = |result, seen| Registered { known: known.clone(), result, riders: names, seen };
    let believed = host.believed.take().filter(|(over, _)| *over == at && !look).map(|(_, believed)| believed);
    // What a session asked for that has expired by now never lands.
    if luck == Luck::Fails || !host.is_of_session(at) || !host.connected {
        return Published { at, ephemerals: Some(registered(lost(), false)), statuses: Vec::new(), writes: 0 };
    }
    let session = host.session.unwrap_or_default();
    let is_own = |path: &String| host.ephemerals.get(path) == Some(&session);
    let there = |path: &String| Some((path.clone(), tree.get(path)?.to_vec()));
    // What a predecessor left under a name that is wanted is replaced, whatever it says.
    let left = stale.iter().filter(|path| !ephemerals.0.contains_key(*path));
    let paths: BTreeSet<String> = host.ephemerals.keys().filter(|path| is_own(path)).chain(left).cloned().collect();
    let before: BTreeMap<_, _> = believed.unwrap_or_else(|| {
        paths.iter().chain(ephemerals.0.keys().filter(|path| is_own(path))).filter_map(there).collect()
    });
    for path in before.keys().filter(|path| !ephemerals.0.contains_key(*path)) {
        tree.delete_all(path);
        host.ephemerals.remove(path);
    }
    let is_there = |path: &String| match Place::of(path) {
        Place::Instance(service, _) => tree.node(&layout::service(&service)).is_some(),
        _ => true,
    };
    let there: BTreeSet<String> = ephemerals.0.keys().filter(|path| is_there(path)).cloned().collect();
    let (paths, mut names) = ephemerals;
    names.retain(|id, name| there.contains(&layout::instance(&id.service, name)));
    let ephemerals = (paths, names);
    let changed: Vec<_> = ephemerals
        .0
        .iter()
        .filter(|(path, _)| there.contains(*path))
        .filter(|(path, data)| before.get(*path) != Some(*data))
        .collect();
    for (path, data) in &changed {
        if host.ephemerals.insert((*path).clone(), session) != Some(session) {
            // Deleted and created again, by the session that owns it now.
            tree.delete_all(path);
        }
        tree.put_below(path, data);
    }
    let seen = changed.iter().any(|(path, _)| **path == alive);
    host.believed = (luck == Luck::Good).then(|| (at, ephemerals.0.clone()));
    let ridden: Vec<_> = riders.into_iter().filter(|(id, status)| ride(id, status, host, tree)).collect();
    let statuses: Vec<_> = ridden.into_iter().map(|(id, status)| (id, Ok(Some(status)))).collect();
    let (result, statuses) = if luck == Luck::Good { (Ok(ephemerals), statuses) } else { (lost(), Vec::new()) };
    Published { at, ephemerals: Some(registered(result, seen && luck == Luck::Good)), statuses, writes: 1 }
}

fn ride(id: &ReplicaId, status: &ReplicaStatus, host: &Host, tree: &mut Tree) -> bool {
    let ours = tree.get(&layout::assignment(&host.name, id)).is_some();
    let setup = &host.setup;
    let (unconfirmed, setbacks) = if setup.confirms { (status.unconfirmed, status.setbacks) } else { (false, 0) };
    let assignment = status.assignment.filter(|_| setup.answers);
    let said = ReplicaStatus { assignment, unconfirmed, setbacks, ..status.clone() };
    ours && tree.write(&layout::replica_status(id), &encode(&said)).is_ok()
}

fn write_status(
    write: &StatusWrite,
    host: &Host,
    tree: &mut Tree,
    luck: Luck,
) -> Result<Option<ReplicaStatus>, String> {
    if luck == Luck::Fails || !host.connected {
        return Err("connection lost".to_owned());
    }
    let ridden = ride(&write.id, &write.status, host, tree);
    match luck {
        Luck::Good => Ok(ridden.then(|| write.status.clone())),
        _ => Err("connection lost".to_owned()),
    }
}
