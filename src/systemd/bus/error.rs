//! From D-Bus's errors to a [`UnitError`].

use crate::{model::UnitName, systemd::UnitError};

/// The name and message of an error that a peer or the bus replied with.
fn replied(error: &zbus::Error) -> Option<(String, String)> {
    use zbus::DBusError as _;
    let (name, message) = match error {
        zbus::Error::MethodError(name, message, _) => (name.to_string(), message.clone()),
        zbus::Error::FDO(error) => match error.as_ref() {
            zbus::fdo::Error::ZBus(inner) => return replied(inner),
            error => (error.name().to_string(), error.description().map(ToOwned::to_owned)),
        },
        _ => return None,
    };
    Some((name, message.unwrap_or_default()))
}

/// Whether the bus did not take the call because too many of this connection's, or of all, are under way: nobody has seen
/// it.
pub(super) fn is_crowded(error: &zbus::Error) -> bool {
    replied(error).is_some_and(|(name, _)| name == "org.freedesktop.DBus.Error.LimitsExceeded")
}

/// What an error means for whoever asked.
pub(super) fn from_bus(error: &zbus::Error, unit: Option<&UnitName>) -> UnitError {
    match replied(error) {
        Some((name, message)) => from_reply(&name, message, unit),
        None => UnitError::Unreachable { reason: error.to_string() },
    }
}

fn from_reply(name: &str, message: String, unit: Option<&UnitName>) -> UnitError {
    let (bus, systemd) =
        (name.strip_prefix("org.freedesktop.DBus.Error."), name.strip_prefix("org.freedesktop.systemd1."));
    let unit = unit.cloned();
    match (bus, systemd, unit) {
        // systemd is away: re-executing itself, or not on the bus yet. Or the bus is short of something, and systemd has
        // not seen the call.
        (
            Some(
                "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" | "NoServer" | "Timeout"
                | "LimitsExceeded" | "NoMemory",
            ),
            ..,
        ) => UnitError::Unreachable { reason: message },
        (Some("AccessDenied" | "InteractiveAuthorizationRequired"), _, unit) => {
            UnitError::NotPermitted { unit, message }
        }
        (_, Some("NoSuchUnit" | "UnitMasked" | "BadUnitSetting" | "LoadFailed"), Some(unit)) => {
            match (subject(&message).filter(|subject| *subject != unit.as_str()), systemd) {
                // Another one that is to be started with it.
                (Some(required), _) => UnitError::Requires { unit, required: required.to_owned(), message },
                (None, Some("NoSuchUnit")) => UnitError::NoSuchUnit { unit },
                (None, _) => UnitError::Unusable { unit, message },
            }
        }
        _ => UnitError::Refused { name: name.to_owned(), message },
    }
}

/// The unit that a message of systemd's is about: "Unit a.service not found."
fn subject(message: &str) -> Option<&str> {
    message.strip_prefix("Unit ")?.split(' ').next().filter(|name| name.contains('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::from_reply;
    use crate::{model::UnitName, systemd::UnitError};

    #[test]
    fn errors_are_sorted_by_what_the_caller_can_do() {
        let unit: UnitName = "a.service".parse().unwrap();
        let sorted = |name: &str| from_reply(name, "why".into(), Some(&unit));
        for name in ["NameHasNoOwner", "LimitsExceeded"] {
            let passing = UnitError::Unreachable { reason: "why".into() };
            assert_eq!(sorted(&format!("org.freedesktop.DBus.Error.{name}")), passing);
        }
        assert_eq!(sorted("org.freedesktop.systemd1.NoSuchUnit"), UnitError::NoSuchUnit { unit: unit.clone() });
        assert_eq!(
            sorted("org.freedesktop.systemd1.UnitMasked"),
            UnitError::Unusable { unit: unit.clone(), message: "why".into() }
        );
        let missing = "Unit needs.mount not found.";
        let other = from_reply("org.freedesktop.systemd1.NoSuchUnit", missing.into(), Some(&unit));
        let required = "needs.mount".to_owned();
        assert_eq!(other, UnitError::Requires { unit: unit.clone(), required, message: missing.into() });
        for name in ["AccessDenied", "InteractiveAuthorizationRequired"] {
            let denied = sorted(&format!("org.freedesktop.DBus.Error.{name}"));
            assert_eq!(denied, UnitError::NotPermitted { unit: Some(unit.clone()), message: "why".into() });
        }
        let name = "org.freedesktop.DBus.Error.InvalidArgs";
        assert_eq!(sorted(name), UnitError::Refused { name: name.into(), message: "why".into() });
    }
}
