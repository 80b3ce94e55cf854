//! Archives made by the real tar(1), and made up ones.
#![allow(clippy::unwrap_used)]

use std::{os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;

fn limits(bytes: u64) -> Limits {
    Limits { bytes, deadline: Instant::now() + Duration::from_secs(60) }
}

/// Unpacks an archive that has these bytes.
fn unpacked(archive: &[u8], bytes: u64) -> (TempDir, Result<(), SourceError>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("archive"), archive).unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    let result = unpack(&dir.path().join("archive"), &dir.path().join("new"), 0, limits(bytes));
    (dir, result)
}

/// Has the real tar(1) pack what a script makes; `None` where there is none.
fn packed(script: &str, options: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-ec", script]).current_dir(dir.path()).status().unwrap();
    assert!(made.success(), "{script}");
    let tar = Command::new("tar").args(options).args(["-cf", "-", "-C"]).arg(dir.path()).arg(".").output().ok()?;
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    Some(tar.stdout)
}

/// A header and its content, with the checksum that belongs to it.
fn entry(name: &[u8], kind: u8, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// An attribute of pax, with its length.
fn attribute(record: &str) -> String {
    let length = (1..100_usize).find(|length| length.to_string().len() + record.len() + 2 == *length).unwrap();
    format!("{length} {record}\n")
}

const FORMATS: [&[&str]; 5] =
    [&["--format=v7"], &["--format=oldgnu"], &["--format=gnu"], &["--format=ustar"], &["--format=posix"]];

const SPARSE: [&[&str]; 4] = [
    &["--format=gnu", "-S"],
    &["--format=posix", "-S", "--sparse-version=0.0"],
    &["--format=posix", "-S", "--sparse-version=0.1"],
    &["--format=posix", "-S", "--sparse-version=1.0"],
];

#[test]
fn all_formats_of_tar_unpack_alike() {
    let script = "mkdir -p bin lib/deep; echo one >bin/app; chmod 4755 bin/app; ln bin/app bin/hard; ln -s app bin/soft; \
                  : >empty; echo '[x]' >lib/deep/.conf; touch -d @1500000000 lib/deep/.conf; printf '%513s' x >block";
    for format in FORMATS {
        let Some(archive) = packed(script, format) else { return };
        let (dir, result) = unpacked(&archive, MIB);
        assert_eq!(result, Ok(()), "{format:?}");
        let read = |path: &str| fs::read_to_string(dir.path().join("new").join(path)).unwrap();
        assert_eq!(
            (read("bin/app"), read("bin/hard"), read("bin/soft")),
            ("one\n".into(), "one\n".into(), "one\n".into())
        );
        assert_eq!((read("empty"), read("lib/deep/.conf"), read("block").len()), (String::new(), "[x]\n".into(), 513));
        let about = |path: &str| dir.path().join("new").join(path).metadata().unwrap();
        assert_eq!((about("bin/app").mode() & 0o7777, about("bin/app").nlink()), (0o755, 2), "{format:?}");
        assert_eq!(about("lib/deep/.conf").mtime(), 1_500_000_000, "{format:?}");
    }
}

#[test]
fn long_names_are_whole() {
    let (folder, name) = ("d".repeat(120), "n".repeat(200));
    let script =
        format!("mkdir -p {folder}/{folder}; echo one >{folder}/{folder}/{name}; ln -s ../{folder}/{name} {folder}/l");
    for format in [FORMATS[1], FORMATS[2], FORMATS[4]] {
        let Some(archive) = packed(&script, format) else { return };
        let (dir, result) = unpacked(&archive, MIB);
        assert_eq!(result, Ok(()), "{format:?}");
        let path = dir.path().join("new").join(&folder);
        assert_eq!(fs::read_to_string(path.join(&folder).join(&name)).unwrap(), "one\n");
        assert_eq!(fs::read_link(path.join("l")).unwrap(), Path::new(&format!("../{folder}/{name}")));
    }
}

#[test]
fn sparse_files_are_what_they_were() {
    let script = "truncate -s 1M holes; printf middle | dd of=holes bs=1 seek=524288 conv=notrunc status=none; \
                  truncate -s 3M empty; printf x >>empty; echo dense >dense; truncate -s 2M nothing; \
                  for n in $(seq 40); do printf x | dd of=many bs=1 seek=$((n * 65536)) conv=notrunc status=none; done; \
                  truncate -s 4M many";
    for format in SPARSE {
        let Some(archive) = packed(script, format) else { return };
        assert!(archive.len() < 500_000, "{format:?}: {}", archive.len());
        let (dir, result) = unpacked(&archive, 20 * MIB);
        assert_eq!(result, Ok(()), "{format:?}");
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("new")).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dense", "empty", "holes", "many", "nothing"], "{format:?}");
        let read = |name: &str| fs::read(dir.path().join("new").join(name)).unwrap();
        let mut holes = vec![0; 1 << 20];
        holes[524_288..524_294].copy_from_slice(b"middle");
        let mut empty = vec![0; 3 << 20];
        empty.push(b'x');
        let mut many = vec![0; 4 << 20];
        (1..=40).for_each(|n| many[n * 65_536] = b'x');
        assert!(read("holes") == holes && read("empty") == empty && read("many") == many, "{format:?}");
        assert!(read("dense") == b"dense\n" && read("nothing") == vec![0; 2 << 20], "{format:?}");
    }
}

