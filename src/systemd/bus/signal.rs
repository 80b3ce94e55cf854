//! Signals of systemd and of the bus.

use zbus::{ObjectPath, message::Type};

use super::proxies::{BUS, MANAGER, PROPERTIES, SERVICE, SYSTEMD, ServiceChange, UNIT, UnitChange};

/// A signal that matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// This is said of the unit at this path as a service.
    ServiceChanged { path: String, change: ServiceChange },
    /// And this of it as a unit.
    UnitChanged { path: String, change: UnitChange },
    /// systemd has dropped the unit at this path from its memory.
    UnitRemoved { path: String },
    /// A job is done.
    JobRemoved { job: String, unit: String, result: String },
    /// The manager has read its unit files again.
    Reloaded,
    /// systemd left the bus (`None`) or came to it.
    NewOwner(Option<String>),
}

impl Signal {
    /// Reads a message; `None` for anything that does not matter, or that does not come from `owner`, systemd's own
    /// connection: on the system bus anyone may send anyone a signal of any name.
    pub(super) fn read(message: &zbus::Message, owner: Option<&str>) -> Option<Self> {
        if message.message_type() != Type::Signal {
            return None;
        }
        let (header, body) = (message.header(), message.body());
        let sender = header.sender()?.as_str();
        let (interface, member) = (header.interface()?.as_str(), header.member()?.as_str());
        if sender == BUS && (interface, member) == (BUS, "NameOwnerChanged") {
            let (name, _, new) = body.deserialize::<(&str, &str, &str)>().ok()?;
            return (name == SYSTEMD).then(|| Self::NewOwner((!new.is_empty()).then(|| new.to_owned())));
        }
        if owner != Some(sender) {
            return None;
        }
        match (interface, member) {
            (PROPERTIES, "PropertiesChanged") => {
                let path = header.path()?.to_string();
                // What cannot be read says nothing but that the unit has changed.
                let said = body.deserialize::<(&str, UnitChange, Vec<&str>)>();
                let (interface, change) =
                    said.map_or((UNIT, UnitChange::default()), |(interface, change, _)| (interface, change));
                match interface {
                    UNIT => Some(Self::UnitChanged { path, change }),
                    SERVICE => {
                        let said = body.deserialize::<(&str, ServiceChange, Vec<&str>)>();
                        let change = said.map(|(_, change, _)| change).unwrap_or_default();
                        Some(Self::ServiceChanged { path, change })
                    }
                    _ => None,
                }
            }
            (MANAGER, "JobRemoved") => {
                let (_, job, unit, result) = body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>().ok()?;
                Some(Self::JobRemoved { job: job.to_string(), unit: unit.to_owned(), result: result.to_owned() })
            }
            (MANAGER, "UnitRemoved") => {
                let (_, path) = body.deserialize::<(&str, ObjectPath<'_>)>().ok()?;
                Some(Self::UnitRemoved { path: path.to_string() })
            }
            (MANAGER, "Reloading") => (!body.deserialize::<bool>().ok()?).then_some(Self::Reloaded),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use serde::Serialize;
    use zbus::{Message, ObjectPath, Type, Variant};

    use super::{ServiceChange, Signal, UnitChange};

    fn signal(sender: &str, interface: &str, member: &str, body: &(impl Serialize + Type)) -> Message {
        let path = "/org/freedesktop/systemd1/unit/a_2eservice";
        Message::signal(path, interface, member).sender(sender).build(body).unwrap()
    }

    fn read(sender: &str, interface: &str, member: &str, body: &(impl Serialize + Type)) -> Option<Signal> {
        Signal::read(&signal(sender, interface, member, body), Some(":1.1"))
    }

    const MANAGER: &str = "org.freedesktop.systemd1.Manager";
    const BUS: &str = "org.freedesktop.DBus";

    #[test]
    fn signals_of_systemd_are_read() {
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        let removed = (7_u32, job, "a.service", "done");
        let expected = Signal::JobRemoved {
            job: "/org/freedesktop/systemd1/job/7".into(),
            unit: "a.service".into(),
            result: "done".into(),
        };
        assert_eq!(read(":1.1", MANAGER, "JobRemoved", &removed), Some(expected));
        let path = "/org/freedesktop/systemd1/unit/a_2eservice".to_owned();
        let gone = ("a.service", ObjectPath::try_from(path.as_str()).unwrap());
        assert_eq!(read(":1.1", MANAGER, "UnitRemoved", &gone), Some(Signal::UnitRemoved { path }));
        assert_eq!(read(":1.1", MANAGER, "Reloading", &false), Some(Signal::Reloaded));
        assert_eq!(read(":1.1", MANAGER, "Reloading", &true), None, "it is not done yet");
        let path = "/org/freedesktop/systemd1/unit/a_2eservice".to_owned();
        let changed = |body: &dyn Fn() -> Message| Signal::read(&body(), Some(":1.1"));
        let properties = "org.freedesktop.DBus.Properties";
        let garbled = changed(&|| signal(":1.1", properties, "PropertiesChanged", &""));
        assert_eq!(garbled, Some(Signal::UnitChanged { path: path.clone(), change: UnitChange::default() }));
        let said = |interface: &'static str, name: &'static str, value: Variant<'static>| {
            let body =
                (interface, HashMap::from([(name, value), ("Foreign", Variant::from(true))]), vec!["Conditions"]);
            changed(&|| signal(":1.1", properties, "PropertiesChanged", &body))
        };
        let change = UnitChange { active_state: Some("active".to_owned()), ..UnitChange::default() };
        let unit = said("org.freedesktop.systemd1.Unit", "ActiveState", "active".into());
        assert_eq!(unit, Some(Signal::UnitChanged { path: path.clone(), change }));
        let change = ServiceChange { main_pid: Some(7), ..ServiceChange::default() };
        let service = said("org.freedesktop.systemd1.Service", "MainPID", 7_u32.into());
        assert_eq!(service, Some(Signal::ServiceChanged { path, change }));
        assert_eq!(said("org.freedesktop.systemd1.Timer", "Result", "success".into()), None);
    }

    #[test]
    fn forged_signals_are_passed_over() {
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        assert_eq!(read(":1.66", MANAGER, "JobRemoved", &(7_u32, job, "a.service", "done")), None);
        let owner = ("org.freedesktop.systemd1", ":1.1", ":1.66");
        assert_eq!(read(":1.66", BUS, "NameOwnerChanged", &owner), None);
        assert_eq!(read(BUS, BUS, "NameOwnerChanged", &owner), Some(Signal::NewOwner(Some(":1.66".into()))));
        let gone = ("org.freedesktop.systemd1", ":1.1", "");
        assert_eq!(read(BUS, BUS, "NameOwnerChanged", &gone), Some(Signal::NewOwner(None)));
        assert_eq!(Signal::read(&signal(":1.1", MANAGER, "Reloading", &false), None), None, "nobody is systemd");
    }
}
