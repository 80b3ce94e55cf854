//! Unpacks a tar archive into a new folder.
//!
//! Nothing is written outside of that folder, whatever the archive says. Owners, extended attributes and the bits
//! setuid, setgid and sticky are left out, and so is write permission for group and others; all may read what is there,
//! whatever umask it was packed under: services run as users of their own. Symbolic links may lead anywhere, as a file's
//! content may name any path; but nothing is unpacked through one that leads outside.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
    time::Instant,
};

use super::{
    super::{SourceError, error::os_error, link},
    block::bad,
    members::{Kind, Member, Members},
};

/// What an archive may become, whatever it says: far more than any release has, and an end to what only fills the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// All files together, in bytes; of a sparse one, all that it seems to have.
    pub(super) bytes: u64,
    /// When all of it must be there.
    pub(super) deadline: Instant,
}

/// Unpacks the archive, whose kind its first bytes tell, into the folder `new`, which must be empty. `strip`
/// leading folders of each path are left out. Gives up past a limit.
pub(super) fn unpack(archive: &Path, new: &Path, strip: u32, limits: Limits) -> Result<(), SourceError> {
    let file = File::open(archive).map_err(|error| SourceError::io(archive.display(), &error))?;
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(|error| SourceError::io(archive.display(), &error))?;
    let content: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file).map_err(|error| failed("", &error))?),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unknown("an xz file")),
        [b'B', b'Z', b'h', ..] => return Err(unknown("a bzip2 file")),
        [b'P', b'K', ..] => return Err(unknown("a zip file")),
        _ => Box::new(file),
    };
    let root = new.canonicalize().map_err(|error| SourceError::io(new.display(), &error))?;
    let mut unpacking = Unpacking { root, strip, members: Members::new(content), left: limits.bytes, limits };
    let mut count = 0_u64;
    while let Some(member) = unpacking.members.next().map_err(|error| failed("", &error))? {
        unpacking.check_time()?;
        count += u64::from(unpacking.put(&member)?);
    }
    match count {
        0 if strip > 0 => {
            Err(SourceError::rejected(format!("strip_components = {strip} leaves nothing of the archive")))
        }
        0 => Err(SourceError::rejected("the archive holds nothing")),
        _ => Ok(()),
    }
}

fn unknown(what: &str) -> SourceError {
    SourceError::rejected(format!("the archive is {what}: use .tar.gz, .tar.zst or .tar"))
}

/// An archive on its way into a folder.
struct Unpacking<R> {
    root: PathBuf,
    strip: u32,
    members: Members<R>,
    /// How many bytes may still come.
    left: u64,
    limits: Limits,
}

impl<R: Read> Unpacking<R> {
    /// Unpacks one member; whether there was something to unpack.
    fn put(&mut self, member: &Member) -> Result<bool, SourceError> {
        // Also what is left out is read.
        self.charge(member.length.max(self.members.content()))?;
        let name = member.path.to_string_lossy();
        let Some(path) = inside(&member.path, self.strip, &name)? else { return Ok(false) };
        let target = place(&self.root, &path, &name)?;
        let unpacked = match member.kind {
            Kind::Folder => make_dir(&target),
            Kind::File => replace(&target).and_then(|()| self.write(&target, member)),
            Kind::SymbolicLink => replace(&target).and_then(|()| symlink(&member.link, &target)),
            Kind::HardLink => {
                let of =
                    inside(&member.link, self.strip, &name)?.ok_or_else(|| unsafe_member(&name, "links to nothing"))?;
                let of = place(&self.root, &of, &name)?;
                if of == target { Ok(()) } else { replace(&target).and_then(|()| make_link(&of, &target)) }
            }
            Kind::Special => return Err(unsafe_member(&name, "is a device, a pipe or of another special kind")),
        };
        self.check_time()?;
        unpacked.map(|()| true).map_err(|error| failed(&name, &error))
    }

