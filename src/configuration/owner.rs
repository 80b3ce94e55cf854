//! Users and groups by name: from the system's files, and from whatever else nsswitch.conf(5) names.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{blocking, model::read_number};

/// The user's number.
pub(super) fn user(name: &str) -> Result<u32, String> {
    let fix = "create it first (sysusers.d(5)), or leave the file's owner out";
    find("passwd", name).ok_or_else(|| format!("there is no user \"{name}\" on this host: {fix}"))
}

/// The group's number.
pub(super) fn group(name: &str) -> Result<u32, String> {
    let fix = "create it first (sysusers.d(5)), or leave the file's group out";
    find("group", name).ok_or_else(|| format!("there is no group \"{name}\" on this host: {fix}"))
}

fn find(database: &str, name: &str) -> Option<u32> {
    let of_file = || number(&fs::read_to_string(format!("/etc/{database}")).ok()?, name);
    read_number(name).ok().or_else(of_file).or_else(|| number(&getent(database, name)?, name))
}

/// Asks getent(1), which knows of directories and of systemd's dynamic users, too.
fn getent(database: &str, name: &str) -> Option<String> {
    if name.starts_with('-') {
        return None;
    }
    blocking::may_block();
    let mut command = Command::new("getent");
    let output = command.args([database, name]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The third field of the line that begins with the name; users and groups have it alike.
fn number(lines: &str, name: &str) -> Option<u32> {
    let fields = lines.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter(|fields| fields.first() == Some(&name));
    found.find_map(|fields| fields.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_users_and_groups() {
        assert_eq!(number("root:x:0:0::/:/bin/sh\nweb:x:33:33:,:/:/x\n", "web"), Some(33));
        assert_eq!((user("root"), group("root"), user("4711")), (Ok(0), Ok(0), Ok(4711)));
        let missing = user("zkops-nobody-here").err();
        assert!(missing.is_some_and(|message| message.contains("\"zkops-nobody-here\"")));
    }
}
