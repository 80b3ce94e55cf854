#![allow(clippy::unwrap_used)]
use clap::Parser as _;

use super::*;
use crate::cli::failure::code;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// The command on a file; the exit code, or 0.
fn init(file: &Path, words: &[&str]) -> (u8, String) {
    let first = ["init", "--file", file.to_str().unwrap()];
    match run(&Line::try_parse_from(first.iter().chain(words)).unwrap().args) {
        Ok(()) => (0, String::new()),
        Err(error) => (code(&error), format!("{error:#}")),
    }
}

const PACKAGED: &str = include_str!("../../../../packaging/etc/ensemble.conf");

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ensemble.conf");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn writes_a_packaged_file_once() {
    let (folder, path) = file(PACKAGED);
    let words = ["--members", "zk1,zk2,zk3", "--host", "zk2"];
    assert_eq!(init(&path, &words).0, 0);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{PACKAGED}server.1 = zk1\nserver.2 = zk2\nserver.3 = zk3\nid = 2\n"));
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(init(&path, &words).0, 0);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "it was written again");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_new_file_can_be_read_by_the_member() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/there/ensemble.conf");
    assert_eq!(init(&path, &["--members", "zk1,zk2,zk3", "--id", "1"]).0, 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn other_members_are_replaced_only_when_forced() {
    let (_folder, path) = file("tickTime = 1000\nserver.1 = zk1\nserver.2 = zk2\nserver.3 = zk3\n");
    let words = ["--members", "zk1,zk2,zk3,zk4,zk5", "--id", "1"];
    let (status, said) = init(&path, &words);
    assert_eq!(status, 4);
    assert!(said.contains("--force") && said.contains("+server.4 = zk4"), "{said}");
    assert_eq!(init(&path, &[&words[..], &["--force"]].concat()).0, 0);
    let text = fs::read_to_string(&path).unwrap();
    let servers = "server.1 = zk1\nserver.2 = zk2\nserver.3 = zk3\nserver.4 = zk4\nserver.5 = zk5\nid = 1\n";
    assert_eq!(text, format!("tickTime = 1000\n{servers}"));
}

fn members(text: &str) -> Members {
    text.parse::<List>().unwrap().0
}

#[test]
fn changes_are_counted_from_what_runs_too() {
    let (none, three, four) = (Members::new(), members("zk1,zk2,zk3"), members("zk1,zk2,zk3,zk4"));
    let five = members("zk1,zk2,zk3,zk4,zk5");
    for (before, running) in [(&four, &four), (&four, &none), (&none, &four), (&none, &none)] {
        assert!(check_changes(before, running, &five).is_ok(), "{before:?} {running:?}");
    }
    for (before, running) in [(&four, &three), (&three, &four), (&three, &none), (&five, &three), (&none, &three)] {
        let error = check_changes(before, running, &five).unwrap_err().to_string();
        assert!(error.starts_with("2 members would be changed at once"), "{error}");
    }
}

#[test]
fn a_member_on_another_host_is_warned_of() {
    let said = moves(&members("zk1,zk2,zk3"), &members("zk1,zk2,zk9"));
    assert!(said.starts_with("member 3 was on zk3, and is on zk9 now: zk3 must never start"), "{said}");
    assert_eq!(moves(&members("zk1,zk2,zk3"), &members("zk1,zk2,zk3,zk4")), "");
}

#[test]
fn a_link_stays_and_so_does_whose_the_file_is() {
    let (folder, path) = file(PACKAGED);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root can give it away; another's is as good.
    let _ = std::os::unix::fs::chown(&path, Some(1), Some(2));
    let whose = |path: &Path| fs::metadata(path).map(|file| (file.uid(), file.gid(), file.mode())).unwrap();
    let before = whose(&path);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("ensemble.conf", &link).unwrap();
    assert_eq!(init(&link, &["--members", "zk1,zk2,zk3", "--id", "1"]).0, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().contains("server.3 = zk3"));
    assert_eq!(whose(&path), before);
    fs::remove_file(&path).unwrap();
    assert_eq!(init(&link, &["--members", "zk1,zk2,zk3", "--id", "1"]).0, 1, "a link that leads nowhere stays");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn lists_that_make_no_ensemble_are_refused() {
    let (_folder, path) = file(PACKAGED);
    for (words, why) in [
        (&["--members", "zk1,zk2", "--id", "1"][..], "2 members: give 3, 5 or 7"),
        (&["--members", "zk1,zk2,zk3,zk4", "--id", "1"], "4 members bear no more losses than 3"),
        (&["--members", "zk1,zk2,zk3", "--id", "4"], "no member has the number 4"),
        (&["--members", "zk1,zk2,zk3", "--host", "zk4"], "zk4 is not in --members"),
        (&["--members", "a.invalid,b.invalid,c.invalid"], "is not in --members: --host NAME or --id N"),
    ] {
        let (status, said) = init(&path, words);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), PACKAGED);
    assert_eq!(init(&path, &["--members", "zk1,zk2,zk3,zk4", "--id", "1", "--transitional"]).0, 0);
}

#[test]
fn a_failed_write_keeps_the_old_file() {
    let (_folder, path) = file("");
    let (status, said) = init(&path.join("below"), &["--members", "zk1,zk2,zk3", "--id", "1"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("cannot read") || said.contains("cannot write"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn own_addresses_are_known() {
    assert!(is_own_address("127.0.0.1") && !is_own_address("192.0.2.1") && !is_own_address("zk1"));
}
