//! Whatever is written where a document belongs, it is read and checked, or refused: no panic, and nothing passes the
//! checks that a check would refuse. Documents of a corpus are changed at random, byte by byte and part by part.
//!
//! One target a kind of document: `tests/fuzz/corpus/<kind>/*` are its good and bad examples, and what was once found to
//! fail. `ZKOPS_FUZZ_SECONDS` says how long each target is tried (a fraction of a second without it), `ZKOPS_FUZZ_SEED`
//! where its random numbers begin: a failure tells both the seed and the document.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use rstest::rstest;

use crate::{
    config::{AgentSettings, ConfigError, ControllerSettings},
    ledger::LedgerFile,
    model::{
        CheckedAssignment, ConfigRevision, Desired, Folders, HostAlive, HostName, HostSpec, Instance, ReplicaDesired,
        ReplicaId, ReplicaStatus, Rollout, RolloutOrder, ServiceSpec, ServiceStatus, UnitName, decode, drop_in, encode,
        restart_key, variables,
    },
    tree::{layout, snapshot::Cluster},
};

#[rstest]
#[case("assignment", assignment)]
#[case("ledger", ledger)]
#[case("service", service)]
#[case("desired", document::<Desired>)]
#[case("status", status)]
#[case("rollout", rollout)]
#[case("rollout-order", document::<RolloutOrder>)]
#[case("replica-desired", document::<ReplicaDesired>)]
#[case("replica-status", document::<ReplicaStatus>)]
#[case("instance", document::<Instance>)]
#[case("alive", document::<HostAlive>)]
#[case("host", document::<HostSpec>)]
#[case("config", document::<ConfigRevision>)]
#[case("unit-name", unit_name)]
#[case("manifest", crate::cli::read_manifests)]
#[case("agent-settings", agent_settings)]
#[case("controller-settings", controller_settings)]
fn no_document_does_harm(#[case] kind: &str, #[case] target: fn(&[u8])) {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default);
    let seed = number("ZKOPS_FUZZ_SEED", 1);
    let limit = Duration::from_secs(number("ZKOPS_FUZZ_SECONDS", 0)).max(Duration::from_millis(150));
    let corpus = corpus(kind);
    for document in &corpus {
        attempt(target, document, seed);
    }
    let (began, mut random) = (Instant::now(), Random(seed));
    while began.elapsed() < limit {
        let document = mutate(&corpus, &mut random);
        attempt(target, &document, seed);
    }
}

fn attempt(target: fn(&[u8]), document: &[u8], seed: u64) {
    let ended = catch_unwind(AssertUnwindSafe(|| target(document)));
    assert!(ended.is_ok(), "seed {seed}, put it into the corpus: {}", String::from_utf8_lossy(document).escape_debug());
}

fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(kind);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Words that mean something to systemd, to JSON, to a file system or to a clock.
const WORDS: [&str; 24] = [
    "\\n",
    "\\\\",
    "\\u0000",
    "\\u0085",
    "\\r",
    "%n",
    "%",
    ":",
    "/",
    "..",
    "/../",
    "\"",
    "{",
    "}",
    "null",
    "-1",
    "0",
    "4294967296",
    "\"9223372036854775807s\"",
    "1e999",
    "@.service",
    "-.service",
    "\\nExecStartPre=+/bin/sh\\n",
    "\u{feff}",
];

/// One document of the corpus with a few changes: bytes, words, and parts of itself or of another.
fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut document = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(document.len() + 1);
        match random.below(6) {
            0 if at < document.len() => document[at] = u8::try_from(random.below(256)).unwrap(),
            1 if at < document.len() => document[at] ^= 1 << random.below(8),
            2 => drop(document.drain(at..(at + random.below(8)).min(document.len()))),
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                drop(document.splice(at..at, part));
            }
            // In place of a string or a number of the document, where it is read as one.
            4 => {
                let end =
                    document[at..].iter().position(|byte| b",:}\"".contains(byte)).map_or(document.len(), |it| at + it);
                drop(document.splice(at..end, WORDS[random.below(WORDS.len())].bytes()));
            }
            _ => drop(document.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
        }
    }
    document
}

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }
}

