//! `/etc/zkops/cli.toml`.

use std::path::Path;

use serde::Deserialize;

use super::{
    ConfigError, ZooKeeperSettings,
    fragment::{self, Fragment},
    zookeeper::ZooKeeperFragment,
};

/// The CLI's configuration, complete. `--zookeeper` and `ZKOPS_ZOOKEEPER` go before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliSettings {
    /// Where ZooKeeper is.
    pub zookeeper: ZooKeeperSettings,
}

impl CliSettings {
    /// Reads the configuration below `root` (`/`), or the file `main` alone with its drop-ins.
    ///
    /// # Errors
    /// The first problem, in the order in which the files count.
    pub fn load(root: &Path, main: Option<&Path>) -> Result<Self, ConfigError> {
        fragment::load(root, main).map(Self::settle)
    }

    fn settle(fragment: CliFragment) -> Self {
        Self { zookeeper: fragment.zookeeper.settle() }
    }
}

/// One file of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CliFragment {
    zookeeper: ZooKeeperFragment,
}

impl Fragment for CliFragment {
    const NAME: &'static str = "cli";

    fn merge(&mut self, over: Self) {
        self.zookeeper.merge(over.zookeeper);
    }
}
