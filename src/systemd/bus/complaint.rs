//! What systemd has against a unit, for messages about what failed.

use super::{
    DBusManager,
    link::CALL_LIMIT,
    path::object_path,
    proxies::UnitProperties,
    status::{status, unmet},
};
use crate::{
    model::{ActiveState, LoadState, UnitName},
    systemd::{UnitError, journal},
};

impl DBusManager {
    /// See [`crate::systemd::UnitManager::complaint`].
    pub(super) async fn find_complaint(&self, name: &UnitName) -> Option<String> {
        let unit = self.properties(name).await.ok()?;
        match LoadState::from_word(&unit.load_state) {
            LoadState::BadSetting | LoadState::Error => refused_setting(&unit.id).await.or(Some(unit.load_error.1)),
            _ => self.missing_requirement(&unit).await,
        }
    }

    /// The first of the units that the unit cannot be without and that is not there, or did not come up.
    async fn missing_requirement(&self, unit: &UnitProperties) -> Option<String> {
        for required in unit.requires.iter().chain(&unit.requisite).chain(&unit.binds_to) {
            let Ok(found) = self.required(required).await else { continue };
            if let Some(why) = why_missing(found) {
                return Some(format!("{} requires {required}, which {why}", unit.id));
            }
        }
        None
    }

    async fn required(&self, name: &str) -> Result<UnitProperties, UnitError> {
        let object = self.object(object_path(name)).await?;
        self.shared.calls.make(CALL_LIMIT, "GetAll", None, || object.get_all("")).await
    }
}

/// Why a unit that another requires does not serve it; `None` = it does, or may yet.
fn why_missing(unit: UnitProperties) -> Option<String> {
    let is_down = matches!(ActiveState::from_word(&unit.active_state), ActiveState::Inactive | ActiveState::Failed);
    match LoadState::from_word(&unit.load_state) {
        LoadState::NotFound => return Some("is not installed".to_owned()),
        LoadState::Masked => return Some("is masked".to_owned()),
        LoadState::BadSetting | LoadState::Error => return Some(format!("cannot be loaded: {}", unit.load_error.1)),
        LoadState::Loaded | LoadState::Other => {}
    }
    if let Some(condition) = unmet(&unit).first() {
        return Some(format!("was not started: {condition} does not hold"));
    }
    let unit = status(unit);
    match (unit.active, unit.exit) {
        (ActiveState::Failed, Some(exit)) => Some(format!("failed ({}): {exit}", unit.result)),
        (ActiveState::Failed, None) => Some("failed".to_owned()),
        _ if is_down => Some("is not active".to_owned()),
        _ => None,
    }
}

/// PID 1's last line about a unit's files. What D-Bus says of them does not name the setting.
async fn refused_setting(unit: &str) -> Option<String> {
    last_refusal(&journal::of_manager(unit).await?)
}

fn last_refusal(journal: &str) -> Option<String> {
    let line = journal.lines().rev().find(|line| line.ends_with("Refusing."))?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::{last_refusal, why_missing};
    use crate::systemd::bus::proxies::UnitProperties;

    #[test]
    fn the_line_that_names_the_setting_is_found() {
        let refusal = "a.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.";
        let journal = format!("Started a.service.\n{refusal}\na.service: Unit cannot be reloaded.\n");
        assert_eq!(last_refusal(&journal).as_deref(), Some(refusal));
        assert_eq!(last_refusal("Started a.service.\n"), None);
    }

    #[test]
    fn why_a_required_unit_is_missing_is_told() {
        let unit = |load: &str, active: &str| UnitProperties {
            load_state: load.to_owned(),
            active_state: active.to_owned(),
            ..UnitProperties::default()
        };
        for (unit, expected) in [
            (unit("not-found", "inactive"), Some("is not installed")),
            (unit("masked", "inactive"), Some("is masked")),
            (unit("loaded", "failed"), Some("failed")),
            (unit("loaded", "inactive"), Some("is not active")),
            (unit("loaded", "activating"), None),
            (unit("loaded", "active"), None),
        ] {
            assert_eq!(why_missing(unit).as_deref(), expected);
        }
    }
}
