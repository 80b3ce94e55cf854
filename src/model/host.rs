//! A host: the operator's word on it, and what its agent says of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Accepts, Objection, Problem, RunSettings, UnitName, check::label_problems};

/// `/hosts/<host>`: the operator's word on a host. An empty document means no word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSpec {
    /// Labels; they override the agent's own of the same key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nothing new is placed here; what runs, stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cordon: bool,
    /// Replicas are moved away, within each service's `max_unavailable`; implies `cordon`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Until when a drain keeps within each service's `max_unavailable`; after that what is left is moved all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<Timestamp>,
}

impl HostSpec {
    /// What is wrong with it beyond its shape: labels that no template is to see. The rest of it holds all the same.
    pub fn problems(&self) -> Vec<Problem> {
        self.labels.iter().flat_map(label_problems).collect()
    }

    /// Its labels with which nothing is wrong.
    pub fn good_labels(self) -> BTreeMap<String, String> {
        self.labels.into_iter().filter(|(key, value)| label_problems((key, value)).is_empty()).collect()
    }
}

/// `/hosts/<host>/alive`: an ephemeral of the agent; present = the agent's session is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlive {
    /// The address that `instances` publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The agent's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it runs. Absent when the agent's release does not tell, or it is too much: then it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Accepts>,
    /// zkops's version.
    pub version: String,
    /// systemd's version, as in `252`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd: Option<u32>,
    /// machine-id(5): tells two machines of one name apart.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`: changes with each boot.
    pub boot_id: String,
    /// The agent's process.
    pub pid: u32,
    /// When the agent started.
    pub started: Timestamp,
    /// What the machine has.
    #[serde(default)]
    pub capacity: Capacity,
}

impl HostAlive {
    /// What the host has against running the unit like this; `None` when nothing, or when it does not tell.
    pub fn objection(&self, unit: &UnitName, run: &RunSettings<'_>) -> Option<Objection> {
        self.accepts.as_ref()?.objection(self.address.is_some(), unit, run)
    }
}

/// What a machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Processors.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}
