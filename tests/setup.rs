//! `vm-tests/setup` with an apt that does as it is told: which tries it makes, in which order, and what it says at the end.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Knows the packages of `installed`; each `install` that matches a pattern in `grants` installs what it names.
const DPKG_QUERY: &str = r#"grep -qx "$3" installed && printf installed"#;
const APT_GET: &str = r#"echo "$@" >>calls
case $1 in
update) echo "W: no such mirror"; exit "$(cat update)" ;;
esac
if echo "$@" | grep -q -e "$(cat grants)"; then
	for word; do case $word in -* | install | *=* | bookworm*) ;; *) echo "$word" >>installed ;; esac; done
	[ ! -e takes ] || sed -i "/^$(cat takes)\$/d" installed
else
	echo "E: Packages need to be removed but remove is disabled: $*"
	exit 100
fi"#;

struct Machine(TempDir);

impl Machine {
    /// Has some packages; apt installs when its words match `grants`.
    fn with(installed: &[&str], grants: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.program("dpkg-query", DPKG_QUERY);
        machine.program("apt-get", APT_GET);
        machine.program("id", "echo 0");
        machine.write("installed", &format!("{}\n", installed.join("\n")));
        machine.write("grants", grants);
        machine.write("update", "0");
        machine.write("calls", "");
        machine
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let folder = self.path().display();
        self.write(name, &format!("#!/bin/sh\ncd {folder}\n{text}\n"));
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn setup(&self, packages: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm-tests/setup");
        let path = format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap());
        Command::new(script).args(packages).env("PATH", path).output().unwrap()
    }

    /// What apt was asked, without the list's update.
    fn tries(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path().join("calls")).unwrap();
        calls.lines().filter(|line| line.starts_with("install ")).map(str::to_owned).collect()
    }
}

#[test]
fn a_machine_that_has_it_all_does_not_ask_apt() {
    let machine = Machine::with(&["gcc", "qemu-utils"], ".");
    let output = machine.setup(&["gcc", "qemu-utils"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(machine.path().join("calls")).unwrap(), "");
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// What apt has to be asked with until it installs, and how many tries that takes.
#[test]
fn what_is_in_the_way_is_never_removed() {
    for (grants, tries) in
        [("^install", 1), ("--target-release=[a-z]*-backports", 3), ("Dir::Etc::Preferences=.* --allow-downgrades", 4)]
    {
        let machine = Machine::with(&["qemu-utils"], grants);
        let output = machine.setup(&["qemu-utils", "qemu-system-x86"]);
        assert!(output.status.success(), "{grants}: {output:?}");
        let asked = machine.tries();
        assert_eq!(asked.len(), tries, "{asked:#?}");
        for each in &asked {
            assert!(each.contains(" --no-remove ") && each.ends_with(" qemu-system-x86"), "{each}");
        }
    }
}

#[test]
fn what_stays_missing_is_told_in_apts_words() {
    let machine = Machine::with(&["qemu-utils"], "never");
    let output = machine.setup(&["qemu-utils", "qemu-system-x86", "gcc"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("E: Packages need to be removed but remove is disabled"), "{said}");
    assert!(said.contains("W: no such mirror"), "{said}");
    assert!(said.contains("still missing: qemu-system-x86 gcc."), "{said}");
}

/// The others are as the release has them.
#[test]
fn only_what_something_is_in_the_way_of_comes_from_elsewhere() {
    let machine = Machine::with(&[], "=600 gcc$\\|backports qemu-utils$");
    let output = machine.setup(&["gcc", "qemu-utils"]);
    assert!(output.status.success(), "{output:?}");
    let asked = machine.tries();
    assert!(asked[0].ends_with(" gcc qemu-utils"), "{asked:#?}");
    assert!(asked[1].ends_with("=600 gcc") && asked[2].ends_with("=600 qemu-utils"), "{asked:#?}");
    assert!(asked[3].contains("-backports") && asked[3].ends_with(" qemu-utils") && asked.len() == 4, "{asked:#?}");
}

/// Whatever apt does, it is the whole list that has to be there.
#[test]
fn a_package_that_went_away_meanwhile_is_missed() {
    let machine = Machine::with(&["qemu-utils"], "^install");
    machine.write("takes", "qemu-utils");
    let output = machine.setup(&["qemu-utils", "qemu-system-x86"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("still missing: qemu-utils."), "{said}");
}

#[test]
fn a_list_that_cannot_be_fetched_matters_only_if_the_old_one_does_not_do() {
    let machine = Machine::with(&[], "^install");
    machine.write("update", "100");
    let output = machine.setup(&["gcc"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn who_is_not_root_is_told_what_is_missing() {
    let machine = Machine::with(&[], "^install");
    machine.program("id", "echo 1000");
    let output = machine.setup(&["gcc"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "must be root to install: gcc\n");
    assert_eq!(machine.tries(), [""; 0]);
}
