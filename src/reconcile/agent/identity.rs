//! Who this host is, found out before anything is touched: a configuration that names it, and a state on disk that is its
//! own. Until then the agent waits: it is up and says why, its services are left alone, and nothing is registered.

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use super::facts;
use crate::{
    blocking::{self, Loop},
    config::{AgentSettings, ConfigError},
    ledger::{
        LedgerFile, Loaded,
        owner::{self, Owner},
    },
    report::notify::ServiceManager,
    systemd::UnitFiles,
};

/// How often it is looked again: a machine may be given its name late in its boot, and a person needs no restart.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A host that knows who it is.
pub(super) struct Identified {
    pub(super) settings: AgentSettings,
    /// Held as long as the agent runs: no other uses the state.
    pub(super) lock: File,
    /// What is on disk of an agent's work before.
    pub(super) loaded: Loaded,
}

/// Waits until this host has a name and the state on disk is its own; `None` when the agent is told to stop before.
///
/// # Errors
/// What waiting does not help: a bad configuration, another agent on this machine.
pub(super) async fn identify(
    load: impl Fn() -> Result<AgentSettings, ConfigError> + Send + Sync + 'static,
    unit_files: impl Fn(&AgentSettings) -> UnitFiles + Send + Sync + 'static,
    service_manager: &mut ServiceManager,
    say: impl Fn(&str),
) -> anyhow::Result<Option<Identified>> {
    let _loop = Loop::begin();
    let (load, unit_files) = (Arc::new(load), Arc::new(unit_files));
    let mut said = None;
    loop {
        let (load, unit_files) = (Arc::clone(&load), Arc::clone(&unit_files));
        // The watchdog may be fed already, and the disk may be slow.
        let looked = service_manager.during(blocking::beside(move || look(&*load, &*unit_files))).await;
        let Some(looked) = looked else { return Ok(None) };
        let why = match looked? {
            Ok(identified) => {
                if said.is_some() {
                    tracing::info!("this host is {}: the agent goes on", identified.settings.host);
                }
                return Ok(Some(identified));
            }
            Err(why) => why,
        };
        if said.as_ref() != Some(&why) {
            tracing::error!("the agent does nothing before it knows whose work to do: {why}");
            say(&why);
            service_manager.status(&format!("waits, and leaves all services alone: {why}"));
            said = Some(why);
        }
        // Up, for what is ordered after it: waiting for a person is no start that hangs.
        service_manager.ready();
        if service_manager.during(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
            return Ok(None);
        }
    }
}

/// This host, or why it is not known yet. May block.
fn look(
    load: impl Fn() -> Result<AgentSettings, ConfigError>,
    unit_files: impl Fn(&AgentSettings) -> UnitFiles,
) -> anyhow::Result<Result<Identified, String>> {
    blocking::may_block();
    let settings = match load() {
        Ok(settings) => settings,
        Err(missing @ ConfigError::Missing { .. }) => return Ok(Err(missing.to_string())),
        Err(error) => return Err(error.into()),
    };
    let lock = facts::lock(&settings.state_dir)?;
    let ours = Owner { host: settings.host.clone(), machine_id: facts::lasting_machine_id()? };
    match owner::claim(&settings.state_dir, &ours, count_units(&unit_files(&settings))) {
        Err(not_ours) => Ok(Err(not_ours.to_string())),
        Ok(claimed) => {
            claimed.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
            let loaded = LedgerFile::in_dir(&settings.state_dir).load();
            Ok(Ok(Identified { settings, lock, loaded }))
        }
    }
}

/// How many units have files that an agent of this host generated.
fn count_units(files: &UnitFiles) -> usize {
    files.managed().map_or(0, |managed| managed.len())
}

/// The unit files of an agent of this kind.
pub(super) fn unit_files(settings: &AgentSettings) -> UnitFiles {
    if settings.accepts.limited {
        UnitFiles::variables_only(Path::new(UnitFiles::LIMITED))
    } else {
        UnitFiles::new(Path::new(UnitFiles::SYSTEM))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Mutex, mpsc};

    use super::*;

    /// On the loop's own thread, nobody would release the disk.
    #[tokio::test]
    async fn a_disk_that_hangs_before_the_host_is_known_does_not_hold_up_the_loop() {
        let (release, hung) = mpsc::channel::<()>();
        let hung = Mutex::new(hung);
        let load = move || {
            hung.lock().unwrap().recv_timeout(Duration::from_secs(20)).expect("the loop turns");
            Err(ConfigError::Conflict { message: "the disk answers".to_owned() })
        };
        let mut service_manager = ServiceManager::new().unwrap();
        let turns = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            release.send(()).unwrap();
        };
        let (identified, ()) = tokio::join!(identify(load, unit_files, &mut service_manager, |_| {}), turns);
        assert_eq!(identified.err().unwrap().to_string(), "the disk answers");
    }
}
