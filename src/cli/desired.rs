//! What `scale`, `enable`, `disable` and `drain` share: changing one key of a service's desired state.

use super::{
    context::{self, Context},
    document::{self, Change},
    failure::Failure,
    render,
    wait::{self, Aim, Target, WaitArgs},
};
use crate::{
    model::{Desired, ServiceName, ServiceSpec, decode},
    store::Client,
    tree::{layout, txn::Op},
};

/// Changes the desired state, says so with `done` (`enabled`, `scaled from 3 to 1` …, of what was wanted before), and
/// waits when asked.
pub(super) async fn change(
    name: &ServiceName,
    done: impl Fn(&Desired) -> String,
    wait: &WaitArgs,
    cx: &Context,
    edit: impl Fn(&mut Desired) -> Result<(), Failure>,
) -> anyhow::Result<()> {
    let edited = cx.write(&format!("service/{name}"), async |client| read_and_edit(name, client, &edit).await).await?;
    let done = if edited.changed { done(&edited.before) } else { "unchanged".to_owned() };
    render::line(&format!("service/{name} {done}"))?;
    wait::when_asked(wait, vec![edited.target], cx).await
}

struct Edited {
    before: Desired,
    changed: bool,
    target: Target,
}

async fn read_and_edit(
    name: &ServiceName,
    client: &Client,
    edit: &impl Fn(&mut Desired) -> Result<(), Failure>,
) -> anyhow::Result<(Vec<Op>, Edited)> {
    let service = client.get(&layout::service(name)).await?.ok_or_else(|| context::no_service(name))?;
    if decode(&service.data).is_ok_and(|spec: ServiceSpec| spec.deleting) {
        return Err(Failure::Conflict(format!("service/{name} is being deleted")).into());
    }
    let path = layout::desired(name);
    let node = client.get(&path).await?;
    let mut desired: Desired = match &node {
        Some(node) => document::must_read(&path, node, "fix it with `zkops apply`")?,
        None => Desired::default(),
    };
    let before = desired.clone();
    edit(&mut desired)?;
    if let Some(problem) = desired.problems().first() {
        return Err(Failure::Input(problem.to_string()).into());
    }
    let change = Change::to(path, node.as_ref(), &desired);
    let target = Target {
        service: name.clone(),
        aim: Aim::of(desired.mode),
        desired_version: change.version_after(),
        service_version: service.version,
    };
    Ok((vec![change.op()?], Edited { before, changed: change.is_needed(), target }))
}
