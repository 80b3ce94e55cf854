//! `zkops config push`: a folder becomes the next revision.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::revision;
use crate::{
    cli::{
        context::Context,
        document::{self, Change},
        failure::Failure,
        get::Format,
        render,
        wait::{self, Target, WaitArgs},
    },
    configuration,
    model::{ConfigRevision, Desired, ServiceName, ServiceSpec, counted, encode},
    store::Client,
    tree::{layout, node::Node, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files that end in .j2 are templates (minijinja) and lose that ending. Permissions are
those of the files; all belong to root unless --owner and --group say otherwise. A
revision may have 512 KiB in all. Secrets don't belong here: see [credentials].
What is in the newest revision already makes no new one.

Examples:
  zkops config push webapp ./conf --message 'more workers'
  zkops config push webapp ./conf --set --wait
  zkops config push webapp ./conf -o json | jq .number")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What is said of the revision
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// The files' owner on the hosts, by name
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// The files' group on the hosts, by name
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Also make it the `config_version` that is wanted, in the same transaction: a rollout begins
    #[arg(long, visible_alias = "apply")]
    set: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: Format,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    if args.wait.patience().is_some() && !args.set {
        return Err(Failure::Input("--wait waits for the rollout that --set begins: give both".into()).into());
    }
    let revision = read(args)?;
    let name = &args.service;
    let what = format!("config/{name}");
    let pushed = cx.write(&what, async |client| push(args, &revision, client).await).await?;
    pushed.report(args, &revision)?;
    wait::when_asked(&args.wait, pushed.target.into_iter().collect(), cx).await
}

/// The folder as a revision, checked as far as that is possible here.
fn read(args: &Args) -> anyhow::Result<ConfigRevision> {
    let mut revision = read_folder(&args.folder)?;
    for file in revision.files.values_mut() {
        file.owner.clone_from(&args.owner);
        file.group.clone_from(&args.group);
    }
    revision.message.clone_from(&args.message);
    if let Some(problem) = revision.problems().first() {
        return Err(Failure::Input(problem.to_string()).into());
    }
    must_fit(&revision)?;
    Ok(revision)
}

/// The folder as a revision whose files are root's.
pub(in crate::cli) fn read_folder(folder: &Path) -> Result<ConfigRevision, Failure> {
    configuration::read_folder(folder).map_err(|error| Failure::Input(error.to_string()))
}

/// The owners and the message count, too.
fn must_fit(revision: &ConfigRevision) -> Result<(), Failure> {
    let (size, allowed) = (encode(revision).len(), ConfigRevision::MAX_BYTES);
    if size <= allowed {
        return Ok(());
    }
    let text = format!("the revision takes {size} bytes with its message and owners, {allowed} are allowed");
    Err(Failure::Input(text))
}

struct Pushed {
    number: u64,
    created: bool,
    /// Whether the desired state was changed to it.
    set: bool,
    /// Whether the service's description says that hosts take the files.
    used: bool,
    target: Option<Target>,
}

async fn push(args: &Args, revision: &ConfigRevision, client: &Client) -> anyhow::Result<(Vec<Op>, Pushed)> {
    let name = &args.service;
    let path = layout::service(name);
    let node = client.get(&path).await?.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no service \"{name}\": apply its description first, without config_version"
        ))
    })?;
    let spec: Option<ServiceSpec> = crate::model::decode(&node.data).ok();
    if spec.as_ref().is_some_and(|spec| spec.deleting) {
        return Err(Failure::Conflict(format!("service/{name} is being deleted")).into());
    }
    let used = spec.is_some_and(|spec| spec.config.is_some());
    if args.set && !used {
        let text =
            format!("{name}'s description has no [config] section, so no host would take the files: apply it first");
        return Err(Failure::Input(text).into());
    }
    let Next { number, created, mut ops } = Next::of(name, revision, client).await?;
    let mut pushed = Pushed { number, created, set: false, used, target: None };
    if args.set {
        let (desired, op) = set(name, number, client).await?;
        pushed.set = desired.changed;
        pushed.target = Some(Target { service_version: node.version, ..desired.target });
        ops.push(op);
    }
    Ok((ops, pushed))
}

/// The revision that has these files: the newest, or the one that these operations make.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Next {
    pub(in crate::cli) number: u64,
    pub(in crate::cli) created: bool,
    pub(in crate::cli) ops: Vec<Op>,
}

impl Next {
    pub(in crate::cli) async fn of(
        name: &ServiceName,
        revision: &ConfigRevision,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let known = revision::known(name, client).await?;
        let has_parent = known.is_some();
        let newest = known.unwrap_or_default().last().copied();
        if let Some(newest) = newest
            && let Ok((old, Node { version, .. })) = revision::read(name, newest, client).await
            && old.files == revision.files
        {
            let check = Op::Check { path: layout::config(name, newest), version };
            return Ok(Self { number: newest, created: false, ops: vec![check] });
        }
        let number = newest.map_or(1, |newest| newest + 1);
        let parent = Op::Create { path: layout::configs(name), data: b"{}".to_vec() };
        let create = Op::Create { path: layout::config(name, number), data: encode(revision) };
        let ops = (!has_parent).then_some(parent).into_iter().chain([create]).collect();
        Ok(Self { number, created: true, ops })
    }
}

struct Set {
    changed: bool,
    target: Target,
}

async fn set(name: &ServiceName, number: u64, client: &Client) -> anyhow::Result<(Set, Op)> {
    let path = layout::desired(name);
    let node = client.get(&path).await?;
    let mut desired: Desired = match &node {
        Some(node) => document::must_read(&path, node, "fix it with `zkops apply`")?,
        None => Desired::default(),
    };
    desired.config_version = Some(number);
    let change = Change::to(path, node.as_ref(), &desired);
    let target = Target {
        service: name.clone(),
        aim: wait::Aim::of(desired.mode),
        desired_version: change.version_after(),
        service_version: 0,
    };
    let op = change.op()?;
    Ok((Set { changed: change.is_needed(), target }, op))
}

/// What became of a folder.
pub(in crate::cli) fn said(name: &ServiceName, number: u64, created: bool, revision: &ConfigRevision) -> String {
    if created {
        format!("config/{name} {number} created: {}", counted(revision.files.len(), "file"))
    } else {
        format!("config/{name} {number} unchanged: the newest revision has the same files")
    }
}

/// The shape for programs.
#[derive(Serialize)]
struct Document<'p> {
    service: &'p ServiceName,
    number: u64,
    /// Whether it is new; else the newest revision had the same files.
    created: bool,
    /// Whether it became the `config_version` that is wanted.
    set: bool,
}

impl Pushed {
    fn report(&self, args: &Args, revision: &ConfigRevision) -> anyhow::Result<()> {
        let (name, number) = (&args.service, self.number);
        if args.output.is_json() {
            let Self { created, set, .. } = *self;
            return Ok(render::out(&render::json_text(&Document { service: name, number, created, set })?)?);
        }
        render::line(&said(name, number, self.created, revision))?;
        if args.set {
            let said = if self.set { "configured" } else { "unchanged" };
            render::line(&format!("service/{name} {said}: config_version = {number}"))?;
        }
        if !self.used {
            let hint = format!("{name}'s description has no [config] section: hosts ignore the files until it has one");
            render::note(&hint);
        }
        Ok(())
    }
}
