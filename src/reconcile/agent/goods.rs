//! What a replica needs on this host beside its unit: the release of its version, its configuration, and credentials that
//! may be loaded. What is there
//! is looked at once, beside the loop (a disk may take its time, and so may dpkg), then known by what this agent does
//! itself.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{Agent, credentials::Credentials, steps::Done};
use crate::{
    blocking,
    config::AgentSettings,
    configuration::{self, Configurations, Renderer},
    model::{Assignment, CheckedAssignment, HostName, ReplicaId, ServiceName},
    plan::agent::Links,
    source::{self, Sources},
    systemd::{Folders, UnitManager},
};

/// The releases and configurations on this host.
#[derive(Debug)]
pub(super) struct Goods {
    pub(super) store: Store,
    /// What was found for each replica: for the work that is wanted, and for that of before.
    seen: BTreeMap<ReplicaId, Vec<Seen>>,
    begun: u64,
}

/// A piece of work.
#[derive(Debug)]
struct Seen {
    assignment: CheckedAssignment,
    /// What was found; `None` = nobody has looked yet.
    found: Option<Found>,
    look: Look,
}

/// Whether somebody looks.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Over,
    Due,
    /// Under this number: another look's answer is old.
    UnderWay(u64),
}

/// A look that ended.
pub(super) struct Looked {
    id: ReplicaId,
    number: u64,
    found: Found,
}

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) sources: Arc<Sources>,
    pub(super) configurations: Configurations,
    /// Where all of it is.
    pub(super) data_dir: PathBuf,
    pub(super) host: HostName,
    /// The root of the file system that systemd has.
    pub(super) root: PathBuf,
}

/// What is there of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// All of it is on the host.
    pub(super) staged: bool,
    /// What the links lead to.
    pub(super) links: Links,
}

impl Found {
    /// Nothing is needed.
    pub(super) const NOTHING: Self = Self { staged: true, links: Links::RIGHT };
}

impl Goods {
    /// `root` is that of the file system that systemd has.
    pub(super) fn new(settings: &AgentSettings, root: PathBuf) -> Self {
        let store = Store {
            sources: Arc::new(Sources::new(&settings.data_dir)),
            configurations: Configurations::new(&settings.data_dir, Renderer::Process(settings.program.clone())),
            data_dir: settings.data_dir.clone(),
            host: settings.host.clone(),
            root,
        };
        Self { store, seen: BTreeMap::new(), begun: 0 }
    }

    /// What is there of the replica's work; `None` = that is to be looked at first.
    pub(super) fn look(&mut self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Found> {
        if !needs_any(assignment) {
            return Some(Found::NOTHING);
        }
        let known = self.seen.entry(id.clone()).or_default();
        if let Some(seen) = known.iter().find(|seen| needs_the_same(&seen.assignment, assignment)) {
            return seen.found;
        }
        known.push(Seen { assignment: assignment.clone(), found: None, look: Look::Due });
        known.drain(..known.len().saturating_sub(2));
        None
    }

    /// What is to be looked at: from now on somebody does.
    fn begin(&mut self) -> Vec<(ReplicaId, u64, CheckedAssignment)> {
        let all = self.seen.iter_mut().flat_map(|(id, seen)| seen.iter_mut().map(move |seen| (id, seen)));
        let mut begun = Vec::new();
        for (id, seen) in all.filter(|(_, seen)| seen.look == Look::Due) {
            self.begun += 1;
            seen.look = Look::UnderWay(self.begun);
            begun.push((id.clone(), self.begun, seen.assignment.clone()));
        }
        begun
    }

    /// Whether nothing is to be looked at first.
    pub(super) fn is_settled(&self) -> bool {
        self.seen.values().flatten().all(|seen| seen.found.is_some())
    }

    /// A look ended.
    pub(super) fn looked(&mut self, looked: &Looked) {
        let known = self.seen.get_mut(&looked.id).into_iter().flatten();
        for seen in known.filter(|seen| seen.look == Look::UnderWay(looked.number)) {
            (seen.found, seen.look) = (Some(looked.found), Look::Over);
        }
    }

    /// Something of the replica's work was brought onto the host, and this is there of it now.
    pub(super) fn learn(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, found: Found) {
        if !needs_any(assignment) {
            return;
        }
        let known = self.seen.entry(id.clone()).or_default();
        known.retain(|seen| !needs_the_same(&seen.assignment, assignment));
        known.push(Seen { assignment: assignment.clone(), found: Some(found), look: Look::Over });
        known.drain(..known.len().saturating_sub(2));
    }

    /// Forgets replicas that are not among these.
    pub(super) fn retain(&mut self, known: impl Fn(&ReplicaId) -> bool) {
        self.seen.retain(|id, _| known(id));
    }

    /// Something of the replica changed on disk.
    pub(super) fn forget(&mut self, id: &ReplicaId) {
        self.seen.remove(id);
    }

    /// Something that none of the service's replicas needs was removed. What is known stands until it was looked at again.
    pub(super) fn doubt_service(&mut self, service: &ServiceName) {
        let of_service = self.seen.iter_mut().filter(|(id, _)| id.service == *service);
        of_service.flat_map(|(_, seen)| seen).for_each(|seen| seen.look = Look::Due);
    }
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Has that looked at which is not known.
    pub(super) fn look_at_goods(&mut self) {
        for (id, number, assignment) in self.goods.begin() {
            let store = self.goods.store.clone();
            self.tasks.push(Box::pin(async move {
                let found = store.look_beside(&id, &assignment).await;
                Done::Looked(Box::new(Looked { id, number, found }))
            }));
        }
    }
}

impl Store {
    /// What is there of the replica's work, looked at beside the loop.
    pub(super) async fn look_beside(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Found {
        if !needs_any(assignment) {
            return Found::NOTHING;
        }
        // One whose disk does not answer is looked at again before the start.
        let bad = matches!(Credentials::look(id, assignment, &self.root).await, Credentials::Bad(_));
        let (store, id, assignment) = (self.clone(), id.clone(), assignment.clone());
        let package = assignment.source.apt.is_some();
        let look = move || store.look(&id, &assignment);
        let found = if package { blocking::PACKAGES.run(look).await } else { blocking::beside(look).await };
        Found { staged: found.staged && !bad, ..found }
    }

    fn look(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Found {
        let release = self.release(id, assignment);
        let config = config(id, assignment);
        let fetched = release.is_none_or(|it| self.sources.is_fetched(&it));
        let staged = config.is_none_or(|it| self.configurations.is_staged(&it));
        // A link can't be switched to what is not there.
        let links = Links {
            release: !fetched || release.is_none_or(|it| is_shared(&it) || self.sources.is_current(&it)),
            config: !staged || config.is_none_or(|it| self.configurations.is_current(&it)),
        };
        Found { staged: fetched && staged, links }
    }

    /// Whether anything of the service may be on the host. May block.
    pub(super) fn has_any(&self, service: &ServiceName) -> bool {
        let folders = ["releases", "config", "revisions"].map(|kind| self.data_dir.join(kind).join(service.as_str()));
        folders.iter().any(|folder| folder.exists())
    }

    /// The release that the work needs, if any.
    pub(super) fn release<'a>(
        &'a self,
        id: &'a ReplicaId,
        assignment: &'a CheckedAssignment,
    ) -> Option<source::Wanted<'a>> {
        let version = assignment.version.as_deref().filter(|_| !assignment.source.is_none())?;
        Some(source::Wanted { id, unit: &assignment.unit, source: &assignment.source, version, host: &self.host })
    }

