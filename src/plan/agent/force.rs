//! Whether the generated files of a unit are in force: what systemd has loaded decides, not what was written.

use std::path::Path;

use crate::model::{Assignment, LoadState, UnitSettings, UnitStatus};

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

/// What of the work is not in force, because another's file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruled {
    /// Which part of it.
    pub part: Part,
    /// What is not in force, what is instead, and by whom.
    pub why: String,
}

/// A part of the generated files, by what the work is without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The unit file that the service brings: without it another program runs.
    UnitFile,
    /// The service's variables and credentials: its program would miss them.
    Content,
    /// The restart policy and the start limit: an administrator may set others.
    Restart,
}

impl Part {
    fn overruled(self, why: String) -> Overruled {
        Overruled { part: self, why }
    }
}

/// Which of the files that the work asks for are not in force, or would not be, if any, the worst first: another's are.
pub fn overruled(unit: &UnitStatus, assignment: &Assignment, placed: Placed<'_>) -> Option<Overruled> {
    if unit.load != LoadState::Loaded {
        return None;
    }
    let shadowed = assignment.template.unit_file.is_some().then(|| shadowed(unit, placed)).flatten();
    let undone = || (placed.has_drop_in && placed.loaded).then(|| undone(unit, assignment, placed)).flatten();
    shadowed.map(|why| Part::UnitFile.overruled(why)).or_else(undone)
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
fn undone(unit: &UnitStatus, assignment: &Assignment, placed: Placed<'_>) -> Option<Overruled> {
    let paths = &unit.drop_in_paths;
    let Some(position) = paths.iter().position(|path| Path::new(path) == placed.drop_in) else {
        let other = paths.iter().find(|path| Path::new(path).file_name() == placed.drop_in.file_name());
        let ours = placed.drop_in.display();
        let why = match other {
            Some(other) => Some(format!("{other} is in force, not {ours}: remove it from this host")),
            None => (!placed.doubted).then(|| {
                format!("systemd does not apply {ours}: a file of the same name masks it, see `systemctl cat`")
            }),
        };
        return why.map(|why| Part::Content.overruled(why));
    };
    let settings = unit.settings.as_ref()?;
    let later = &paths[position + 1..];
    let by = if later.is_empty() { "another file of the unit".to_owned() } else { later.join(" or ") };
    if let Some(lost) = lost(settings, assignment, placed.variables) {
        let why = format!("{lost} is not in force: {by} takes it back; remove it there, see `systemctl cat`");
        return Some(Part::Content.overruled(why));
    }
    let (wanted, found) = other_policy(settings, assignment)?;
    Some(Part::Restart.overruled(format!("{by} sets {found}: zkops's {wanted} is not in force")))
}

/// The first setting of the restart policy and the start limit that is not in force, and what is instead.
fn other_policy(settings: &UnitSettings, assignment: &Assignment) -> Option<(String, String)> {
    let restart = &assignment.template.restart;
    let policy = restart.policy.as_str();
    if settings.restart != policy {
        return Some((format!("Restart={policy}"), format!("Restart={}", settings.restart)));
    }
    if settings.limit_burst != restart.limit_burst {
        let found = format!("StartLimitBurst={}", settings.limit_burst);
        return Some((format!("StartLimitBurst={}", restart.limit_burst), found));
    }
    // systemd counts in microseconds.
    if settings.limit_interval.as_micros() != restart.limit_interval.get().as_nanos().div_ceil(1_000) {
        let found = format!("StartLimitIntervalSec={:?}", settings.limit_interval);
        return Some((format!("StartLimitIntervalSec={}", restart.limit_interval), found));
    }
    None
}

/// The first of the work's variables and credentials that is not in force.
fn lost(settings: &UnitSettings, assignment: &Assignment, variables: &Path) -> Option<String> {
    if !settings.environment_files.iter().any(|path| Path::new(path) == variables) {
        return Some(format!("EnvironmentFile={}", variables.display()));
    }
    let unset = assignment.template.environment.iter().find(|(name, value)| {
        let wanted = |word: &String| word.split_once('=') == Some((name.as_str(), value.as_str()));
        !settings.environment.iter().any(wanted)
    });
    if let Some((name, _)) = unset {
        // Not its value: it may be meant for few eyes.
        return Some(format!("Environment={name}"));
    }
    let lost = assignment
        .template
        .credentials
        .iter()
        .find(|(name, path)| !settings.credentials.iter().any(|(there, from)| (there, from) == (*name, *path)));
    lost.map(|(name, _)| format!("LoadCredential={name}"))
}