fn document<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
    match decode::<T>(data) {
        // What is read is what is written.
        Ok(document) => assert_eq!(decode::<T>(&encode(&document)).ok().as_ref(), Some(&document)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assignment(data: &[u8]) {
    document::<CheckedAssignment>(data);
    if let Ok(assignment) = decode::<CheckedAssignment>(data) {
        renders(&assignment);
    }
}

/// The lines that are meant, and no others.
fn renders(assignment: &CheckedAssignment) {
    let (id, host): (ReplicaId, HostName) = ("webapp.0000000001".parse().unwrap(), "web1".parse().unwrap());
    assert!(!assignment.unit.is_template());
    let files = Path::new("/run/systemd/system").join(format!("{}.d", assignment.unit)).join("50-zkops.env");
    assert_eq!(files.components().count(), 6, "{}", files.display());
    let text = drop_in(assignment, &id, &files, 257);
    let once = [
        "Before",
        "StartLimitIntervalSec",
        "StartLimitBurst",
        "Restart",
        "RestartSec",
        "RestartSteps",
        "RestartMaxDelaySec",
        "WatchdogSec",
        "EnvironmentFile",
    ];
    let known = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key);
        key.is_some_and(|key| once.contains(&key) || matches!(key, "Environment" | "LoadCredential"))
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with('['));
    assert!(lines.clone().all(|line| known(line) && !line.ends_with('\\')), "{text}");
    let count = |key: &str| lines.clone().filter(|line| line.starts_with(&format!("{key}="))).count();
    assert_eq!(count("Environment"), assignment.template.environment.len(), "{text}");
    assert_eq!(count("LoadCredential"), assignment.template.credentials.len(), "{text}");
    assert!(once.iter().all(|key| count(key) <= 1), "{text}");
    let told = variables(assignment, &id, &host, &Folders::default());
    assert!(told.lines().skip(1).all(|line| line.starts_with("ZKOPS_")), "{told}");
    assert_eq!(restart_key(assignment, &Folders::default()).len(), 32);
}

fn ledger(data: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ledger.json"), data).unwrap();
    let file = LedgerFile::in_dir(dir.path());
    for record in file.load().ledger.replicas.into_values() {
        renders(&record.assignment);
        record.before.iter().for_each(|before| renders(before));
    }
}

fn service(data: &[u8]) {
    document::<ServiceSpec>(data);
    let problems = decode::<ServiceSpec>(data).map(|spec| spec.problems()).unwrap_or_default();
    assert!(problems.iter().all(|problem| !problem.to_string().chars().any(char::is_control)), "{problems:?}");
    take_in(&layout::service(&"webapp".parse().unwrap()), data);
}

fn status(data: &[u8]) {
    document::<ServiceStatus>(data);
    let view = take_in(&layout::status(&"webapp".parse().unwrap()), data);
    let status = view.services.values().find_map(|view| view.status.as_ref()?.good().cloned());
    let accepted = status.and_then(|status| status.accepted);
    assert!(accepted.is_none_or(|accepted| accepted.service.problems().is_empty()));
}

fn rollout(data: &[u8]) {
    document::<Rollout>(data);
    let view = take_in(&layout::rollout(&"webapp".parse().unwrap(), 1), data);
    let records = view.services.values().flat_map(|view| view.rollouts.values()).filter_map(|doc| doc.good());
    assert!(records.into_iter().all(|record| record.problems().is_empty()));
}

/// The leader's picture of a tree with this node.
fn take_in(path: &str, data: &[u8]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.apply(path, Some((data, 1)));
    cluster
}

fn agent_settings(data: &[u8]) {
    settings(data, |file| AgentSettings::load(Path::new("/"), Some(file)).map(drop));
}

fn controller_settings(data: &[u8]) {
    settings(data, |file| {
        let settings = ControllerSettings::load(Path::new("/"), Some(file))?;
        assert!((0.0..=1.0).contains(&settings.failover_max_fraction), "{}", settings.failover_max_fraction);
        Ok(())
    });
}

/// They are read, or refused by the file's name.
fn settings(data: &[u8], load: impl Fn(&Path) -> Result<(), ConfigError>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    fs::write(&file, data).unwrap();
    if let Err(error @ (ConfigError::Invalid { .. } | ConfigError::Unreadable { .. })) = load(&file) {
        let told = error.to_string();
        assert!(told.contains("settings.toml") && !told.contains('\n'), "{told}");
    }
}

fn unit_name(data: &[u8]) {
    let Ok(unit) = String::from_utf8_lossy(data).parse::<UnitName>() else { return };
    let instance = unit.for_replica(crate::model::ReplicaNumber(u32::MAX));
    for unit in [&unit, &instance, &instance.file_name()] {
        let folder = format!("{unit}.d");
        assert!(folder.len() <= 255 && !folder.contains('/') && !folder.contains(char::is_control), "{folder}");
        let stem = unit.as_str().strip_suffix(".service").unwrap();
        assert!(!stem.split('@').next().unwrap().ends_with('-'), "{unit}");
    }
    assert!(!instance.is_template());
}
