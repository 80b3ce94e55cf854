//! The methods of systemd and of the bus that are used, and the properties that are read.
//!
//! `no_autostart`: while PID 1 re-executes itself its name has no owner, and the bus must not try to start another.

use zbus::{DeserializeDict, OwnedObjectPath, Type, proxy};

/// systemd's name on the bus.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its manager's object.
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// Its manager's interface.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// The interface that services have.
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// The interface that all units have.
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// The standard interface of properties.
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The bus itself: name and interface.
pub(super) const BUS: &str = "org.freedesktop.DBus";

/// The manager, as org.freedesktop.systemd1(5) has it.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    #[zbus(no_autostart)]
    fn subscribe(&self) -> zbus::Result<()>;
    /// Keeps the unit in systemd's memory for as long as this connection lives.
    #[zbus(no_autostart)]
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(no_autostart)]
    fn unref_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(no_autostart)]
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(no_autostart)]
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(no_autostart)]
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(no_autostart)]
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// `whom` is `main`, `control` or `all`.
    #[zbus(no_autostart)]
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    #[zbus(no_autostart)]
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(no_autostart)]
    fn reload(&self) -> zbus::Result<()>;
    /// Control group, pid and command line of each process.
    #[zbus(no_autostart)]
    fn get_unit_processes(&self, name: &str) -> zbus::Result<Vec<(String, u32, String)>>;
}

/// The standard interface, for whatever object and set of properties.
#[proxy(interface = "org.freedesktop.DBus.Properties", default_service = "org.freedesktop.systemd1")]
pub(super) trait Properties {
    /// An empty interface name stands for all interfaces of the object: one call, one moment.
    #[zbus(no_autostart)]
    fn get_all(&self, interface: &str) -> zbus::Result<UnitProperties>;
    #[zbus(no_autostart)]
    fn get(&self, interface: &str, property: &str) -> zbus::Result<zbus::OwnedVariant>;
}

/// The bus.
#[proxy(
    interface = "org.freedesktop.DBus",
    default_service = "org.freedesktop.DBus",
    default_path = "/org/freedesktop/DBus"
)]
pub(super) trait Bus {
    fn add_match(&self, rule: &str) -> zbus::Result<()>;
    fn remove_match(&self, rule: &str) -> zbus::Result<()>;
    fn get_name_owner(&self, name: &str) -> zbus::Result<String>;
}

/// The properties of a unit that are read; systemd sends some three hundred.
#[derive(Debug, Default, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "properties as systemd has them")]
pub(super) struct UnitProperties {
    /// The primary name, whatever it was asked for by.
    pub(super) id: String,
    pub(super) load_state: String,
    pub(super) active_state: String,
    pub(super) sub_state: String,
    /// The error's name and its message; both empty when there is none.
    pub(super) load_error: (String, String),
    pub(super) fragment_path: String,
    pub(super) drop_in_paths: Vec<String>,
    /// The job's number, 0 = none, and its object.
    pub(super) job: (u32, OwnedObjectPath),
    #[zbus(rename = "InvocationID")]
    pub(super) invocation_id: Vec<u8>,
    pub(super) can_reload: bool,
    pub(super) need_daemon_reload: bool,
    /// When it was last begun to start, in microseconds since 1970; 0 = never.
    pub(super) inactive_exit_timestamp: u64,
    /// Microseconds since 1970, 0 = never.
    pub(super) active_enter_timestamp: u64,
    pub(super) condition_timestamp: u64,
    pub(super) condition_result: bool,
    pub(super) conditions: Vec<Check>,
    pub(super) assert_timestamp: u64,
    pub(super) assert_result: bool,
    pub(super) asserts: Vec<Check>,
    pub(super) refuse_manual_start: bool,
    pub(super) requires: Vec<String>,
    pub(super) requisite: Vec<String>,
    pub(super) binds_to: Vec<String>,
    pub(super) start_limit_burst: u32,
    /// Microseconds.
    #[zbus(rename = "StartLimitIntervalUSec")]
    pub(super) start_limit_interval: u64,
    // What only services have.
    pub(super) result: Option<String>,
    #[zbus(rename = "MainPID")]
    pub(super) main_pid: Option<u32>,
    #[zbus(rename = "NRestarts")]
    pub(super) n_restarts: Option<u32>,
    pub(super) exec_main_code: Option<i32>,
    pub(super) exec_main_status: Option<i32>,
    pub(super) control_group: Option<String>,
    #[zbus(rename = "Type")]
    pub(super) kind: Option<String>,
    pub(super) restart: Option<String>,
    pub(super) environment: Option<Vec<String>>,
    /// The path, and whether a missing one is passed over.
    pub(super) environment_files: Option<Vec<(String, bool)>>,
    pub(super) load_credential: Option<Vec<(String, String)>>,
}

/// What a signal says of a unit: all that is ever signalled of it, as far as it is read.
#[derive(Debug, Default, DeserializeDict, Type, PartialEq, Eq)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(super) struct UnitChange {
    pub(super) active_state: Option<String>,
    pub(super) sub_state: Option<String>,
    /// The job's number, 0 = none, and its object.
    pub(super) job: Option<(u32, OwnedObjectPath)>,
    #[zbus(rename = "InvocationID")]
    pub(super) invocation_id: Option<Vec<u8>>,
    /// Microseconds since 1970, 0 = never.
    pub(super) active_enter_timestamp: Option<u64>,
    pub(super) condition_timestamp: Option<u64>,
    pub(super) condition_result: Option<bool>,
    pub(super) assert_timestamp: Option<u64>,
    pub(super) assert_result: Option<bool>,
}

/// The same of what only services have.
#[derive(Debug, Default, DeserializeDict, Type, PartialEq, Eq)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(super) struct ServiceChange {
    pub(super) result: Option<String>,
    #[zbus(rename = "MainPID")]
    pub(super) main_pid: Option<u32>,
    #[zbus(rename = "NRestarts")]
    pub(super) n_restarts: Option<u32>,
    pub(super) exec_main_code: Option<i32>,
    pub(super) exec_main_status: Option<i32>,
}

/// A `Condition…=` or `Assert…=`: its name, whether it is one of several that may hold, whether it is negated, its
/// parameter, and what came of it: below 0 = it did not hold.
pub(super) type Check = (String, bool, bool, String, i32);
