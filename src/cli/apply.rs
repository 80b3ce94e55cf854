//! `zkops apply`: makes the tree say what description files say.
//!
//! All files are read and checked before the first write; each service is one transaction, over one connection. The description is the
//! file's alone (a key left out has its default), of the desired state only the keys that the file sets are changed,
//! so that `zkops scale` and a file without `replicas` don't fight.

mod found;
mod index;

use std::{cell::Cell, collections::BTreeMap, path::PathBuf};

use anyhow::anyhow;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};

use self::{found::Found, index::CheckIndex};
use super::{
    config::{self, Next},
    context::Context,
    document::Change,
    failure::{self, Failure},
    manifest::{FileArgs, Manifest},
    render,
    wait::{self, Target, WaitArgs},
};
use crate::{
    model::{ConfigRevision, Desired, Mode, ServiceName, ServiceSpec, ServiceStatus, decode},
    store::Client,
    tree::{copy::Stored, layout, node::Node, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is the whole description: a key left out has its default.
Of [desired], only the keys that the file sets are changed; a new service
gets mode = \"enabled\" and replicas = 1 when they are left out.

Examples:
  zkops apply -f webapp.toml --wait
  zkops apply -f services/*.toml --dry-run
  zkops apply -f services/
  zkops apply -f webapp.toml --config ./conf --wait
  zkops plan -f webapp.toml; zkops apply -f webapp.toml --check-index 4294967311
  generate-services | zkops apply -f -   # a line --- between two services")]
pub(super) struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// Take the service's configuration from this folder: it becomes a revision unless the newest is the same, and the
    /// `config_version` that is wanted, in the same transaction
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Check everything and say what would be done, without doing it
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Only if nothing has changed since `zkops plan` printed this index; SERVICE=N for each of several files, which
    /// are then one transaction
    #[arg(long, value_name = "[SERVICE=]N")]
    check_index: Vec<CheckIndex>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let manifests = args.files.read()?;
    for Manifest { source, spec, .. } in &manifests {
        spec.warnings().iter().for_each(|warning| render::note(&format!("{source}: {warning}")));
    }
    let expected = index::expected(&args.check_index, &manifests)?;
    let wishes = wishes(&manifests, args)?;
    let plans = if args.dry_run {
        plan_all(&wishes, &expected, &cx.connect_to_tree().await?).await?
    } else if expected.is_empty() {
        commit_each(&wishes, cx).await?
    } else {
        commit_together(&wishes, &expected, cx).await?
    };
    if args.dry_run {
        say(&plans, " (dry run)")?;
    } else if !expected.is_empty() {
        say(&plans, "")?;
    }
    wait::when_asked(&args.wait, plans.iter().map(Plan::target).collect(), cx).await
}

/// A file, and the folder that goes with it.
struct Wish<'m> {
    manifest: &'m Manifest,
    config: Option<ConfigRevision>,
}

fn wishes<'m>(manifests: &'m [Manifest], args: &Args) -> anyhow::Result<Vec<Wish<'m>>> {
    let Some(folder) = &args.config else {
        return Ok(manifests.iter().map(|manifest| Wish { manifest, config: None }).collect());
    };
    let [manifest] = manifests else {
        return Err(Failure::Input("--config DIR is the configuration of one service: give one file".into()).into());
    };
    let Manifest { source, name, spec, desired } = manifest;
    if spec.config.is_none() {
        let text = format!("{source}: {name} has no [config] section, so no host would take --config: write one");
        return Err(Failure::Input(text).into());
    }
    if desired.as_ref().is_some_and(|keys| keys.contains_key("config_version")) {
        let text = format!("{source}: desired.config_version: leave it out, --config sets it");
        return Err(Failure::Input(text).into());
    }
    Ok(vec![Wish { manifest, config: Some(config::read_folder(folder)?) }])
}

fn say(plans: &[Plan], suffix: &str) -> anyhow::Result<()> {
    for plan in plans {
        if let Some(said) = &plan.said {
            render::line(&format!("{said}{suffix}"))?;
        }
        render::line(&format!("service/{} {}{suffix}", plan.name, plan.outcome()))?;
    }
    Ok(())
}

/// The indices that are expected, by service.
type Expected = BTreeMap<ServiceName, i64>;

/// How many services are looked at at once.
const LOOKS: usize = 16;

async fn plan_all(wishes: &[Wish<'_>], expected: &Expected, client: &Client) -> anyhow::Result<Vec<Plan>> {
    let plans = stream::iter(wishes).map(|wish| async {
        let plan = wish.plan(client).await?;
        if let Some(index) = expected.get(&plan.name) {
            index::check(&plan.name, *index, plan.index)?;
        }
        plan.ops()?;
        Ok(plan)
    });
    plans.buffered(LOOKS).try_collect().await
}

/// Each service in a transaction of its own. What would be refused is found before the first is written.
async fn commit_each(wishes: &[Wish<'_>], cx: &Context) -> anyhow::Result<Vec<Plan>> {
    let mut plans = Vec::new();
    let planned = plan_all(wishes, &Expected::new(), &cx.connect_to_tree().await?).await?;
    for (wish, planned) in wishes.iter().zip(planned) {
        let plan = match commit_one(wish, planned, cx).await {
            Err(error) if wishes.len() > 1 => return Err(error.context(half_way(wishes, plans.len()))),
            done => done?,
        };
        say(std::slice::from_ref(&plan), "")?;
        plans.push(plan);
    }
    Ok(plans)
}

/// As planned, or as planned again once the tree has changed or the connection was lost: what is in force then needs no
/// change.
async fn commit_one(wish: &Wish<'_>, planned: Plan, cx: &Context) -> anyhow::Result<Plan> {
    let (what, planned) = (format!("service/{}", wish.manifest.name), Cell::new(Some(planned)));
    let attempt = async || {
        cx.write(&what, async |client| {
            let plan = match planned.take() {
                Some(plan) => plan,
                None => wish.plan(client).await?,
            };
            Ok((plan.ops()?, plan))
        })
        .await
    };
    match attempt().await {
        Err(error) if failure::is_lost_connection(&error) => attempt().await,
        done => done,
    }
}

/// Where a run over several services stands when one of them could not be written.
fn half_way(wishes: &[Wish<'_>], applied: usize) -> String {
    let Manifest { source, name, .. } = wishes[applied].manifest;
    format!(
        "{applied} of {} services are applied; {name} ({source}) and those after it are not. Run the command again: what \
         is applied stays as it is",
        wishes.len()
    )
}

/// All services in one transaction, or none if one of them has changed.
async fn commit_together(wishes: &[Wish<'_>], expected: &Expected, cx: &Context) -> anyhow::Result<Vec<Plan>> {
    let names: Vec<_> = wishes.iter().map(|wish| format!("service/{}", wish.manifest.name)).collect();
    cx.write(&names.join(", "), async |client| {
        let plans = plan_all(wishes, expected, client).await?;
        let mut ops = Vec::new();
        for plan in &plans {
            ops.extend(plan.ops()?);
            ops.extend(plan.guard.clone());
        }
        Ok((ops, plans))
    })
    .await
}

/// What applying one file changes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: ServiceName,
    pub(super) service: Change,
    pub(super) desired: Change,
    /// What stands for everything that was read.
    pub(super) index: i64,
    mode: Mode,
    /// Holds as long as the controller writes nothing.
    guard: Option<Op>,
    /// Makes the configuration revision that is wanted, or holds as long as it is there.
    config: Vec<Op>,
    /// What is said of it.
    said: Option<String>,
}

impl Wish<'_> {
    async fn plan(&self, client: &Client) -> anyhow::Result<Plan> {
        let Some(revision) = &self.config else { return Plan::read(self.manifest, client).await };
        let mut manifest = self.manifest.clone();
        let name = &manifest.name;
        let Next { number, created, ops } = Next::of(name, revision, client).await?;
        let said = config::said(name, number, created, revision);
        manifest.desired.get_or_insert_default().insert("config_version".to_owned(), number.into());
        let plan = Plan::new(&manifest, &Found::read(&manifest.name, client).await?)?;
        Ok(Plan { config: ops, said: Some(said), ..plan })
    }
}

impl Plan {
    /// Reads what the tree says of the service, and compares.
    pub(super) async fn read(manifest: &Manifest, client: &Client) -> anyhow::Result<Self> {
        let mut plan = Self::new(manifest, &Found::read(&manifest.name, client).await?)?;
        plan.config.extend(plan.config_check(manifest, client).await?);
        Ok(plan)
    }

    /// The same, of a tree that has been read.
    pub(super) fn among(manifest: &Manifest, nodes: &BTreeMap<String, Stored>) -> anyhow::Result<Self> {
        Self::new(manifest, &Found::among(&manifest.name, nodes))
    }

    fn new(manifest: &Manifest, found: &Found) -> anyhow::Result<Self> {
        let name = manifest.name.clone();
        let service = found.service.as_ref();
        if service.and_then(|node| decode(&node.data).ok()).is_some_and(|spec: ServiceSpec| spec.deleting) {
            let text = format!("service/{name} is being deleted; apply again when it is gone");
            return Err(Failure::Conflict(text).into());
        }
        let wanted = wanted(manifest, found.desired.as_ref(), found.status.as_ref())?;
        Ok(Self {
            mode: wanted.mode,
            service: Change::to(layout::service(&name), service, &manifest.spec),
            desired: Change::to(layout::desired(&name), found.desired.as_ref(), &wanted),
            index: found.index(),
            guard: found.guard(&name),
            config: Vec::new(),
            said: None,
            name,
        })
    }

    /// Makes sure that the configuration revision is there, for a service whose hosts take it from the tree.
    async fn config_check(&self, manifest: &Manifest, client: &Client) -> anyhow::Result<Option<Op>> {
        let number = self.desired.after.get("config_version").and_then(Value::as_u64);
        let (Some(_), Some(number)) = (&manifest.spec.config, number) else { return Ok(None) };
        let path = layout::config(&self.name, number);
        match client.get(&path).await? {
            Some(node) => Ok(Some(Op::Check { path, version: node.version })),
            None => Err(anyhow!(config::missing(&self.name, number))
                .context(format!("{}: desired.config_version = {number}", manifest.source))),
        }
    }

    /// The transaction; empty when nothing changes.
    fn ops(&self) -> anyhow::Result<Vec<Op>> {
        Ok([self.service.op()?, self.desired.op()?].into_iter().chain(self.config.clone()).collect())
    }

    pub(super) fn outcome(&self) -> &'static str {
        match (self.service.is_new(), self.service.is_needed() || self.desired.is_needed()) {
            (true, _) => "created",
            (false, true) => "configured",
            (false, false) => "unchanged",
        }
    }

    fn target(&self) -> Target {
        Target::new(&self.name, self.mode, &self.service, &self.desired)
    }
}

/// The desired state that the file asks for: what the tree has, with the file's keys set.
fn wanted(manifest: &Manifest, desired: Option<&Node>, status: Option<&Node>) -> anyhow::Result<Desired> {
    let mut keys = match desired.map(|node| decode::<Desired>(&node.data)) {
        None => Map::new(),
        Some(Ok(desired)) => object(&desired)?,
        // Nonsense in the tree is fixed from what is in force, so that keys the file leaves out stay as they run.
        Some(Err(_)) => object(&accepted(status).unwrap_or_default())?,
    };
    keys.extend(manifest.desired.clone().unwrap_or_default());
    Ok(serde_json::from_value(Value::Object(keys))?)
}

fn accepted(status: Option<&Node>) -> Option<Desired> {
    let status: ServiceStatus = decode(&status?.data).ok()?;
    status.accepted.map(|accepted| accepted.desired)
}

fn object(desired: &Desired) -> anyhow::Result<Map<String, Value>> {
    serde_json::to_value(desired)?.as_object().cloned().ok_or_else(|| anyhow!("a desired state is a JSON object"))
}

#[cfg(test)]
mod tests;