#[test]
fn all_may_read_what_was_packed_under_any_umask() {
    let script = "umask 077; mkdir -p bin etc; echo x >bin/app; chmod 700 bin/app; echo x >etc/conf; chmod 600 etc/conf; \
                  echo x >etc/none; chmod 000 etc/none; echo x >etc/open; chmod 7777 etc/open; chmod 500 etc";
    let Some(archive) = packed(script, &[]) else { return };
    let (dir, result) = unpacked(&archive, MIB);
    assert_eq!(result, Ok(()));
    let modes = ["bin", "bin/app", "etc", "etc/conf", "etc/none", "etc/open"];
    let modes = modes.map(|path| dir.path().join("new").join(path).metadata().unwrap().mode() & 0o7777);
    assert_eq!(modes, [0o755, 0o755, 0o755, 0o644, 0o444, 0o755]);
}

#[test]
fn a_label_is_no_member_and_a_later_member_takes_the_place_of_an_earlier_one() {
    let mut archive = entry(b"volume", b'V', 0, b"");
    archive.extend(entry(b"app", b'0', 3, b"one"));
    archive.extend(entry(b"folder/", 0, 0, b""));
    archive.extend(entry(b"./app", b'0', 3, b"two"));
    let (dir, result) = unpacked(&archive, MIB);
    assert_eq!(result, Ok(()));
    assert_eq!(fs::read_to_string(dir.path().join("new/app")).unwrap(), "two");
    assert!(dir.path().join("new/folder").is_dir() && !dir.path().join("new/volume").exists());
}

