//! From systemd's properties to a [`UnitStatus`].

use std::fmt::Write as _;

use jiff::Timestamp;

use super::proxies::UnitProperties;
use crate::systemd::{ActiveState, LoadState, UnitStatus, exit};

/// The unit, but for what takes another call: the kind of its job, and whether its processes are gone.
pub(super) fn status(unit: UnitProperties) -> UnitStatus {
    let active = ActiveState::from_word(&unit.active_state);
    UnitStatus {
        load: LoadState::from_word(&unit.load_state),
        load_error: Some(unit.load_error.1).filter(|message| !message.is_empty()),
        active,
        sub: unit.sub_state,
        result: unit.result.unwrap_or_default(),
        main_pid: unit.main_pid.filter(|pid| *pid != 0),
        invocation: invocation(&unit.invocation_id),
        restarts: unit.n_restarts.unwrap_or_default(),
        can_reload: unit.can_reload,
        need_daemon_reload: unit.need_daemon_reload,
        active_since: timestamp(unit.active_enter_timestamp),
        exit: exit::words(unit.exec_main_code.unwrap_or_default(), unit.exec_main_status.unwrap_or_default()),
        fragment_path: unit.fragment_path,
        drop_in_paths: unit.drop_in_paths,
        job: None,
        has_processes: unit.control_group.is_some_and(|group| !group.is_empty()),
        condition_failed: unit.condition_timestamp != 0 && !unit.condition_result,
    }
}

/// The id in hex; empty while all bytes are zero or there are none.
fn invocation(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    if bytes.iter().any(|byte| *byte != 0) {
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

fn timestamp(micros: u64) -> Option<Timestamp> {
    i64::try_from(micros).ok().filter(|micros| *micros != 0).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{invocation, status, timestamp};
    use crate::systemd::{ActiveState, LoadState, UnitStatus, bus::proxies::UnitProperties};

    #[test]
    fn a_running_unit_is_read() {
        let unit = status(UnitProperties {
            load_state: "loaded".into(),
            active_state: "active".into(),
            sub_state: "running".into(),
            invocation_id: vec![0xab; 16],
            active_enter_timestamp: 1_767_225_600_000_001,
            condition_timestamp: 1,
            condition_result: true,
            result: Some("success".into()),
            main_pid: Some(42),
            n_restarts: Some(3),
            exec_main_code: Some(0),
            control_group: Some("/system.slice/a.service".into()),
            ..UnitProperties::default()
        });
        assert_eq!(
            unit,
            UnitStatus {
                load: LoadState::Loaded,
                active: ActiveState::Active,
                sub: "running".into(),
                main_pid: Some(42),
                invocation: "ab".repeat(16),
                restarts: 3,
                active_since: Some("2026-01-01T00:00:00.000001Z".parse().unwrap()),
                has_processes: true,
                ..UnitStatus::not_found()
            }
        );
    }

    #[test]
    fn a_unit_that_is_not_there_is_read() {
        let unit = status(UnitProperties {
            load_state: "not-found".into(),
            load_error: ("org.freedesktop.systemd1.NoSuchUnit".into(), "Unit a.service not found.".into()),
            active_state: "inactive".into(),
            sub_state: "dead".into(),
            result: Some("success".into()),
            main_pid: Some(0),
            ..UnitProperties::default()
        });
        let message = Some("Unit a.service not found.".to_owned());
        assert_eq!(unit, UnitStatus { load_error: message, ..UnitStatus::not_found() });
    }

    #[test]
    fn nothing_yet_is_nothing() {
        assert_eq!((invocation(&[]), invocation(&[0; 16]), timestamp(0)), (String::new(), String::new(), None));
        assert_eq!(timestamp(u64::MAX), None);
    }
}
