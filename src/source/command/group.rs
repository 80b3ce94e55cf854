//! The control group of a unit: whether anything of it runs, and can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the control groups that systemd makes may be mounted.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// SIGKILL in the masks of proc(5).
const KILL: u64 = 1 << (9 - 1);

/// Whether processes of the unit run; `None` when its control group is not to be seen from here.
pub(crate) fn is_populated(unit: &str) -> Option<bool> {
    group(unit).as_deref().map(populated)
}

/// Whether a process of the unit was killed and is still there: it waits for a disk that hangs, say.
pub(crate) fn is_killed_in_vain(unit: &str) -> bool {
    let processes = group(unit).and_then(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let status = |process: &str| fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    processes.is_some_and(|processes| processes.lines().any(|process| awaits_its_end(&status(process))))
}

fn group(unit: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    HIERARCHIES.iter().find_map(|hierarchy| group_in(Path::new(hierarchy), &own, unit))
}

/// The unit's group is beside this process's own, which tells where in the hierarchy systemd's groups begin: in a
/// container that sees its host's, not at the top.
fn group_in(hierarchy: &Path, own: &str, unit: &str) -> Option<PathBuf> {
    let of_systemd = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let top = &path[..path.find("/system.slice/")?];
        let seen = hierarchy.join(path.trim_start_matches('/')).is_dir();
        let wanted = seen && matches!(controllers, "" | "name=systemd");
        wanted.then(|| hierarchy.join(top.trim_start_matches('/')).join("system.slice").join(unit))
    };
    own.lines().find_map(of_systemd)
}

/// Whether there are processes in the group; there are none in one that is not there.
fn populated(group: &Path) -> bool {
    let events = fs::read_to_string(group.join("cgroup.events"));
    let events = events.map(|events| events.lines().any(|line| line == "populated 1"));
    // The first version of control groups has no such file.
    events.unwrap_or_else(|_| fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|all| !all.is_empty()))
}

/// Whether SIGKILL is on its way to a process with this `/proc/PID/status`, which has not taken it.
fn awaits_its_end(status: &str) -> bool {
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & KILL != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_units_control_group_tells_whether_anything_of_it_runs() {
        let host = tempfile::tempdir().unwrap();
        let slice = host.path().join("lxc/a/system.slice");
        fs::create_dir_all(slice.join("zkops-agent.service")).unwrap();
        let own = "1:name=other:/x\n0::/lxc/a/system.slice/zkops-agent.service\n";
        let ask = |own| group_in(host.path(), own, "u.service").as_deref().map(populated);
        assert_eq!(ask(own), Some(false), "not begun, or gone");
        fs::create_dir(slice.join("u.service")).unwrap();
        for (file, text, runs) in [
            ("cgroup.procs", "", false),
            ("cgroup.procs", "7\n", true),
            ("cgroup.events", "populated 0\nfrozen 0\n", false),
            ("cgroup.events", "populated 1\nfrozen 0\n", true),
        ] {
            fs::write(slice.join("u.service").join(file), text).unwrap();
            assert_eq!(ask(own), Some(runs), "{file}: {text}");
        }
        for unseen in ["", "0::/\n", "0::/system.slice/zkops-agent.service\n", "0::/user.slice/a.scope\n"] {
            assert_eq!(ask(unseen), None, "{unseen}");
        }
    }

    #[test]
    fn what_was_killed_and_has_not_died_is_told_from_what_was_not() {
        let status =
            |private, shared| format!("State:\tD (disk sleep)\nSigPnd:\t{private}\nShdPnd:\t{shared}\nSigBlk:\t0\n");
        let none = "0000000000000000";
        for (private, shared, expected) in [
            (none, none, false),
            ("0000000000000100", none, true),
            (none, "0000000000004100", true),
            (none, "0000000000004000", false),
        ] {
            assert_eq!(awaits_its_end(&status(private, shared)), expected, "{private} {shared}");
        }
        assert!(!awaits_its_end(""), "it is gone");
        assert!(!awaits_its_end(&fs::read_to_string("/proc/self/status").unwrap()));
    }
}
