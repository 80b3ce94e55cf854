//! From systemd's properties to a [`UnitStatus`].

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::proxies::{Check, UnitProperties};
use crate::{
    model::{ActiveState, LoadState, UnitSettings, UnitStatus},
    systemd::exit,
};

/// The unit, but for what takes another call: the kind of its job, and whether its processes are gone.
pub(super) fn status(unit: UnitProperties) -> UnitStatus {
    let active = ActiveState::from_word(&unit.active_state);
    let (unmet, settings) = (unmet(&unit), settings(&unit));
    UnitStatus {
        id: unit.id,
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
        unmet,
        kind: unit.kind.unwrap_or_default(),
        refuses_start: unit.refuse_manual_start,
        settings,
    }
}

/// The conditions and asserts that kept the unit from its last start.
pub(super) fn unmet(unit: &UnitProperties) -> Vec<String> {
    let conditions = (unit.condition_timestamp != 0 && !unit.condition_result).then_some(&unit.conditions);
    let asserts = (unit.assert_timestamp != 0 && !unit.assert_result).then_some(&unit.asserts);
    let failed = conditions.into_iter().chain(asserts).flatten().filter(|(.., result)| *result < 0);
    failed.map(check).collect()
}

/// A condition as its unit's file spells it.
fn check((name, trigger, negate, parameter, _): &Check) -> String {
    let sign = |there: &bool, sign: &'static str| if *there { sign } else { "" };
    format!("{name}={}{}{parameter}", sign(trigger, "|"), sign(negate, "!"))
}

/// What a service's files came to; nothing of a unit that has none.
fn settings(unit: &UnitProperties) -> Option<UnitSettings> {
    let restart = unit.restart.clone().filter(|_| unit.load_state == "loaded")?;
    let files = unit.environment_files.iter().flatten();
    Some(UnitSettings {
        restart,
        limit_burst: unit.start_limit_burst,
        limit_interval: Duration::from_micros(unit.start_limit_interval),
        environment: unit.environment.clone().unwrap_or_default(),
        environment_files: files.map(|(path, _)| path.clone()).collect(),
        credentials: unit.load_credential.clone().unwrap_or_default(),
    })
}

/// An invocation's id in hex; empty while all bytes are zero or there are none.
pub(super) fn invocation(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    if bytes.iter().any(|byte| *byte != 0) {
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

pub(super) fn timestamp(micros: u64) -> Option<Timestamp> {
    i64::try_from(micros).ok().filter(|micros| *micros != 0).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{invocation, status, timestamp};
    use crate::model::{ActiveState, LoadState, UnitStatus};
    use crate::systemd::bus::proxies::UnitProperties;

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
    fn what_kept_a_unit_from_its_start_is_named() {
        let held = |name: &str, trigger, negate, result| (name.to_owned(), trigger, negate, "/srv".to_owned(), result);
        let unit = UnitProperties {
            condition_timestamp: 1,
            conditions: vec![
                held("ConditionPathExists", false, true, -1),
                held("ConditionHost", false, false, 1),
                held("ConditionUser", true, false, -1),
            ],
            assert_result: true,
            assert_timestamp: 1,
            asserts: vec![held("AssertPathExists", false, false, -1)],
            ..UnitProperties::default()
        };
        assert_eq!(status(unit).unmet, ["ConditionPathExists=!/srv", "ConditionUser=|/srv"]);
    }

    #[test]
    fn what_a_units_files_came_to_is_read() {
        let loaded = || UnitProperties {
            load_state: "loaded".into(),
            restart: Some("on-failure".into()),
            start_limit_interval: 60_000_000,
            environment_files: Some(vec![("/run/a.env".into(), false)]),
            ..UnitProperties::default()
        };
        let settings = status(loaded()).settings.unwrap();
        assert_eq!((settings.restart.as_str(), settings.limit_interval.as_secs()), ("on-failure", 60));
        assert_eq!(settings.environment_files, ["/run/a.env"]);
        assert_eq!(status(UnitProperties { load_state: "bad-setting".into(), ..loaded() }).settings, None);
    }

    #[test]
    fn nothing_yet_is_nothing() {
        assert_eq!((invocation(&[]), invocation(&[0; 16]), timestamp(0)), (String::new(), String::new(), None));
        assert_eq!(timestamp(u64::MAX), None);
    }
}
