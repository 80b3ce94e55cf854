#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;

use super::*;

fn outcome(status: i32, output: &str) -> Outcome {
    Outcome { status: Some(status), late: false, output: output.to_owned() }
}

#[test]
fn reads_what_dpkg_query_says() {
    let installed = |version: &str, held| Some(Installed { version: version.to_owned(), held });
    assert_eq!(parse("install installed 1:2.3-1\n"), installed("1:2.3-1", false));
    assert_eq!(parse("hold installed 1.0\n"), installed("1.0", true));
    assert_eq!(parse("install config-files 1.0\ninstall installed 1.1\n"), installed("1.1", false));
    for nothing in ["", "deinstall config-files 1.0\n", "unknown not-installed \n", "install half-configured 1.0\n"] {
        assert_eq!(parse(nothing), None, "{nothing}");
    }
}

#[test]
fn asks_dpkg_once_for_each_change_of_its_record() {
    let apt = Apt::new("/nowhere".into());
    let Some(dpkg) = apt.known.installed("dpkg") else { return };
    assert!(apt.has("dpkg", &dpkg.version) && !apt.has("dpkg", "0"));
    assert!(apt.known.lock().contains_key("dpkg"));
    assert_eq!(apt.known.installed("zkops-no-such-package"), None);
}

#[test]
fn names_and_versions_can_smuggle_nothing_in() {
    for (package, version) in [("webapp", "1"), ("g++", "1:2.3.4-5~deb12u1"), ("libx2.0-dev", "1.0+b1")] {
        assert!(check(package, version).is_ok(), "{package} {version}");
    }
    for bad in ["", "v1", "1.*", "1 2", "1-", "1+", "1=2", "1/stable", "-o=x", "1;x", "1.deb/../x", "1\n2"] {
        assert!(check("webapp", bad).unwrap_err().rejected, "{bad}");
    }
    // apt-get takes the first for a file: `PACKAGE=VERSION` is one that ends in .deb.
    let file = "/var/lib/zkops/releases/carrier/v1/evil";
    for bad in [file, "./evil", "-o=x", "--", "", "x", "Webapp", "webapp*", "webapp:amd64", "web app", "webapp=1"] {
        let error = check(bad, "1.deb").unwrap_err();
        assert!(error.rejected && error.message.contains("no name of a Debian package"), "{bad}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_package_reaches_no_command() {
    let dir = tempfile::tempdir().unwrap();
    let (apt, folder) = (Apt::new(dir.path().join("apt")), Folder::new(dir.path().join("releases")));
    let evil = dir.path().join("evil").display().to_string();
    let fetched = apt.fetch(&evil, "1.deb", &folder, Duration::from_secs(5)).await;
    let installed = apt.install(&evil, "1.deb", &"webapp.service".parse().unwrap()).await;
    assert!(fetched.unwrap_err().rejected && installed.unwrap_err().rejected);
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "not even the stand-in for systemctl is made");
}

#[test]
fn installs_exactly_one_version_and_asks_nobody() {
    let order = apt_get(install("webapp", "1.2-3", true), Vec::new(), None);
    let line = order.command.join(" ");
    assert_eq!(
        line,
        "apt-get -q -o DPkg::Lock::Timeout=60 --yes --allow-downgrades --no-remove --allow-change-held-packages \
         -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install -- webapp=1.2-3"
    );
    assert!(order.environment.contains(&("DEBIAN_FRONTEND".into(), "noninteractive".to_owned())));
    assert!(!install("webapp", "1.2-3", false).contains(&"--allow-change-held-packages".to_owned()));
}

#[test]
fn tells_what_may_pass_from_what_never_will() {
    let dpkg = "E: Sub-process /usr/bin/dpkg returned an error code (1)";
    let cases = [
        ("E: Version '9' for 'webapp' was not found", true),
        ("E: Unable to locate package webapp", true),
        ("webapp : Depends: libx\nE: Unable to correct problems, you have held broken packages.", true),
        ("E: Packages need to be removed but remove is disabled.", true),
        (dpkg, true),
        (&format!("dpkg: error: cannot write: No space left on device\n{dpkg}"), false),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", false),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)", false),
        ("E: Failed to fetch http://x/y.deb  Could not connect", false),
        ("E: Failed to fetch http://x/y.deb  Hash Sum mismatch", false),
    ];
    for (output, rejected) in cases {
        let error = judge(&outcome(100, output), "webapp", "9").unwrap_err();
        assert_eq!(error.rejected, rejected, "{output}");
        assert!(error.message.starts_with("apt-get install webapp=9"), "{error}");
    }
    assert_eq!(judge(&outcome(0, dpkg), "webapp", "9"), Ok(()));
    let late = Outcome { late: true, ..outcome(1, dpkg) };
    assert!(!judge(&late, "webapp", "9").unwrap_err().rejected);
}

/// What the stand-in hands on to the real systemctl for these words; `None` when it does not call it.
fn handed_on(words: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    fs::write(&real, "#!/bin/sh\necho \"called: $*\"\n").unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
    let script = SYSTEMCTL.replace("/usr/bin/systemctl /bin/systemctl", &real.display().to_string());
    fs::create_dir_all(dir.path().join("units/worker@1.service.d")).unwrap();
    symlink("/dev/null", dir.path().join("units/worker@1.service.d/50-zkops.conf")).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", &script, "systemctl"])
        .args(words)
        .env("ZKOPS_HELD_UNITS", "webapp@0000000001.service db.service")
        .env("ZKOPS_UNIT_DIR", dir.path().join("units"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().strip_prefix("called: ").map(str::to_owned)
}

#[test]
fn maintainer_scripts_leave_driven_units_alone_and_no_others() {
    let cases: [(&[&str], Option<&str>); 17] = [
        (&["--system", "daemon-reload"], Some("--system daemon-reload")),
        (&["restart", "webapp@0000000001.service"], None),
        (
            &["--quiet", "--system", "restart", "webapp@0000000001.service", "other.service"],
            Some("--quiet --system restart other.service"),
        ),
        (&["stop", "db"], None),
        (&["start", "db.service", "worker@1"], None),
        (&["try-restart", "webapp@*.service"], None),
        (&["restart", "worker@*.service", "--no-block"], None),
        (&["restart", "webapp@.service"], None),
        (&["stop", "worker@.service"], None),
        (&["stop", "worker@2.service"], Some("stop worker@2.service")),
        (&["start", "web.service"], Some("start web.service")),
        (&["is-active", "db.service"], Some("is-active db.service")),
        (&["is-enabled", "--", "db.service"], Some("is-enabled -- db.service")),
        (&["enable", "--now", "db.service"], Some("enable db.service")),
        (&["enable", "--now", "web.service"], Some("enable --now web.service")),
        (&["--user", "restart", "db.service"], Some("--user restart db.service")),
        (&["daemon-reexec"], Some("daemon-reexec")),
    ];
    for (words, expected) in cases {
        assert_eq!(handed_on(words).as_deref(), expected, "{words:?}");
    }
}
