//! `zkops apply`: makes the tree say what description files say.
//!
//! All files are read and checked before the first write; each service is one transaction. The description is the
//! file's alone (a key left out has its default), of the desired state only the keys that the file sets are changed,
//! so that `zkops scale` and a file without `replicas` don't fight.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Map, Value};

use super::{
    context::Context,
    document::Change,
    failure::Failure,
    manifest::{self, Manifest},
    render,
    wait::{self, Aim, Target, WaitArgs},
};
use crate::{
    model::{Desired, Mode, ServiceName, ServiceSpec, ServiceStatus, decode},
    plan::txn::Op,
    store::{Client, Node, layout},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is the whole description: a key left out has its default.
Of [desired], only the keys that the file sets are changed; a new service
gets mode = \"enabled\" and replicas = 1 when they are left out.

Examples:
  zkops apply -f webapp.toml --wait
  zkops apply -f webapp.toml -f worker.toml --dry-run
  generate-services | zkops apply -f -")]
pub(super) struct Args {
    /// A service's description; may be given several times, `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Check everything and say what would be done, without doing it
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let mut targets = Vec::new();
    for manifest in &manifest::read_all(&args.files)? {
        let plan = if args.dry_run { preview(manifest, cx).await? } else { commit(manifest, cx).await? };
        let suffix = if args.dry_run { " (dry run)" } else { "" };
        render::line(&format!("service/{} {}{suffix}", plan.name, plan.outcome()))?;
        targets.push(plan.target());
    }
    wait::when_asked(&args.wait, targets, cx).await
}

async fn preview(manifest: &Manifest, cx: &Context) -> anyhow::Result<Plan> {
    let plan = Plan::read(manifest, &cx.connect_to_tree().await?).await?;
    plan.ops()?;
    Ok(plan)
}

async fn commit(manifest: &Manifest, cx: &Context) -> anyhow::Result<Plan> {
    cx.write(&format!("service/{}", manifest.name), async |client| {
        let plan = Plan::read(manifest, client).await?;
        Ok((plan.ops()?, plan))
    })
    .await
}

/// What applying one file changes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: ServiceName,
    pub(super) service: Change,
    pub(super) desired: Change,
    mode: Mode,
}

impl Plan {
    /// Reads what the tree says of the service, and compares.
    pub(super) async fn read(manifest: &Manifest, client: &Client) -> anyhow::Result<Self> {
        let service = client.get(&layout::service(&manifest.name)).await?;
        let desired = client.get(&layout::desired(&manifest.name)).await?;
        let status = client.get(&layout::status(&manifest.name)).await?;
        Self::new(manifest, service.as_ref(), desired.as_ref(), status.as_ref())
    }

    fn new(
        manifest: &Manifest,
        service: Option<&Node>,
        desired: Option<&Node>,
        status: Option<&Node>,
    ) -> anyhow::Result<Self> {
        let name = manifest.name.clone();
        if service.and_then(|node| decode(&node.data).ok()).is_some_and(|spec: ServiceSpec| spec.deleting) {
            let text = format!("service/{name} is being deleted; apply again when it is gone");
            return Err(Failure::Conflict(text).into());
        }
        let wanted = wanted(manifest, desired, status)?;
        Ok(Self {
            mode: wanted.mode,
            service: Change::to(layout::service(&name), service, &manifest.spec),
            desired: Change::to(layout::desired(&name), desired, &wanted),
            name,
        })
    }

    /// The transaction; empty when nothing changes.
    fn ops(&self) -> anyhow::Result<Vec<Op>> {
        Ok(vec![self.service.op()?, self.desired.op()?])
    }

    fn outcome(&self) -> &'static str {
        match (self.service.is_new(), self.service.is_needed() || self.desired.is_needed()) {
            (true, _) => "created",
            (false, true) => "configured",
            (false, false) => "unchanged",
        }
    }

    fn target(&self) -> Target {
        Target {
            service: self.name.clone(),
            aim: Aim::of(self.mode),
            desired_version: self.desired.version_after(),
            service_version: self.service.version_after(),
        }
    }
}

/// The desired state that the file asks for: what the tree has, with the file's keys set.
fn wanted(manifest: &Manifest, desired: Option<&Node>, status: Option<&Node>) -> anyhow::Result<Desired> {
    let mut keys = match desired.map(|node| decode::<Desired>(&node.data)) {
        None => Map::new(),
        Some(Ok(desired)) => object(&desired)?,
        // Nonsense in the tree is mended from what is in force, so that keys the file leaves out stay as they run.
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::model::{Accepted, encode};

    fn manifest(desired: Option<Value>) -> Manifest {
        let desired = desired.map(|keys| keys.as_object().unwrap().clone());
        let spec = ServiceSpec::new("w@.service".parse().unwrap());
        Manifest { source: "w.toml".into(), name: "w".parse().unwrap(), spec, desired }
    }

    fn node(data: Vec<u8>, version: i32) -> Node {
        Node { data, version, mzxid: 1, ephemeral_owner: 0 }
    }

    #[test]
    fn a_new_service_gets_the_defaults() {
        let plan = Plan::new(&manifest(Some(json!({"version": "v1"}))), None, None, None).unwrap();
        assert_eq!(plan.outcome(), "created");
        assert_eq!(plan.desired.after, json!({"mode": "enabled", "version": "v1", "replicas": 1}));
    }

    #[test]
    fn keys_that_the_file_leaves_out_stay() {
        let service = node(encode(&ServiceSpec::new("w@.service".parse().unwrap())), 2);
        let desired = node(br#"{"mode":"disabled","replicas":5,"version":"v1"}"#.to_vec(), 9);
        let plan = |keys| Plan::new(&manifest(keys), Some(&service), Some(&desired), None).unwrap();
        assert_eq!(plan(None).outcome(), "unchanged");
        assert_eq!(plan(Some(json!({"replicas": 5}))).outcome(), "unchanged");
        let changed = plan(Some(json!({"version": "v2"})));
        assert_eq!(changed.outcome(), "configured");
        assert_eq!(changed.desired.after, json!({"mode": "disabled", "replicas": 5, "version": "v2"}));
        assert_eq!((changed.target().service_version, changed.target().desired_version), (2, 10));
        assert_eq!(changed.target().aim, Aim::Disabled);
    }

    #[test]
    fn nonsense_is_mended_from_what_is_in_force() {
        let spec = ServiceSpec::new("w@.service".parse().unwrap());
        let service = node(encode(&spec), 0);
        let in_force = Desired { replicas: 4, ..Desired::default() };
        let accepted = Some(Accepted { service: spec, desired: in_force });
        let status = node(encode(&ServiceStatus { accepted, ..ServiceStatus::default() }), 3);
        let junk = node(b"{".to_vec(), 1);
        let plan = Plan::new(&manifest(None), Some(&service), Some(&junk), Some(&status)).unwrap();
        assert_eq!(plan.desired.after, json!({"mode": "enabled", "replicas": 4}));
        assert_eq!(plan.outcome(), "configured");
    }

    #[test]
    fn a_service_on_its_way_out_is_not_applied_to() {
        let mut spec = ServiceSpec::new("w@.service".parse().unwrap());
        spec.deleting = true;
        let error = Plan::new(&manifest(None), Some(&node(encode(&spec), 0)), None, None).unwrap_err();
        assert_eq!(super::super::failure::code(&error), 4);
    }
}
