//! A service: what it is (`/services/<svc>`) and what should run of it (`/services/<svc>/desired`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Amount, ConfigPolicy, Probes, Problem, RestartPolicy, Revision, RolloutPolicy, RunSettings, Selector, Source, Span,
    Template, UnitName,
    check::{MAX_VERSION_BYTES, line_problems, version_problems},
    run_settings::untidy_paths,
};

/// `/services/<svc>`: the service's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The unit that each replica runs as: `webapp.service` (at most one replica on a host) or a template
    /// `webapp@.service` (replica 1 is `webapp@0000000001.service`).
    pub unit: UnitName,
    /// The unit file's text, for a service that no package installs; written to `/run/systemd/system/`.
    /// The agent's `accept_unit_files` must allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_file: Option<String>,
    /// The TCP port that the replicas serve on, published in `instances`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How long a host may be gone before its replicas are placed elsewhere. Counts from the end of its session.
    #[serde(default = "default_lost_after")]
    pub lost_after: Span,
    /// How long a replica keeps running after it left `instances`, before it is stopped, in mode `drain`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain_time: Span,
    /// How many replicas may be not ready at once through planned changes: host drain, new version or config. One
    /// budget for all of them, from which those that are not ready for any other reason are taken, too. A share counts
    /// down, but never to less than 1 unless `rollout.max_surge` lets the service change all the same.
    #[serde(default = "one_replica", skip_serializing_if = "is_one_replica")]
    pub max_unavailable: Amount,
    /// After an orderly shutdown of a host: wait `lost_after` for it to come back (`true`), or replace its
    /// replicas at once (`false`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_for_reboot: bool,
    /// Where replicas may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// How systemd restarts a replica that fails; becomes the generated drop-in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// Environment variables of each replica, beside the `ZKOPS_` ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Secrets: systemd credentials (`LoadCredential=`), by name the file on the host that has it. The secrets
    /// themselves are never in the tree.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// Where its versions come from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source: Source,
    /// How a configuration revision comes into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigPolicy>,
    /// Whether a replica is ready, and whether it is alive.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probes: Probes,
    /// How changes are rolled out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: RolloutPolicy,
    /// Set by `zkops delete`: replicas are drained, then the service is removed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleting: bool,
}

impl ServiceSpec {
    /// The largest description, in bytes: the service's status and each replica's assignment repeat it, and several
    /// of them have to fit into one transaction below ZooKeeper's 1 MiB.
    pub const MAX_BYTES: usize = 128 * 1024;

    /// A description with every default, for `unit`.
    pub fn new(unit: UnitName) -> Self {
        Self {
            unit,
            unit_file: None,
            port: None,
            lost_after: default_lost_after(),
            drain_time: Span::ZERO,
            max_unavailable: Amount::Count(1),
            wait_for_reboot: false,
            placement: Placement::default(),
            restart: RestartPolicy::default(),
            environment: BTreeMap::new(),
            credentials: BTreeMap::new(),
            source: Source::default(),
            config: None,
            probes: Probes::default(),
            rollout: RolloutPolicy::default(),
            deleting: false,
        }
    }

    /// How many replicas one host may run; `None` = no limit.
    pub fn max_per_host(&self) -> Option<u32> {
        if self.unit.is_template() { self.placement.max_per_host } else { Some(1) }
    }

