//! Changing a document without losing what a newer zkops wrote into it: fields that this version does not know are
//! carried over, and every write names the version that was read.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::failure::Failure;
use crate::{
    model::{MAX_DOCUMENT_BYTES, decode, encode},
    tree::{node::Node, txn::Op},
};

/// A change to one document, or none.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The node.
    pub(super) path: String,
    /// What it holds now; `None` when there is no node. Data that is not JSON is kept as text.
    pub(super) before: Option<Value>,
    /// What it will hold.
    pub(super) after: Value,
    /// The node's version now; `None` when there is no node.
    version: Option<i32>,
    /// Whether it must be written.
    needed: bool,
}

impl Change {
    /// The change that makes the document at `path` mean `wanted`; what means the same already is left as it is.
    pub(super) fn to<T>(path: String, node: Option<&Node>, wanted: &T) -> Self
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        let before = node.map(value);
        let same = node.and_then(|node| decode::<T>(&node.data).ok()).is_some_and(|old| old == *wanted);
        let after = overlay(before.as_ref(), wanted);
        Self { path, before, after, version: node.map(|node| node.version), needed: !same }
    }

    /// The document as it is to be, written even if it means the same already: its new version says something.
    pub(super) fn always<T>(path: String, node: Option<&Node>, wanted: &T) -> Self
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        Self { needed: true, ..Self::to(path, node, wanted) }
    }

    /// Whether anything changes.
    pub(super) fn is_needed(&self) -> bool {
        self.needed
    }

    /// Whether the document is new.
    pub(super) fn is_new(&self) -> bool {
        self.version.is_none()
    }

    /// The version that the document has once the change is made.
    pub(super) fn version_after(&self) -> i32 {
        self.version.map_or(0, |version| version + i32::from(self.needed))
    }

    /// The change as part of a transaction; one that is not needed checks that it still is not.
    ///
    /// # Errors
    /// [`Failure::Input`] for a document that is larger than ZooKeeper could hold.
    pub(super) fn op(&self) -> Result<Op, Failure> {
        let (path, data) = (self.path.clone(), encode(&self.after));
        if data.len() > MAX_DOCUMENT_BYTES {
            let bytes = data.len();
            let text = format!("{path} would have {bytes} bytes, {MAX_DOCUMENT_BYTES} are allowed");
            return Err(Failure::Input(text));
        }
        Ok(match self.version {
            None => Op::Create { path, data },
            Some(version) if self.needed => Op::Set { path, data, version: Some(version) },
            Some(version) => Op::Check { path, version },
        })
    }
}

/// Reads the document of a node that must be good to be changed.
///
/// # Errors
/// [`Failure::Conflict`] with the path, what is wrong, and how to fix it.
pub(super) fn must_read<T: DeserializeOwned>(path: &str, node: &Node, fix: &str) -> Result<T, Failure> {
    decode(&node.data).map_err(|error| Failure::Conflict(format!("{path} cannot be read: {error}; {fix}")))
}

/// The node's JSON; data that is none, as text.
fn value(node: &Node) -> Value {
    let text = || Value::String(String::from_utf8_lossy(&node.data).into_owned());
    serde_json::from_slice(&node.data).unwrap_or_else(|_| text())
}

/// `wanted` as JSON, with the fields of `before` that `T` does not know.
fn overlay<T: Serialize + DeserializeOwned>(before: Option<&Value>, wanted: &T) -> Value {
    let mut after = serde_json::to_value(wanted).unwrap_or_default();
    let Some(before) = before else { return after };
    for path in unknown_paths::<T>(before) {
        graft(before, &mut after, &path);
    }
    after
}

/// The paths of the fields that `T` ignores.
fn unknown_paths<T: DeserializeOwned>(document: &Value) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        paths.insert(keys(&path));
    };
    // A document that is otherwise wrong gives up what was seen before the error.
    let _: Result<T, _> = serde_ignored::deserialize(document, &mut note);
    paths
}

fn keys(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    let (parent, key) = match path {
        Path::Root => return Vec::new(),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut keys = keys(parent);
    keys.extend(key);
    keys
}

/// Copies one value of `from` to the same place in `into`, making the objects on the way.
fn graft(from: &Value, into: &mut Value, path: &[String]) {
    let [key, rest @ ..] = path else {
        *into = from.clone();
        return;
    };
    let (Some(from), Value::Object(into)) = (from.get(key), into) else { return };
    graft(from, into.entry(key).or_insert_with(|| Map::new().into()), rest);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::model::{Desired, Mode, RestartPolicy, ServiceSpec};

    fn node(value: &Value, version: i32) -> Node {
        Node { data: serde_json::to_vec(value).unwrap(), version, mzxid: 1, ephemeral_owner: 0 }
    }

    #[test]
    fn what_a_newer_version_wrote_is_kept() {
        let old =
            json!({"unit": "a.service", "restart": {"delay": "2s", "steps": 3}, "placement": {"new": 1}, "x": [1]});
        let mut wanted: ServiceSpec = serde_json::from_value(old.clone()).unwrap();
        wanted.restart = RestartPolicy { limit_burst: 9, ..RestartPolicy::default() };
        wanted.port = Some(80);
        let change = Change::to("/services/a".into(), Some(&node(&old, 7)), &wanted);
        let restart = &change.after["restart"];
        assert_eq!(
            (&restart["delay"], &restart["limit_burst"], &restart["steps"]),
            (&json!("1s"), &json!(9), &json!(3))
        );
        assert_eq!((&change.after["placement"], &change.after["x"]), (&json!({"new": 1}), &json!([1])));
        assert_eq!(change.version_after(), 8);
        assert!(matches!(change.op(), Ok(Op::Set { version: Some(7), .. })));
    }

    #[test]
    fn what_means_the_same_is_left_alone() {
        let old = json!({"replicas": 2, "mode": "enabled", "later": true});
        let wanted = Desired { replicas: 2, ..Desired::default() };
        let change = Change::to("/d".into(), Some(&node(&old, 3)), &wanted);
        assert!(!change.is_needed());
        assert_eq!(change.version_after(), 3);
        assert!(matches!(change.op(), Ok(Op::Check { version: 3, .. })));
    }

    #[test]
    fn nonsense_is_replaced() {
        let junk = Node { data: b"{nonsense".to_vec(), version: 1, mzxid: 1, ephemeral_owner: 0 };
        let wanted = Desired { mode: Mode::Disabled, ..Desired::default() };
        let change = Change::to("/d".into(), Some(&junk), &wanted);
        assert_eq!(change.after, json!({"mode": "disabled", "replicas": 1}));
        assert_eq!(change.before, Some(json!("{nonsense")));
    }

    #[test]
    fn a_new_document_is_created() {
        let change = Change::to("/d".into(), None, &Desired::default());
        assert!(change.is_new() && change.is_needed());
        assert_eq!(change.version_after(), 0);
        assert!(matches!(change.op(), Ok(Op::Create { .. })));
    }
}
