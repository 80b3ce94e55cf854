//! `/etc/zkops/controller.toml`.

use std::path::Path;

use serde::Deserialize;

use super::{
    Check, ConfigError, ZooKeeperSettings,
    fragment::{self, Fragment, host_or_system, lay},
    zookeeper::ZooKeeperFragment,
};
use crate::model::HostName;

/// Past this part of the hosts lost at once, the network is likelier to have failed than they.
const FAILOVER_MAX_FRACTION: f64 = 0.55;

/// The controller's configuration, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerSettings {
    /// Where ZooKeeper is.
    pub zookeeper: ZooKeeperSettings,
    /// What this controller calls itself in the election; the system's host name by default.
    pub name: String,
    /// The part of the known hosts that may be lost before nothing is failed over any more; 0.55 by default.
    pub failover_max_fraction: f64,
}

impl ControllerSettings {
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

    fn settle(fragment: ControllerFragment) -> Result<Self, ConfigError> {
        Ok(Self {
            zookeeper: fragment.zookeeper.settle(),
            name: host_or_system(fragment.name, "name")?.to_string(),
            failover_max_fraction: fragment.failover_max_fraction.map_or(FAILOVER_MAX_FRACTION, |fraction| fraction.0),
        })
    }
}

/// One file of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ControllerFragment {
    zookeeper: ZooKeeperFragment,
    name: Option<HostName>,
    failover_max_fraction: Option<Fraction>,
}

impl Fragment for ControllerFragment {
    const NAME: &'static str = "controller";

    fn merge(&mut self, over: Self) {
        self.zookeeper.merge(over.zookeeper);
        lay(&mut self.name, over.name);
        lay(&mut self.failover_max_fraction, over.failover_max_fraction);
    }
}

/// More than nothing, at most everything.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Fraction(f64);

impl TryFrom<f64> for Fraction {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if value > 0.0 && value <= 1.0 {
            Ok(Self(value))
        } else {
            Err(format!("{value} is not a fraction: write a number above 0, at most 1, as in 0.55"))
        }
    }
}
