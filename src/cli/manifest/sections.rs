//! The file's sections and their keys, so that a key that is wrong is told what it should have been, and where.

use super::{fields, words};
use crate::model::{
    AptSource, ArchiveSource, ConfigPolicy, Desired, ExecCheck, ExecSource, HttpCheck, NixSource, Placement, Probe,
    Probes, RestartPolicy, RolloutPolicy, ServiceSpec, Source, SystemdCheck, TcpCheck, ZooKeeperCheck,
};

/// A section's keys; none where the operator makes them up.
type Keys = &'static [&'static str];

/// Every section and its keys, parents first.
fn known() -> Vec<(String, Keys)> {
    let section = |name: &str, keys: Keys| (name.to_owned(), keys);
    let mut known = vec![
        section("desired", fields::names::<Desired>()),
        section("placement", fields::names::<Placement>()),
        section("restart", fields::names::<RestartPolicy>()),
        section("environment", &[]),
        section("credentials", &[]),
        section("source", fields::names::<Source>()),
        section("source.archive", fields::names::<ArchiveSource>()),
        section("source.archive.sha256", &[]),
        section("source.apt", fields::names::<AptSource>()),
        section("source.nix", fields::names::<NixSource>()),
        section("source.exec", fields::names::<ExecSource>()),
        section("config", fields::names::<ConfigPolicy>()),
        section("rollout", fields::names::<RolloutPolicy>()),
        section("probes", fields::names::<Probes>()),
    ];
    for probe in fields::names::<Probes>() {
        let name = format!("probes.{probe}");
        let checks: [(&str, Keys); 5] = [
            ("systemd", fields::names::<SystemdCheck>()),
            ("tcp", fields::names::<TcpCheck>()),
            ("http", fields::names::<HttpCheck>()),
            ("exec", fields::names::<ExecCheck>()),
            ("zookeeper", fields::names::<ZooKeeperCheck>()),
        ];
        known.push((name.clone(), fields::names::<Probe>()));
        known.extend(checks.map(|(check, keys)| (format!("{name}.{check}"), keys)));
        known.push((format!("{name}.http.headers"), &[]));
    }
    known
}

/// Every section, parents first. Everything else stands at the file's top.
pub(super) fn all() -> Vec<String> {
    known().into_iter().map(|(name, _)| name).collect()
}

/// The keys at the file's top.
fn top() -> Vec<&'static str> {
    let keys = fields::names::<ServiceSpec>().iter().copied().filter(|key| *key != "deleting");
    keys.chain(["name", "desired"]).collect()
}

/// What to say of a key that does not exist: the name that was meant, here or in the section where it belongs.
pub(super) fn unknown(path: &str) -> String {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let known = known();
    if !section.is_empty() && top().contains(&key) && !relatives(&known, section).any(|(_, keys)| keys.contains(&key)) {
        return "unknown key; it belongs to the top of the file".to_owned();
    }
    if let Some((home, _)) = relatives(&known, section).find(|(_, keys)| keys.contains(&key)) {
        return format!("unknown key; it belongs to [{home}]");
    }
    let here = known.iter().find(|(name, _)| name == section).map_or_else(Vec::new, |(_, keys)| keys.to_vec());
    let here = if section.is_empty() { top() } else { here };
    let near = words::nearest(key, here);
    let homes: Vec<_> =
        known.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| format!("[{name}]")).collect();
    match (homes.as_slice(), near) {
        ([home], _) => format!("unknown key; it belongs to {home}"),
        ([first, second], None) => format!("unknown key; it belongs to {first} or {second}"),
        (_, near) => words::suggest("unknown key", near),
    }
}

/// The sections around and inside a section: a key at the wrong depth is meant for one of these.
fn relatives<'k>(known: &'k [(String, Keys)], section: &'k str) -> impl Iterator<Item = &'k (String, Keys)> {
    let inside = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    known.iter().filter(move |(name, _)| !section.is_empty() && (inside(section, name) || inside(name, section)))
}
