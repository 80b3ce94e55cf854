//! `zkops dump`: the whole tree as one document, for `zkops plan --from`, and for whoever wants to look at it later.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{context::Context, failure::Failure, render};
use crate::{
    store::{self, subtree::Reads},
    tree::{copy::Stored, layout, node::Node},
};

/// What a dump says it is.
const FORMAT: &str = "zkops-dump";
/// The only version there is so far.
const VERSION: u32 = 1;
/// ZooKeeper's own, in the root of all.
const ZOOKEEPERS_OWN: &str = "/zookeeper";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The dump has all that the tree has: also what services' environments and
configurations keep secret. It is read while others write, so it is not one point
in time.

Example:
  zkops dump > tree.json; zkops plan --from tree.json --lose web1 web2")]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, cx: &Context) -> anyhow::Result<()> {
    let client = cx.connect_to_tree().await?;
    let made = Timestamp::now();
    let reads = |path: &str| if path == ZOOKEEPERS_OWN { Reads::Nothing } else { Reads::Whole };
    let mut nodes = store::subtree::read_stored(&client, "/", reads).await?;
    nodes.remove("/");
    Ok(render::out(&render::json_text(&Dump::of(&nodes, made))?)?)
}

/// The document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dump {
    format: String,
    version: u32,
    /// When it was begun.
    made: Timestamp,
    nodes: Vec<Dumped>,
}

/// One node. Its data is JSON, or in base64, or none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dumped {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    version: i32,
    created: u32,
    mzxid: i64,
    ephemeral_owner: i64,
}

impl Dump {
    fn of(nodes: &BTreeMap<String, Stored>, made: Timestamp) -> Self {
        let nodes = nodes.iter().map(|(path, stored)| Dumped::of(path, stored)).collect();
        Self { format: FORMAT.to_owned(), version: VERSION, made, nodes }
    }

    /// Reads a file that `zkops dump` wrote: when it was made, and the nodes.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the file, what is wrong with it, and what would fix that.
    pub(super) fn read(file: &Path) -> anyhow::Result<(Timestamp, BTreeMap<String, Stored>)> {
        let name = file.display();
        let text = std::fs::read(file).map_err(|error| Failure::Input(format!("cannot read {name}: {error}")))?;
        let nodes = Self::parse(&text).map_err(|why| Failure::Input(format!("{name}: {why}")));
        nodes.context("cannot use the dump (`zkops dump > FILE` makes one)")
    }

    fn parse(text: &[u8]) -> Result<(Timestamp, BTreeMap<String, Stored>), String> {
        let head: Value = serde_json::from_slice(text).map_err(|error| format!("is no JSON: {error}"))?;
        if head.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(format!("format: must be \"{FORMAT}\""));
        }
        if head.get("version").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
            return Err(format!("version: must be {VERSION}; a newer zkops reads what a newer one wrote"));
        }
        let dump: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let nodes = dump.nodes.into_iter().map(Dumped::stored).collect::<Result<BTreeMap<_, _>, _>>()?;
        let orphan = nodes.keys().find(|path| parent(path).is_some_and(|parent| !nodes.contains_key(parent)));
        if let Some(path) = orphan {
            return Err(format!("nodes: {path} is there, and the node above it is not"));
        }
        match [layout::SERVICES, layout::HOSTS].iter().find(|root| !nodes.contains_key(**root)) {
            Some(root) => Err(format!("nodes: there is no {root}: is it a dump of another chroot?")),
            None => Ok((dump.made, nodes)),
        }
    }
}

impl Dumped {
    fn of(path: &str, Stored { node, created }: &Stored) -> Self {
        // A key that is null reads as one that is not there.
        let json = serde_json::from_slice(&node.data).ok().filter(|json: &Value| !json.is_null());
        let base64 = (json.is_none() && !node.data.is_empty()).then(|| BASE64_STANDARD.encode(&node.data));
        let (version, mzxid, ephemeral_owner) = (node.version, node.mzxid, node.ephemeral_owner);
        Self { path: path.to_owned(), json, base64, version, created: *created, mzxid, ephemeral_owner }
    }

    fn stored(self) -> Result<(String, Stored), String> {
        let Self { path, json, base64, version, created, mzxid, ephemeral_owner } = self;
        if !path.starts_with('/') {
            return Err(format!("nodes: path: \"{path}\" does not begin with /"));
        }
        let data = match (json, base64) {
            (Some(_), Some(_)) => return Err(format!("nodes: {path}: has json and base64: leave one out")),
            (Some(json), None) => json.to_string().into_bytes(),
            (None, Some(text)) => {
                BASE64_STANDARD.decode(text).map_err(|error| format!("nodes: {path}: base64: {error}"))?
            }
            (None, None) => Vec::new(),
        };
        Ok((path, Stored { node: Node { data, version, mzxid, ephemeral_owner }, created }))
    }
}

/// The path above, unless that is the root.
fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn nodes() -> BTreeMap<String, Stored> {
        let node = |data: &[u8], created| Stored {
            node: Node { data: data.to_vec(), version: 3, mzxid: 7, ephemeral_owner: 9 },
            created,
        };
        let nodes =
            [("/services", &b"{}"[..]), ("/hosts", b""), ("/hosts/web1", b"\xff{nonsense"), ("/audit", b"null")];
        (1..).zip(nodes).map(|(created, (path, data))| (path.to_owned(), node(data, created))).collect()
    }

    #[test]
    fn what_is_dumped_is_read_as_it_was() {
        let made = "2026-11-22T18:00:00Z".parse().unwrap();
        let text = serde_json::to_vec(&Dump::of(&nodes(), made)).unwrap();
        assert_eq!(Dump::parse(&text).unwrap(), (made, nodes()));
    }

    #[test]
    fn nonsense_is_named() {
        let of = |nodes: &str| {
            format!(r#"{{"format": "zkops-dump", "version": 1, "made": "2026-11-22T18:00:00Z", "nodes": [{nodes}]}}"#)
        };
        let node = |keys: &str| format!(r#"{{{keys}, "version": 0, "created": 0, "mzxid": 0, "ephemeral_owner": 0}}"#);
        for (text, told) in [
            ("x".to_owned(), "is no JSON"),
            ("{}".to_owned(), "format: must be \"zkops-dump\""),
            (of("").replace(": 1,", ": 2,"), "version: must be 1"),
            (of("").replace("made", "mode"), "unknown field `mode`"),
            (of(""), "there is no /services"),
            (of(&node(r#""path": "services""#)), "does not begin with /"),
            (of(&node(r#""path": "/a", "base64": "?""#)), "/a: base64: "),
            (of(&node(r#""path": "/a", "json": 1, "base64": """#)), "/a: has json and base64"),
            (of(&node(r#""path": "/a/b""#)), "/a/b is there, and the node above it is not"),
        ] {
            let why = Dump::parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(told), "{text}: {why}");
        }
    }
}
