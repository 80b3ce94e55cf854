//! Names of objects and match rules.

use std::{collections::BTreeSet, fmt::Write as _};

use super::proxies::{BUS, MANAGER, MANAGER_PATH, PROPERTIES, SERVICE, SYSTEMD, UNIT};
use crate::model::UnitName;

/// So many units are watched one by one; past it, all units of the host are, and sorted out here. dbus-daemon allows
/// a connection 512 rules by default.
const MAX_UNIT_RULES: usize = 256;

/// The object of a unit: systemd's `bus_path_encode`, everything but letters and digits as `_` and two hex digits,
/// a leading digit too.
pub(super) fn unit_path(name: &UnitName) -> String {
    object_path(name.as_str())
}

/// The same, of a unit of any type.
pub(super) fn object_path(name: &str) -> String {
    let mut path = format!("{MANAGER_PATH}/unit/");
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// systemd comes and goes: its name's owner changes when PID 1 re-executes itself.
pub(super) fn owner_rule() -> String {
    format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'")
}

/// The signals that are wanted while these units are watched.
///
/// systemd sends `PropertiesChanged` for the unit's type, and then for the interface `Unit`; also before it says that a
/// unit is gone from memory (`UnitRemoved`).
pub(super) fn rules(units: &BTreeSet<UnitName>) -> BTreeSet<String> {
    let manager = |member| format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='{member}'");
    let changed = format!("type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged'");
    let mut rules: BTreeSet<_> = ["JobRemoved", "Reloading", "UnitRemoved"].map(manager).into();
    if units.len() > MAX_UNIT_RULES {
        let of = |interface| format!("{changed},arg0='{interface}',path_namespace='{MANAGER_PATH}/unit'");
        rules.extend([UNIT, SERVICE].map(of));
    } else {
        rules.extend(units.iter().map(|unit| format!("{changed},path='{}'", unit_path(unit))));
    }
    rules
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{rules, unit_path};

    #[test]
    fn units_have_the_paths_that_systemd_gives_them() {
        for (unit, path) in [
            ("dbus.service", "dbus_2eservice"),
            ("webapp@0000000001.service", "webapp_400000000001_2eservice"),
            ("0-a_b.service", "_30_2da_5fb_2eservice"),
            (r"a\x2d.service", "a_5cx2d_2eservice"),
        ] {
            assert_eq!(unit_path(&unit.parse().unwrap()), format!("/org/freedesktop/systemd1/unit/{path}"));
        }
    }

    #[test]
    fn few_units_are_watched_one_by_one_and_many_together() {
        let units = |count: u32| (0..count).map(|n| format!("a{n}.service").parse().unwrap()).collect();
        assert_eq!(rules(&units(0)).len(), 3);
        assert_eq!(rules(&units(256)).len(), 259);
        let many = rules(&units(257));
        assert_eq!(many.len(), 5);
        assert!(many.iter().any(|rule| rule.contains("path_namespace='/org/freedesktop/systemd1/unit'")));
    }
}