    /// The folders that its processes are told of.
    pub(super) fn folders(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Folders {
        let release = self.release(id, assignment);
        Folders {
            release: release.and_then(|it| self.sources.release_dir(&id.service, it.source, it.version)),
            config: config(id, assignment).map(|it| self.configurations.config_dir(&id.service, it.unit)),
        }
    }
}

/// Whether the release is of all replicas on this host: there is one package. What one of them has installed says nothing
/// about what another runs, and must not have it restarted.
fn is_shared(release: &source::Wanted<'_>) -> bool {
    release.source.apt.is_some() && release.unit.as_str().contains('@')
}

/// The configuration that the work needs, if any.
pub(super) fn config<'a>(id: &'a ReplicaId, assignment: &'a CheckedAssignment) -> Option<configuration::Wanted<'a>> {
    let revision = assignment.config_version.filter(|_| assignment.config.is_some())?;
    let Assignment { unit, version, port, .. } = &**assignment;
    Some(configuration::Wanted { id, unit, revision, version: version.as_deref(), port: *port })
}

/// Whether anything has to be on the host before the work can run.
pub(super) fn needs_any(assignment: &CheckedAssignment) -> bool {
    !assignment.credentials.is_empty()
        || (!assignment.source.is_none() && assignment.version.is_some())
        || (assignment.config.is_some() && assignment.config_version.is_some())
}

/// Whether the two need the same.
pub(super) fn needs_the_same(one: &CheckedAssignment, other: &CheckedAssignment) -> bool {
    (one.version == other.version && one.source == other.source)
        && (one.config_version == other.config_version && one.config == other.config)
        && (&one.unit, one.port, &one.credentials) == (&other.unit, other.port, &other.credentials)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn goods() -> Goods {
        let dir = PathBuf::from("/nowhere");
        let store = Store {
            sources: Arc::new(Sources::new(&dir)),
            configurations: Configurations::new(&dir, Renderer::Here),
            data_dir: dir,
            host: "web1".parse().unwrap(),
            root: PathBuf::from("/"),
        };
        Goods { store, seen: BTreeMap::new(), begun: 0 }
    }

    fn version(version: &str) -> CheckedAssignment {
        let source = json!({ "exec": { "command": ["/bin/true"] } });
        let wanted = json!({ "mode": "enabled", "unit": "webapp.service", "version": version, "source": source });
        serde_json::from_value(wanted).unwrap()
    }

    const STAGED: Found = Found { staged: true, links: Links { release: false, config: true } };

    #[test]
    fn what_is_not_known_is_looked_at_once_and_an_old_answer_is_passed_over() {
        let (mut goods, id) = (goods(), "webapp.0000000001".parse().unwrap());
        assert!(goods.look(&id, &version("v1")).is_none() && !goods.is_settled());
        let [(_, first, _)] = &goods.begin()[..] else { panic!() };
        assert!(goods.look(&id, &version("v1")).is_none());
        assert!(goods.begin().is_empty(), "somebody looks already");
        goods.learn(&id, &version("v1"), Found::NOTHING);
        goods.looked(&Looked { id: id.clone(), number: *first, found: STAGED });
        assert!(goods.look(&id, &version("v1")).unwrap().links.release, "it was looked at before the job's end");
        goods.doubt_service(&id.service);
        assert!(goods.look(&id, &version("v1")).is_some() && goods.is_settled(), "what is known stands meanwhile");
        let [(_, second, _)] = &goods.begin()[..] else { panic!() };
        goods.looked(&Looked { id: id.clone(), number: *second, found: STAGED });
        assert!(!goods.look(&id, &version("v1")).unwrap().links.release);
    }
}
