//! Whether the generated files of a unit are in force: what systemd has loaded decides, not what was written.

use std::path::Path;

use crate::{
    model::Assignment,
    systemd::{LoadState, Settings, UnitStatus},
};

/// Folders of unit files that systemd searches before `/run/systemd/system` (systemd.unit(5), "Unit File Load Path").
const FIRST: [&str; 6] = [
    "/etc/systemd/system.control/",
    "/run/systemd/system.control/",
    "/run/systemd/transient/",
    "/run/systemd/generator.early/",
    "/etc/systemd/system/",
    "/etc/systemd/system.attached/",
];

/// Where a unit's generated files are, and whether systemd has read them as they are to be.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The unit file.
    pub unit_file: &'a Path,
    /// The drop-in.
    pub drop_in: &'a Path,
    /// The file with the replica's variables.
    pub variables: &'a Path,
    /// There is to be a drop-in.
    pub has_drop_in: bool,
    /// All of them are written, and systemd has read them since.
    pub loaded: bool,
    /// Another hand may have removed them since.
    pub doubted: bool,
}

/// Why the files that the work asks for are not in force, or would not be, if so: another's are.
pub fn overruled(unit: &UnitStatus, assignment: &Assignment, placed: Placed<'_>) -> Option<String> {
    if unit.load != LoadState::Loaded {
        return None;
    }
    let shadowed = assignment.unit_file.is_some().then(|| shadowed(unit, placed)).flatten();
    shadowed.or_else(|| (placed.has_drop_in && placed.loaded).then(|| undone(unit, assignment, placed)).flatten())
}

/// Another unit file is in force.
fn shadowed(unit: &UnitStatus, placed: Placed<'_>) -> Option<String> {
    let path = &unit.fragment_path;
    let other = !path.is_empty() && Path::new(path) != placed.unit_file;
    let first = FIRST.iter().any(|folder| path.starts_with(folder));
    (other && (first || placed.loaded)).then(|| {
        format!(
            "{path} is in force, not the unit_file that the service brings: remove it from this host, or give the \
             service another unit"
        )
    })
}

/// Another drop-in takes back what zkops's says, or stands in its place.
fn undone(unit: &UnitStatus, assignment: &Assignment, placed: Placed<'_>) -> Option<String> {
    let paths = &unit.drop_in_paths;
    let Some(position) = paths.iter().position(|path| Path::new(path) == placed.drop_in) else {
        let other = paths.iter().find(|path| Path::new(path).file_name() == placed.drop_in.file_name());
        let ours = placed.drop_in.display();
        return match other {
            Some(other) => Some(format!("{other} is in force, not {ours}: remove it from this host")),
            None => (!placed.doubted).then(|| {
                format!("systemd does not apply {ours}: a file of the same name masks it, see `systemctl cat`")
            }),
        };
    };
    let settings = unit.settings.as_ref()?;
    let (wanted, found) = difference(settings, assignment, placed.variables)?;
    let later = &paths[position + 1..];
    let by = if later.is_empty() { "another file of the unit".to_owned() } else { later.join(" or ") };
    Some(format!("{wanted} is not in force{found}: {by} takes it back; remove it there, see `systemctl cat`"))
}

/// The first setting of the drop-in that is not in force, and what is instead.
fn difference(settings: &Settings, assignment: &Assignment, variables: &Path) -> Option<(String, String)> {
    let restart = &assignment.restart;
    let policy = restart.policy.as_str();
    if settings.restart != policy {
        return Some((format!("Restart={policy}"), format!(", but Restart={}", settings.restart)));
    }
    if settings.limit_burst != restart.limit_burst {
        let found = format!(", but StartLimitBurst={}", settings.limit_burst);
        return Some((format!("StartLimitBurst={}", restart.limit_burst), found));
    }
    // systemd counts in microseconds.
    if settings.limit_interval.as_micros() != restart.limit_interval.get().as_nanos().div_ceil(1_000) {
        let found = format!(", but StartLimitIntervalSec={:?}", settings.limit_interval);
        return Some((format!("StartLimitIntervalSec={}", restart.limit_interval), found));
    }
    let missing = |what: String| Some((what, String::new()));
    if !settings.environment_files.iter().any(|path| Path::new(path) == variables) {
        return missing(format!("EnvironmentFile={}", variables.display()));
    }
    let unset = assignment.environment.iter().find(|(name, value)| {
        let wanted = |word: &String| word.split_once('=') == Some((name.as_str(), value.as_str()));
        !settings.environment.iter().any(wanted)
    });
    if let Some((name, _)) = unset {
        // Not its value: it may be meant for few eyes.
        return missing(format!("Environment={name}"));
    }
    let lost = assignment
        .credentials
        .iter()
        .find(|(name, path)| !settings.credentials.iter().any(|(there, from)| (there, from) == (*name, *path)));
    lost.and_then(|(name, _)| missing(format!("LoadCredential={name}")))
}