    fn charge(&mut self, length: u64) -> Result<(), SourceError> {
        let most = self.limits.bytes;
        let left = self.left.checked_sub(length);
        self.left =
            left.ok_or_else(|| SourceError::rejected(format!("the archive unpacks to more than {most} bytes")))?;
        Ok(())
    }

    /// Writes a file, which must not be there.
    fn write(&mut self, target: &Path, member: &Member) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
        let mut buffer = vec![0; 64 * 1024];
        for piece in &member.pieces {
            file.seek(SeekFrom::Start(piece.at))?;
            let mut left = piece.length;
            while left > 0 && Instant::now() <= self.limits.deadline {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let read = self.members.read(&mut buffer[..part])?;
                if read == 0 {
                    return Err(bad("it ends in the middle of a member"));
                }
                file.write_all(&buffer[..read])?;
                left -= read as u64;
            }
        }
        file.set_len(member.length)?;
        file.set_permissions(Permissions::from_mode(readable(member.mode)))?;
        // As tar(1) does; a time that the file system has no room for is none.
        let _ = member.modified.map(|modified| file.set_modified(modified));
        Ok(())
    }

    fn check_time(&self) -> Result<(), SourceError> {
        if Instant::now() > self.limits.deadline {
            return Err(SourceError::passing("unpacking took too long: see source.timeout"));
        }
        Ok(())
    }
}

/// A file's permissions: its owner's, and for all others to read, and to run what is a program.
const fn readable(mode: u32) -> u32 {
    let program = if mode & 0o111 == 0 { 0 } else { 0o111 };
    (mode & 0o755) | 0o444 | program
}

/// The path without its first `strip` folders; nothing when nothing of it is left.
fn inside(path: &Path, strip: u32, name: &str) -> Result<Option<PathBuf>, SourceError> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(unsafe_member(name, "has an absolute path")),
            Component::ParentDir => return Err(unsafe_member(name, "has '..' in its path")),
        }
    }
    let rest: PathBuf = parts.into_iter().skip(usize::try_from(strip).unwrap_or(usize::MAX)).collect();
    Ok((!rest.as_os_str().is_empty()).then_some(rest))
}

/// Where the member goes; the folders above it are made. Never through a link that leads outside.
fn place(root: &Path, path: &Path, name: &str) -> Result<PathBuf, SourceError> {
    let target = root.join(path);
    let mut folder = root.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        match folder.canonicalize() {
            Ok(real) if real.starts_with(root) && real.is_dir() => {}
            Ok(real) if real.starts_with(root) => return Err(unsafe_member(name, "is below what is no folder")),
            Ok(_) => return Err(unsafe_member(name, "is below a symbolic link that leads outside")),
            Err(_) if folder.is_symlink() => return Err(unsafe_member(name, "is below a symbolic link to nothing")),
            Err(_) => make_dir(&folder).map_err(|error| failed(name, &error))?,
        }
    }
    Ok(target)
}

/// Makes a folder that all may enter, and its owner fill and remove, whatever the archive says.
fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dir(path) => {}
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Whether it is a folder itself, not a link to one.
fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// An older member of this name goes, unless it is a folder.
fn replace(target: &Path) -> io::Result<()> {
    if is_dir(target) { Ok(()) } else { link::remove(target) }
}

fn make_link(of: &Path, target: &Path) -> io::Result<()> {
    fs::hard_link(of, target).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => bad("it links to what is not in the archive"),
        _ => error,
    })
}

fn unsafe_member(name: &str, why: &str) -> SourceError {
    SourceError::rejected(format!("the archive's member {name:?} {why}"))
}

/// What the system refuses may pass; what else fails, the archive is to blame for.
fn failed(name: &str, error: &io::Error) -> SourceError {
    let member = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let by_archive = matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory)
        || matches!(os_error(error), Some(rustix::io::Errno::NAMETOOLONG | rustix::io::Errno::NOTDIR));
    let by_system = os_error(error).is_some() && !by_archive;
    if by_system || full {
        return SourceError::io(format_args!("cannot unpack{member}"), error);
    }
    SourceError::rejected(format!("bad archive{member}: {error}"))
}

#[cfg(test)]
mod tests;
