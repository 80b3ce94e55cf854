//! `zkops ensemble init`: who is a member, written into this host's ensemble.conf.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, UdpSocket},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    cli::{failure::Failure, render},
    model::ensemble::file::{self, Conf, List, Members},
};

/// Where zkops-zookeeper.service reads who is a member.
const FILE: &str = "/etc/zkops/ensemble.conf";
/// Where it keeps its data.
const DATA: &str = "/var/lib/zkops-zookeeper/data";
/// What the member that runs was started with, which the file may no longer say.
const RUNNING: &str = "/run/zkops-zookeeper/zoo.cfg";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The members are numbered in their order, or as given (1=zk1,2=zk2,4=zk4). A number never changes.
All else in the file stays. Again with the same members, nothing is changed; with others, it takes
--force, and members may be added, replaced or removed one at a time only (compared with the file,
and with what the member here was started with), because lists that differ in more could each
elect a leader. So could they when one is replaced: that is safe only if the old host can never
start again.

A host knows which member it is by its host name or address. Where that cannot be, --id or --host
say it.

Exit codes: 2 a list that is none, 4 a file with other members, or data of another member.

Examples:
  zkops ensemble init --members zk1,zk2,zk3
  zkops ensemble init --members zk1,zk2,zk3,zk4 --transitional --force")]
pub(super) struct Args {
    /// The members, joined by ',': 3, 5 or 7 of HOST, HOST:2888:3888 or N=HOST
    #[arg(long, value_name = "LIST")]
    members: List,
    /// The number of the member that this host is
    #[arg(long, value_name = "N", value_parser = file::number)]
    id: Option<u8>,
    /// The member that this host is, as the list names it
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    host: Option<String>,
    /// The file
    #[arg(long, value_name = "FILE", default_value = FILE, env = "ZKOPS_ENSEMBLE_CONF")]
    file: PathBuf,
    /// Allow 4 or 6 members, on the way to one more or one fewer
    #[arg(long)]
    transitional: bool,
    /// Replace other members that the file names
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let members = &args.members.0;
    check_count(members.len(), args.transitional)?;
    let (own, id) = own(args, members)?;
    let old = read(&args.file)?;
    let before = Conf::parse(&old).map_err(|error| Failure::Input(format!("{}: {error}", args.file.display())))?;
    let after = Conf { members: members.clone(), id };
    check_data(own, &before, &after, &args.file)?;
    let text = after.write_into(&old);
    if before == after {
        render::line(&format!("{} is so already, unchanged", args.file.display()))?;
    } else {
        check_force(args, &before, &old, &text)?;
        write(&args.file, &text).with_context(|| format!("cannot write {}", args.file.display()))?;
        render::line(&format!("{} written", args.file.display()))?;
        render::out(&moves(&before.members, members))?;
    }
    render::out(&next_steps(members, own, has_data()))?;
    Ok(())
}

fn check_count(count: usize, transitional: bool) -> Result<(), Failure> {
    match count {
        3 | 5 | 7 => Ok(()),
        4 | 6 if transitional => Ok(()),
        4 | 6 => Err(Failure::Input(format!(
            "--members: {count} members bear no more losses than {}: give 3, 5 or 7 (--transitional, on the way there)",
            count - 1
        ))),
        _ => Err(Failure::Input(format!("--members: {count} members: give 3, 5 or 7"))),
    }
}

/// The member that this host is, and the number to be written, where the host's name does not tell.
fn own(args: &Args, members: &Members) -> Result<(u8, Option<u8>), Failure> {
    if let Some(id) = args.id {
        let none = || Failure::Input(format!("--id: no member has the number {id}"));
        return members.contains_key(&id).then_some((id, Some(id))).ok_or_else(none);
    }
    if let Some(host) = &args.host {
        let found =
            members.iter().find(|(_, server)| server.host.eq_ignore_ascii_case(host)).map(|(number, _)| *number);
        return match found {
            Some(number) => Ok((number, Some(number))),
            None => Err(Failure::Input(format!("--host: {host} is not in --members"))),
        };
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match file::named(members, &name, is_own_address).as_slice() {
        [number] => Ok((*number, None)),
        [] => Err(Failure::Input(format!(
            "this host ({name}) is not in --members: --host NAME or --id N say which it is"
        ))),
        several => {
            let text =
                format!("{} members may be this host ({name}): --host NAME or --id N say which it is", several.len());
            Err(Failure::Input(text))
        }
    }
}

/// An address that can be listened at is this host's.
fn is_own_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| UdpSocket::bind((address, 0)).is_ok())
}

