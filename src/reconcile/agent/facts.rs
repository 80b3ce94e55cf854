//! What the agent tells of its machine, and the lock that keeps it the only agent there.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::{
    config::AgentSettings,
    model::{Capacity, HostAlive, decode},
};

/// Takes the lock that one agent holds on a machine; it is released with the process.
///
/// # Errors
/// When another agent holds it, or the state directory cannot be written.
pub(super) fn lock(state_dir: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(state_dir)
        .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
    let path = state_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another zkops agent runs on this machine: it holds {}", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// What `alive` says of this machine.
pub(super) fn alive(settings: &AgentSettings, systemd: Option<u32>) -> anyhow::Result<HostAlive> {
    Ok(HostAlive {
        address: settings.address.clone(),
        labels: settings.labels.clone(),
        accepts: Some(settings.accepts.clone()).filter(|accepts| !accepts.units.are_too_many_to_tell()),
        version: crate::VERSION.to_owned(),
        systemd,
        machine_id: machine_id()?,
        boot_id: read("/proc/sys/kernel/random/boot_id")?,
        pid: std::process::id(),
        started: Timestamp::now(),
        capacity: capacity(),
    })
}

/// Why a registered `alive` must not be replaced: another machine goes by the same name. Once that machine's session
/// ends, the name is free.
pub(super) fn other_machine(path: &str, data: &[u8], machine_id: &str) -> Option<String> {
    let alive = path.ends_with("/alive").then(|| decode::<HostAlive>(data).ok()).flatten()?;
    let other = alive.machine_id != machine_id;
    other.then(|| {
        format!("the machine {} goes by this host's name too; set `host` in one's agent.toml", alive.machine_id)
    })
}

/// statfs(2), `f_type`.
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// machine-id(5).
pub(super) fn machine_id() -> anyhow::Result<String> {
    read("/etc/machine-id")
}

/// The same, empty when it was made for this boot alone: where it is in memory. systemd mounts one from `/run` over an
/// `/etc/machine-id` that it cannot write (machine-id(5), "First Boot Semantics"), and `/etc` itself may be in memory.
pub(super) fn lasting_machine_id() -> anyhow::Result<String> {
    #[expect(clippy::cast_sign_loss, reason = "the field's type differs between systems")]
    let in_memory = |found: rustix::fs::StatFs| [TMPFS, RAMFS].contains(&(found.f_type as u64));
    let of_this_boot = rustix::fs::statfs("/etc/machine-id").is_ok_and(in_memory);
    if of_this_boot { Ok(String::new()) } else { machine_id() }
}

fn capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the field's width differs between architectures")]
    let memory_bytes = u64::from(info.totalram) * u64::from(info.mem_unit);
    Capacity { cpus, memory_bytes }
}

fn read(path: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().to_owned())
}
