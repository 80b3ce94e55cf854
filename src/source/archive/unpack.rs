//! Unpacks a tar archive into a new folder.
//!
//! Nothing is written outside of that folder, whatever the archive says. Owners, extended attributes and the bits
//! setuid, setgid and sticky are left out, and so is write permission for group and others. Symbolic links may lead
//! anywhere, as a file's content may name any path; but nothing is unpacked through one that leads outside.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufRead as _, BufReader, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    time::Instant,
};

use tar::{Archive, Entry};

use super::super::{SourceError, error::os_error, link};

/// What a member may not have of its permissions.
const MASK: u32 = 0o022;

/// Unpacks the archive, whose kind its first bytes tell, into the folder `new`, which must not be there. `strip`
/// leading folders of each path are left out. Gives up at the deadline.
pub(super) fn unpack(archive: &Path, new: &Path, strip: u32, deadline: Instant) -> Result<(), SourceError> {
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
    link::make_dir(new).map_err(|error| SourceError::io(new.display(), &error))?;
    let root = new.canonicalize().map_err(|error| SourceError::io(new.display(), &error))?;
    let mut archive = Archive::new(content);
    archive.set_mask(MASK);
    let mut count = 0_u64;
    for entry in archive.entries().map_err(|error| failed("", &error))? {
        count += u64::from(member(&root, entry.map_err(|error| failed("", &error))?, strip)?);
        if Instant::now() > deadline {
            return Err(SourceError::passing("unpacking took too long: see source.timeout"));
        }
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

/// Unpacks one member; whether there was something to unpack.
fn member(root: &Path, mut entry: Entry<'_, impl Read>, strip: u32) -> Result<bool, SourceError> {
    let kind = entry.header().entry_type();
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if kind.is_pax_global_extensions() {
        return Ok(false);
    }
    let Some(path) = inside(&entry.path().map_err(|error| failed(&name, &error))?, strip, &name)? else {
        return Ok(false);
    };
    let target = place(root, &path, &name)?;
    let unpacked = if kind.is_dir() {
        let mode = entry.header().mode().unwrap_or(0o755);
        // The owner must be able to fill the folder, and to remove it one day, without special privileges.
        make_dir(&target, (mode & 0o777 & !MASK) | 0o700)
    } else if kind.is_hard_link() {
        let of = entry.link_name().map_err(|error| failed(&name, &error))?.unwrap_or_default();
        let of = inside(&of, strip, &name)?.ok_or_else(|| unsafe_member(&name, "links to nothing"))?;
        let of = place(root, &of, &name)?;
        make_link(&of, &target).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other("it links to what is not in the archive"),
            _ => error,
        })
    } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() || kind.is_symlink() {
        entry.set_preserve_permissions(false);
        // An older member of this name goes, unless it is a folder.
        entry.unpack(&target).map(drop)
    } else {
        return Err(unsafe_member(&name, "is a device, a pipe or of another special kind"));
    };
    unpacked.map(|()| true).map_err(|error| failed(&name, &error))
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
            Err(_) => make_dir(&folder, 0o755).map_err(|error| failed(name, &error))?,
        }
    }
    Ok(target)
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dir(path) => {}
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether it is a folder itself, not a link to one.
fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn make_link(of: &Path, target: &Path) -> io::Result<()> {
    if !is_dir(target) {
        link::remove(target)?;
    }
    fs::hard_link(of, target)
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