    /// What is wrong with the description beyond its shape, so that nobody may act on it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |bad: bool, key: &str, message: &str| {
            if bad {
                problems.push(Problem::new(key, message));
            }
        };
        let plain_instance = self.unit.as_str().contains('@') && !self.unit.is_template();
        check(plain_instance, "unit", "names one instance; name the template (PREFIX@.service) or a plain unit");
        check(self.placement.max_per_host == Some(0), "placement.max_per_host", "must be 1 or more");
        check(
            !self.unit.is_template() && self.placement.max_per_host.is_some_and(|max| max > 1),
            "placement.max_per_host",
            "a plain unit runs at most once on a host; use a template unit (PREFIX@.service)",
        );
        problems.extend(line_problems(self.placement.spread.iter().map(|key| ("placement.spread".to_owned(), &**key))));
        problems.extend(RunSettings::from(self).problems());
        problems.extend(self.rollout.problems(self.max_unavailable));
        problems
    }

    /// What a new description must not say, beside [`Self::problems`]. Earlier releases let it pass, and it does no harm to a
    /// host: a description in the tree that says it stays in force.
    pub fn flaws(&self) -> Vec<Problem> {
        let of_credentials = untidy_paths(&self.credentials);
        self.restart.flaws().into_iter().chain(of_credentials).collect()
    }

    /// How many of `total` replicas may be not ready through planned changes, and how many more than `total` a rollout
    /// may run. Never none and none: nothing could ever change.
    pub fn budget(&self, total: usize) -> (usize, usize) {
        match (self.max_unavailable.floor(total), self.rollout.max_surge.ceil(total)) {
            (0, 0) => (1, 0),
            budget => budget,
        }
    }

    /// What replicas run by, as it says now.
    pub fn template(&self) -> Template {
        Template {
            unit_file: self.unit_file.clone(),
            port: self.port,
            drain_time: self.drain_time,
            restart: self.restart.clone(),
            environment: self.environment.clone(),
            credentials: self.credentials.clone(),
            source: self.source.clone(),
            config: self.config.clone(),
            probes: self.probes.clone(),
        }
    }

    /// What replicas run once what both say is rolled out.
    pub fn revision(&self, desired: &Desired) -> Revision {
        let Desired { version, config_version, .. } = desired.clone();
        Revision { version, config_version, unit: self.unit.clone(), template: self.template() }
    }

    /// Whether replicas that run this revision run by what the description says now.
    pub fn is_brought_by(&self, revision: &Revision) -> bool {
        self.unit == revision.unit && RunSettings::from(self) == (&revision.template).into()
    }

    /// Has it say what replicas of this revision run by.
    pub fn go_back_to(&mut self, revision: &Revision) {
        let Revision { version: _, config_version: _, unit, template } = revision.clone();
        let Template { unit_file, port, drain_time, restart, environment, credentials, source, config, probes } =
            template;
        *self = Self {
            unit,
            unit_file,
            port,
            drain_time,
            restart,
            environment,
            credentials,
            source,
            config,
            probes,
            ..self.clone()
        };
    }
}

/// Names every field, so that one that is added to [`Template`] cannot be forgotten here: it would be neither checked nor
/// rolled out.
impl<'a> From<&'a ServiceSpec> for RunSettings<'a> {
    fn from(spec: &'a ServiceSpec) -> Self {
        let ServiceSpec {
            unit: _,
            unit_file,
            port,
            lost_after: _,
            drain_time,
            max_unavailable: _,
            wait_for_reboot: _,
            placement: _,
            restart,
            environment,
            credentials,
            source,
            config,
            probes,
            rollout: _,
            deleting: _,
        } = spec;
        let (unit_file, port, drain_time, config) = (unit_file.as_deref(), *port, *drain_time, config.as_ref());
        Self { unit_file, port, drain_time, restart, environment, credentials, source, config, probes }
    }
}

/// `/services/<svc>/desired`: what should run. The operator's, by the CLI or by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Whether the replicas run.
    #[serde(default)]
    pub mode: Mode,
    /// The version to run; what it means is up to the service's `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many replicas there are.
    #[serde(default = "one")]
    pub replicas: u32,
    /// The configuration revision to run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
}

impl Desired {
    /// The most replicas one service may have: far above any fleet, far below what would drown ZooKeeper.
    pub const MAX_REPLICAS: u32 = 10_000;

    /// The longest `version`, in bytes; each replica repeats it, in four places.
    pub const MAX_VERSION_BYTES: usize = MAX_VERSION_BYTES;

    /// What is wrong with the document beyond its shape.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.replicas > Self::MAX_REPLICAS {
            problems.push(Problem::new("replicas", format!("{} is more than {}", self.replicas, Self::MAX_REPLICAS)));
        }
        problems.extend(self.version.iter().flat_map(|version| version_problems("version", version)));
        problems
    }
}

impl Default for Desired {
    fn default() -> Self {
        Self { mode: Mode::Enabled, version: None, replicas: 1, config_version: None }
    }
}

/// Whether replicas run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They run.
    #[default]
    Enabled,
    /// They are stopped at once; they keep their numbers and hosts.
    Disabled,
    /// They leave `instances`, run on for the drain time, then are stopped; they keep their numbers and hosts.
    Drain,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Drain => "drain",
        })
    }
}

/// Where replicas may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Label selectors that a host must all match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Selector>,
    /// A host label over whose values the replicas are spread evenly, such as `rack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// How many replicas one host may run; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_host: Option<u32>,
    /// In which order replicas leave a host: one that drains, or whose labels no longer match.
    #[serde(rename = "move", skip_serializing_if = "is_default")]
    pub move_order: MoveOrder,
}

/// What comes first when a replica has to leave a host that works. With `max_unavailable` 0 it is always the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveOrder {
    /// It is stopped, within `max_unavailable`, then started elsewhere under the same number.
    #[default]
    StopFirst,
    /// Another replica, with a number of its own, is started elsewhere; once that is ready, this one is stopped and
    /// removed.
    StartFirst,
}

const fn default_lost_after() -> Span {
    Span::from_secs(10)
}

const fn one() -> u32 {
    1
}

const fn one_replica() -> Amount {
    Amount::Count(1)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_one_replica(amount: &Amount) -> bool {
    matches!(amount, Amount::Count(1))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