fn read(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whether this host has been a member that had data.
fn has_data() -> bool {
    Path::new(DATA).join("version-2").exists()
}

/// Refuses what the member would not start with, and what could lose data.
fn check_data(own: u8, before: &Conf, after: &Conf, path: &Path) -> anyhow::Result<()> {
    if path != Path::new(FILE) {
        return Ok(());
    }
    let was = fs::read_to_string(Path::new(DATA).join("myid")).unwrap_or_default();
    if !was.trim().is_empty() && was.trim() != own.to_string() {
        let was = was.trim();
        return Err(Failure::Conflict(format!(
            "this host would be member {own}, but {DATA} is member {was}'s: give it the number {was}, or (to join as a \
             new, empty member) stop zkops-zookeeper and move {DATA} and the folder log beside it away"
        ))
        .into());
    }
    if has_data() {
        check_changes(&before.members, &file::in_zoo_cfg(&read(Path::new(RUNNING))?), &after.members)?;
    }
    Ok(())
}

/// Refuses more than one change of what the file says, and of what the member runs with until it is restarted.
fn check_changes(before: &Members, running: &Members, after: &Members) -> Result<(), Failure> {
    let known = [before, running].into_iter().filter(|members| !members.is_empty());
    match known.map(|members| file::differences(members, after)).max() {
        Some(changes) if changes > 1 => Err(Failure::Conflict(format!(
            "{changes} members would be changed at once, and two parts of the ensemble could each elect a leader: add, \
             replace or remove one, restart all members (zkops ensemble rolling-restart), then the next"
        ))),
        _ => Ok(()),
    }
}

fn check_force(args: &Args, before: &Conf, old: &str, new: &str) -> Result<(), Failure> {
    if args.force || (before.members.is_empty() && before.id.is_none()) {
        return Ok(());
    }
    let diff = similar::TextDiff::from_lines(old, new).unified_diff().context_radius(1).to_string();
    let path = args.file.display();
    Err(Failure::Conflict(format!("{path} names other members; --force replaces them:\n{}", diff.trim_end())))
}

/// The whole file or nothing of it, whatever happens meanwhile, where a link leads. Its owner, group and mode stay; a new
/// one can be read by everybody.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Err(_) if fs::symlink_metadata(path).is_err() => path.to_owned(),
        found => found?,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let old = fs::metadata(&path).ok();
    let mut aside = tempfile::Builder::new().prefix(".ensemble.conf.").tempfile_in(folder)?;
    aside.write_all(text.as_bytes())?;
    if let Some(old) = &old {
        fchown(aside.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    let mode = old.map_or(0o644, |old| old.mode() & 0o7777);
    aside.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    aside.as_file().sync_all()?;
    aside.persist(&path)?;
    File::open(folder)?.sync_all()
}

/// What must never happen from now on, for each member that is on another host than before.
fn moves(before: &Members, after: &Members) -> String {
    let line = |(number, old, new): (u8, &str, &str)| {
        format!(
            "member {number} was on {old}, and is on {new} now: {old} must never start as a member again, since with the \
             old list it could elect a second leader\n"
        )
    };
    file::moved(before, after).into_iter().map(line).collect()
}

fn next_steps(members: &Members, own: u8, running: bool) -> String {
    let others: Vec<&str> =
        members.iter().filter(|(number, _)| **number != own).map(|(_, it)| it.host.as_str()).collect();
    let servers: Vec<String> = members.values().map(|server| server.client(2181).to_string()).collect();
    let servers = servers.join(",");
    let host = members.get(&own).map_or("", |server| server.host.as_str());
    let start = if running {
        format!("zkops -z {servers} ensemble rolling-restart")
    } else {
        "systemctl start --no-block zkops-zookeeper    # on each of them".to_owned()
    };
    format!(
        "this host is member {own}, {host}, of {}\nnext:\n  the same members on {}\n  {start}\n  zkops -z {servers} ensemble status\n",
        members.len(),
        others.join(", "),
    )
}

#[cfg(test)]
mod tests;
