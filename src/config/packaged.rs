//! The files that the packages bring (`packaging/etc`) show each key that there is, as a comment with its default.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

use rstest::rstest;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::{
    AgentSettings, CliSettings, ControllerSettings, agent::AgentFragment, cli::CliFragment,
    controller::ControllerFragment, zookeeper::ZooKeeperFragment,
};
use crate::model::Accepts;

/// Fails to give anything, but for the names that a type's fields have in a file.
struct Names<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        Err(Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn names<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut names = Vec::new();
    assert!(T::deserialize(Names(&mut names)).is_err());
    names
}

/// The keys that a file of this type may have, those of its sections with the section's name.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    let zookeeper = names::<ZooKeeperFragment>().into_iter().map(|key| format!("zookeeper.{key}"));
    names::<T>().into_iter().filter(|key| *key != "zookeeper").map(str::to_owned).chain(zookeeper).collect()
}

/// A packaged file with what it has as comments in force.
fn uncommented(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/etc").join(name);
    let text = fs::read_to_string(path).unwrap();
    let is_key = |line: &str| {
        let word = line.split(" = ").next().unwrap();
        line.contains(" = ") && word.chars().all(|c| c.is_ascii_lowercase() || c == '_') || line.starts_with('[')
    };
    let line = |line: &str| format!("{}\n", line.strip_prefix("# ").filter(|text| is_key(text)).unwrap_or(line));
    text.lines().map(line).collect()
}

#[rstest]
#[case("agent.toml", keys::<AgentFragment>())]
#[case("controller.toml", keys::<ControllerFragment>())]
#[case("cli.toml", keys::<CliFragment>())]
fn a_packaged_file_shows_every_key(#[case] name: &str, #[case] keys: BTreeSet<String>) {
    let table: toml::Table = uncommented(name).parse().unwrap();
    let shown = table.iter().flat_map(|(key, value)| match (key.as_str(), value) {
        ("zookeeper", toml::Value::Table(section)) => section.keys().map(|key| format!("zookeeper.{key}")).collect(),
        _ => vec![key.clone()],
    });
    assert_eq!(shown.collect::<BTreeSet<_>>(), keys, "packaging/etc/{name}");
}

/// What is shown is what is so without it; but for what has no default that would serve, which is an example.
#[test]
fn what_a_packaged_file_shows_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let load = |text: &str| AgentSettings::load(folder.path(), Some(&file("agent.toml", text))).unwrap();
    let (shown, default) = (load(&uncommented("agent.toml")), load("host = \"web1\""));
    let examples = AgentSettings {
        zookeeper: default.zookeeper.clone(),
        address: default.address.clone(),
        labels: default.labels.clone(),
        accepts: Accepts { units: default.accepts.units.clone(), ..shown.accepts.clone() },
        ..shown.clone()
    };
    assert_eq!(examples, default);
    assert_eq!(shown.zookeeper.session_timeout, default.zookeeper.session_timeout);

    let load = |text: &str| ControllerSettings::load(folder.path(), Some(&file("controller.toml", text))).unwrap();
    let (shown, default) = (load(&uncommented("controller.toml")), load("name = \"zk1\""));
    let examples = ControllerSettings { zookeeper: default.zookeeper.clone(), ..shown.clone() };
    assert_eq!(examples, default);
    assert_eq!(shown.zookeeper.session_timeout, default.zookeeper.session_timeout);

    let load = |text: &str| CliSettings::load(folder.path(), Some(&file("cli.toml", text))).unwrap();
    let (shown, default) = (load(&uncommented("cli.toml")), load(""));
    assert_eq!(shown.zookeeper.session_timeout, default.zookeeper.session_timeout);
}