#[test]
fn an_archive_can_only_become_so_large() {
    let huge = 400 * MIB;
    let pax = |records: &[&str]| {
        let records = records.iter().map(|record| attribute(record)).collect::<Vec<_>>().concat();
        [entry(b"p", b'x', records.len() as u64, records.as_bytes()), entry(b"app", b'0', 3, b"one")].concat()
    };
    let cases = [
        (entry(b"././@LongLink", b'L', huge, &[0; 4096]), "name or attributes have 419430400 bytes"),
        (entry(b"././@LongLink", b'K', huge, &[0; 4096]), "name or attributes"),
        (entry(b"pax", b'x', huge, b""), "name or attributes"),
        (entry(b"pax", b'g', huge, b""), "name or attributes"),
        (entry(b"app", b'0', 11 * MIB, b""), "unpacks to more than 10485760 bytes"),
        (entry(b"app", b'0', u64::MAX, b""), "bad archive"),
        (entry(b"folder", b'5', 11 * MIB, b""), "unpacks to more than"),
        (entry(b"label", b'V', huge, b""), "name or attributes"),
        ([entry(b"a", b'0', 3, b"one"), entry(b"b", b'0', 11 * MIB, b"")].concat(), "unpacks to more than"),
        (pax(&["size=99999999"]), "unpacks to more than"),
        (pax(&["size=18446744073709551615"]), "bad archive"),
        (pax(&["size=99999999999999999999"]), "number in a member's attributes"),
        (pax(&["path=/evil/a"]), "absolute path"),
        (pax(&["GNU.sparse.major=1", "GNU.sparse.minor=0"]), "written in a way that is not known"),
        (pax(&["GNU.sparse.major=1", "GNU.sparse.realsize=999999999"]), "map cannot be read"),
        (pax(&["GNU.sparse.major=9", "GNU.sparse.realsize=99"]), "not known"),
        (pax(&["GNU.sparse.x=1000"]), "not known"),
        (pax(&["size"]), "attributes cannot be read"),
        (pax(&["GNU.sparse.size=1000", "GNU.sparse.map=0,3,2,5"]), "map makes no sense"),
        (pax(&["GNU.sparse.size=1000", "GNU.sparse.map=0,3,9,5"]), "not of its content"),
        (pax(&["GNU.sparse.size=999999999", "GNU.sparse.map=0,3"]), "unpacks to more than"),
        ([entry(b"g", b'g', 10, b"10 path=x\n"), entry(b"app", b'0', 3, b"one")].concat(), "to all of its members"),
        (entry(b"pax", b'x', 10, b"10 path=x\n"), "in the middle of a member"),
        (entry(b"app", b'D', 0, b""), "special kind"),
        (entry(b"app", b'M', 0, b""), "special kind"),
        (entry(b"app", b'?', 0, b""), "special kind"),
    ];
    for (archive, words) in cases {
        let (_, result) = unpacked(&archive, 10 * MIB);
        let error = result.unwrap_err();
        assert!(error.rejected && error.message.contains(words), "{words}: {error}");
    }
}

#[test]
fn unpacking_ends_at_its_deadline() {
    let archive = entry(b"app", b'0', 3, b"one");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("archive"), archive).unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    let late = Limits { bytes: MIB, deadline: Instant::now().checked_sub(Duration::from_secs(1)).unwrap() };
    let error = unpack(&dir.path().join("archive"), &dir.path().join("new"), 0, late).unwrap_err();
    assert!(!error.rejected && error.message.contains("took too long"), "{error}");
}

/// Every path below the folder, links not followed.
fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            walk(&path, found);
        }
        found.push(path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever the bytes: no panic, nothing outside, nothing that others may write or that is no file, folder or link.
    #[test]
    fn whatever_an_archive_holds_it_stays_in_its_folder(
        which in 0_usize..4, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        sums in any::<bool>(),
    ) {
        let script = "mkdir d; echo one >d/app; ln d/app hard; ln -s .. up; truncate -s 64K s; echo x >>s";
        let Some(mut archive) = packed(script, SPARSE[which]) else { return Ok(()) };
        archive.truncate(10 * 512);
        for (index, byte) in changes {
            let at = index.index(archive.len());
            archive[at] = byte;
            if sums {
                let header = &mut archive[at / 512 * 512..][..512];
                let mut fixed = tar::Header::new_old();
                fixed.as_mut_bytes().copy_from_slice(header);
                fixed.set_cksum();
                header.copy_from_slice(fixed.as_bytes());
            }
        }
        let (dir, _) = unpacked(&archive, MIB);
        let mut found = Vec::new();
        walk(dir.path(), &mut found);
        for path in found.iter().filter(|path| **path != dir.path().join("archive") && **path != dir.path().join("new")) {
            prop_assert!(path.starts_with(dir.path().join("new")), "{path:?}");
            let about = path.symlink_metadata().unwrap();
            let kind = about.file_type();
            prop_assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{path:?}");
            prop_assert!(kind.is_symlink() || about.mode() & 0o7022 == 0, "{path:?} {:o}", about.mode());
        }
    }
}
