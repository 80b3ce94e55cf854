//! From D-Bus's errors to a [`UnitError`].

use std::{future::Future, time::Duration};

use crate::{model::UnitName, systemd::UnitError};

/// Waits for a call, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    call: &str,
    unit: Option<&UnitName>,
    answer: impl Future<Output = zbus::Result<T>>,
) -> Result<T, UnitError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| from_bus(&error, unit)),
        Err(_) => Err(UnitError::NoAnswer { call: call.to_owned(), seconds: limit.as_secs() }),
    }
}

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
        // systemd is away: re-executing itself, or not on the bus yet.
        (Some("ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" | "NoServer" | "Timeout"), ..) => {
            UnitError::Unreachable { reason: message }
        }
        (Some("AccessDenied" | "InteractiveAuthorizationRequired"), _, unit) => {
            UnitError::NotPermitted { unit, message }
        }
        (_, Some("NoSuchUnit"), Some(unit)) => UnitError::NoSuchUnit { unit },
        (_, Some("UnitMasked" | "BadUnitSetting" | "LoadFailed"), Some(unit)) => UnitError::Unusable { unit, message },
        _ => UnitError::Refused { name: name.to_owned(), message },
    }
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
        assert_eq!(
            sorted("org.freedesktop.DBus.Error.NameHasNoOwner"),
            UnitError::Unreachable { reason: "why".into() }
        );
        assert_eq!(sorted("org.freedesktop.systemd1.NoSuchUnit"), UnitError::NoSuchUnit { unit: unit.clone() });
        assert_eq!(
            sorted("org.freedesktop.systemd1.UnitMasked"),
            UnitError::Unusable { unit: unit.clone(), message: "why".into() }
        );
        for name in ["AccessDenied", "InteractiveAuthorizationRequired"] {
            let denied = sorted(&format!("org.freedesktop.DBus.Error.{name}"));
            assert_eq!(denied, UnitError::NotPermitted { unit: Some(unit.clone()), message: "why".into() });
        }
        let name = "org.freedesktop.DBus.Error.InvalidArgs";
        assert_eq!(sorted(name), UnitError::Refused { name: name.into(), message: "why".into() });
    }
}
