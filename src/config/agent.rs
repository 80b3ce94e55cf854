//! `/etc/zkops/agent.toml`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Check, ConfigError, ZooKeeperSettings,
    fragment::{self, Fragment, OwnHost, lay, own_host_or_system},
    zookeeper::ZooKeeperFragment,
};
use crate::model::{Accepts, AllowedUnits, HostName, Pattern};

/// The agent's configuration, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// Where ZooKeeper is.
    pub zookeeper: ZooKeeperSettings,
    /// This host's name in the tree; the system's host name by default.
    pub host: HostName,
    /// The address that `instances` publish; none by default.
    pub address: Option<String>,
    /// This host's labels.
    pub labels: BTreeMap<String, String>,
    /// What may be run here: units that may be driven; a unit file's text or commands from the tree, which is to say
    /// anything as root; packages. Nothing by default. A limited agent makes do with what its own user may ask of systemd:
    /// it drives units that are installed, writes none of systemd's files and never has them read again.
    pub accepts: Accepts,
    /// Whether the last line that a unit wrote before it failed goes into its replica's status, which whoever may read
    /// the tree can read. On by default.
    pub publish_output: bool,
    /// Where the last accepted work is kept; `/var/lib/zkops/agent` by default.
    pub state_dir: PathBuf,
    /// Where releases and configurations are kept, below `releases` and `config`; `/var/lib/zkops` by default.
    pub data_dir: PathBuf,
    /// What renders the templates of configurations: zkops, which is this process's own program. No key of the file.
    pub program: PathBuf,
}

impl AgentSettings {
    /// Reads the configuration below `root` (`/`), or the file `main` alone with its drop-ins.
    ///
    /// # Errors
    /// The first problem, in the order in which the files count.
    pub fn load(root: &Path, main: Option<&Path>) -> Result<Self, ConfigError> {
        Self::settle(fragment::load(root, main)?)
    }

    /// Reads the configuration as [`Self::load`] does, and tells all that is wrong with it.
    pub fn check(root: &Path, main: Option<&Path>) -> Check {
        fragment::check(root, main, Self::settle)
    }

    fn settle(fragment: AgentFragment) -> Result<Self, ConfigError> {
        let limited = fragment.limited.unwrap_or_default();
        if let Some(key) = fragment.needs_root().filter(|_| limited) {
            let message = format!("limited and {key} exclude each other: {key} takes root. Take one of them back");
            return Err(ConfigError::Conflict { message });
        }
        Ok(Self {
            publish_output: fragment.publish_output.unwrap_or(true),
            zookeeper: fragment.zookeeper.settle(),
            host: own_host_or_system(fragment.host, "host")?,
            address: fragment.address.map(|address| address.0),
            labels: fragment.labels.into_iter().map(|(key, value)| (key.0, value.0)).collect(),
            accepts: Accepts {
                units: AllowedUnits::new(fragment.allowed_units.unwrap_or_default()),
                unit_files: fragment.accept_unit_files.unwrap_or_default(),
                commands: fragment.accept_commands.unwrap_or_default(),
                packages: fragment.accept_packages.unwrap_or_default(),
                limited,
            },
            data_dir: fragment.data_dir.map_or_else(|| "/var/lib/zkops".into(), |dir| dir.0),
            state_dir: fragment.state_dir.map_or_else(|| "/var/lib/zkops/agent".into(), |dir| dir.0),
            // Still the same one when an upgrade has put another into its place.
            program: "/proc/self/exe".into(),
        })
    }
}

/// One file of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AgentFragment {
    zookeeper: ZooKeeperFragment,
    host: Option<OwnHost>,
    address: Option<Address>,
    labels: BTreeMap<Word, Word>,
    allowed_units: Option<Vec<Pattern>>,
    accept_unit_files: Option<bool>,
    accept_commands: Option<bool>,
    accept_packages: Option<bool>,
    limited: Option<bool>,
    publish_output: Option<bool>,
    data_dir: Option<AbsolutePath>,
    state_dir: Option<AbsolutePath>,
}

impl AgentFragment {
    /// A key that is set and takes an agent that is root.
    fn needs_root(&self) -> Option<&'static str> {
        let keys = [
            ("accept_unit_files", self.accept_unit_files),
            ("accept_commands", self.accept_commands),
            ("accept_packages", self.accept_packages),
        ];
        keys.into_iter().find(|(_, value)| *value == Some(true)).map(|(key, _)| key)
    }
}

impl Fragment for AgentFragment {
    const NAME: &'static str = "agent";

    /// Labels are laid over each other one by one. Patterns add up, so that each package can allow its own units; an
    /// empty list takes back all that came before it (as empty assignments do in systemd's files).
    fn merge(&mut self, over: Self) {
        self.zookeeper.merge(over.zookeeper);
        lay(&mut self.host, over.host);
        lay(&mut self.address, over.address);
        self.labels.extend(over.labels);
        lay(&mut self.accept_unit_files, over.accept_unit_files);
        lay(&mut self.accept_commands, over.accept_commands);
        lay(&mut self.accept_packages, over.accept_packages);
        lay(&mut self.limited, over.limited);
        lay(&mut self.publish_output, over.publish_output);
        lay(&mut self.data_dir, over.data_dir);
        lay(&mut self.state_dir, over.state_dir);
        match over.allowed_units {
            Some(patterns) if patterns.is_empty() => self.allowed_units = None,
            Some(patterns) => self.allowed_units.get_or_insert_default().extend(patterns),
            None => {}
        }
    }
}

/// What clients of the services connect to.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.parse::<std::net::IpAddr>().is_ok() || text.to_lowercase().parse::<HostName>().is_ok() {
            return Ok(Self(text));
        }
        Err(format!("\"{text}\" is neither an IP address nor a host name (the port is the service's)"))
    }
}

/// A label's key or value, as selectors can name it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Word(String);

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !text.is_empty() && text.chars().all(good) {
            return Ok(Self(text));
        }
        Err(format!("\"{text}\" is not a label's key or value: use letters, digits and -_./"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "PathBuf")]
struct AbsolutePath(PathBuf);

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        if path.is_absolute() {
            return Ok(Self(path));
        }
        Err(format!("\"{}\" is not an absolute path: it must start with /", path.display()))
    }
}
