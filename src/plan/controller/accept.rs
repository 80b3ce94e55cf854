//! Which documents of a service are in force: the operator's when they are good, else the last that were.

use super::{
    notice::Notices,
    words::{Consequence, Invalid, Subject},
};
use crate::{
    model::{Accepted, Desired, Mode, ServiceName, ServiceSpec},
    tree::{
        layout,
        snapshot::{Doc, ServiceView},
    },
};

/// What is in force of a service.
#[derive(Clone, Copy)]
pub(super) struct InForce<'a> {
    pub(super) spec: &'a ServiceSpec,
    pub(super) desired: &'a Desired,
}

impl InForce<'_> {
    /// How many replicas there are to be.
    pub(super) fn wanted(&self) -> usize {
        if self.spec.deleting { 0 } else { usize::try_from(self.desired.replicas).unwrap_or(usize::MAX) }
    }

    /// Whether replicas are to run.
    pub(super) fn enabled(&self) -> bool {
        self.desired.mode == Mode::Enabled
    }
}

/// What a service that is deleted before it ever had a desired state wants.
static NOTHING: Desired = Desired { mode: Mode::Drain, version: None, replicas: 0, config_version: None };

/// Finds what is in force, and notes what cannot be accepted. `None`: nothing ever was good.
pub(super) fn in_force<'a>(name: &ServiceName, view: &'a ServiceView, notices: &mut Notices) -> Option<InForce<'a>> {
    let last = view.status.as_ref().and_then(Doc::good).and_then(|status| status.accepted.as_ref());
    let stays = stays(last);
    let spec = good(view.spec.as_ref(), layout::service(name), stays, notices);
    let spec = spec.or(last.map(|last| &last.service));
    let desired = if spec.is_some_and(|spec| spec.deleting) {
        view.desired.as_ref().and_then(Doc::good).or(last.map(|last| &last.desired)).or(Some(&NOTHING))
    } else {
        let desired = good(view.desired.as_ref(), layout::desired(name), stays, notices);
        desired.or(last.map(|last| &last.desired))
    };
    let desired = fitting_version(name, spec?, desired?, last, notices);
    let desired = known_config(name, view, spec?, desired?, last, notices);
    Some(InForce { spec: spec?, desired: desired? })
}

/// A version must be one of the service's source: agents would not act on it.
fn fitting_version<'a>(
    name: &ServiceName,
    spec: &ServiceSpec,
    desired: &'a Desired,
    last: Option<&'a Accepted>,
    notices: &mut Notices,
) -> Option<&'a Desired> {
    let problem = desired.version.iter().flat_map(|version| spec.source.version_problems(version)).next();
    let Some(problem) = problem.filter(|_| !spec.deleting) else { return Some(desired) };
    let why = Invalid::UnknownVersion(&problem, stays(last));
    notices.add(Subject::Document(layout::desired(name)), None, &why);
    last.map(|last| &last.desired)
}

/// Of a service whose configuration is in the tree, only a revision that is there can be brought anywhere.
fn known_config<'a>(
    name: &ServiceName,
    view: &'a ServiceView,
    spec: &ServiceSpec,
    desired: &'a Desired,
    last: Option<&'a Accepted>,
    notices: &mut Notices,
) -> Option<&'a Desired> {
    let missing = desired.config_version.filter(|revision| spec.config.is_some() && !view.configs.contains(revision));
    let Some(revision) = missing.filter(|_| !spec.deleting) else { return Some(desired) };
    let why = Invalid::UnknownRevision { service: name, revision, comes: stays(last) };
    notices.add(Subject::Document(layout::desired(name)), None, &why);
    last.map(|last| &last.desired)
}

fn stays(last: Option<&Accepted>) -> Consequence {
    if last.is_some() { Consequence::LastStays } else { Consequence::NothingInForce }
}

fn good<'a, T>(doc: Option<&'a Doc<T>>, path: String, stays: Consequence, notices: &mut Notices) -> Option<&'a T> {
    let why = match doc.map(|doc| &doc.value) {
        Some(Ok(document)) => return Some(document),
        Some(Err(error)) => Invalid::Unreadable(error, stays),
        None => Invalid::Missing(stays),
    };
    notices.add(Subject::Document(path), None, &why);
    None
}
