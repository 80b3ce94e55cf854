//! Reads a tar archive member by member, as tar(1) does: the formats of POSIX (ustar, pax) and of GNU tar, with their
//! long names and their sparse files. Nothing that an archive says makes it hold more than [`LONGEST_EXTENSION`] bytes.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tar::Header;

use super::{
    block::{BLOCK, bad, fill},
    pax::Pax,
    sparse::{self, Piece},
};

/// The longest name or list of attributes that a member may have beside its header, in bytes: a path has at most 4096.
const LONGEST_EXTENSION: u64 = 1024 * 1024;

/// How many headers an archive may have, those of extensions among them.
const MOST_HEADERS: u64 = 2_000_000;

/// One member of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    /// What a link leads to.
    pub(super) link: PathBuf,
    /// Its permissions.
    pub(super) mode: u32,
    pub(super) modified: Option<SystemTime>,
    /// How long a file is, in bytes.
    pub(super) length: u64,
    /// Which parts of a file follow, in their order; the rest of it is zeros.
    pub(super) pieces: Vec<Piece>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    SymbolicLink,
    HardLink,
    /// A device, a pipe, or something else that is no part of a release.
    Special,
}

/// A tar archive as it is read.
pub(super) struct Members<R> {
    stream: R,
    /// How many bytes of the member's content are not read yet, and how many fill up its last block.
    content: u64,
    padding: u64,
    headers: u64,
}

/// What stands before a member's header.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
    there: bool,
}

impl<R: Read> Members<R> {
    pub(super) const fn new(stream: R) -> Self {
        Self { stream, content: 0, padding: 0, headers: 0 }
    }

    /// The next member; what was not read of the last one is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else {
                return if extension.there { Err(bad("it ends in the middle of a member")) } else { Ok(None) };
            };
            match header.as_old().linkflag[0] {
                b'L' => extension.name = Some(self.name()?),
                b'K' => extension.link = Some(self.name()?),
                b'x' | b'X' => extension.pax.read(&self.text()?)?,
                b'g' => {
                    let mut of_all = Pax::default();
                    of_all.read(&self.text()?)?;
                    if of_all.decides() {
                        return Err(bad("it gives one name, size or map to all of its members"));
                    }
                    continue;
                }
                // The archive's label.
                b'V' => {
                    self.text()?;
                    continue;
                }
                kind => return self.member(&header, kind, extension).map(Some),
            }
            extension.there = true;
        }
    }

    /// The next header, its checksum verified; `None` at the archive's end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        self.skip()?;
        self.headers += 1;
        if self.headers > MOST_HEADERS {
            return Err(bad(format!("it has more than {MOST_HEADERS} members")));
        }
        let mut header = Header::new_old();
        match fill(&mut self.stream, header.as_mut_bytes())? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(bad("it ends in the middle of a header")),
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = header.cksum()?;
        if !sums(header.as_bytes()).contains(&i64::from(sum)) {
            return Err(bad("a header's checksum is wrong"));
        }
        self.expect(header.entry_size()?)?;
        Ok(Some(header))
    }

    fn member(&mut self, header: &Header, kind: u8, extension: Extension) -> io::Result<Member> {
        let Extension { name, link, pax, .. } = extension;
        if kind == b'1' {
            // A hard link has no content, whatever its header says.
            self.expect(0)?;
        } else if let Some(size) = pax.size {
            self.expect(size)?;
        }
        let path = pax.sparse.name.clone().or(pax.path).or(name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.or(link).or_else(|| Some(header.link_name_bytes()?.into_owned())).unwrap_or_default();
        let kind = match kind {
            // Before there was a type for folders, their names ended in a slash.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Folder,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'5' => Kind::Folder,
            b'2' => Kind::SymbolicLink,
            b'1' => Kind::HardLink,
            _ => Kind::Special,
        };
        let (length, pieces) = match kind {
            Kind::File => self.layout(header, &pax.sparse)?,
            _ => (0, Vec::new()),
        };
        let modified = pax.modified.map_or_else(|| header.mtime().ok(), Some);
        let since = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Ok(Member {
            kind,
            path: to_path(&path),
            link: to_path(&link),
            mode: header.mode()?,
            modified: modified.and_then(since),
            length,
            pieces,
        })
    }

    /// How long a file is, and which parts of it follow.
    fn layout(&mut self, header: &Header, pax: &sparse::Pax) -> io::Result<(u64, Vec<Piece>)> {
        let (length, pieces) = if header.entry_type().is_gnu_sparse() {
            sparse::from_header(header, &mut self.stream)?
        } else if let Some(length) = pax.length()? {
            let pieces = if pax.is_in_content() { self.map()? } else { pax.pieces()? };
            (length, pieces)
        } else {
            return Ok((self.content, vec![Piece { at: 0, length: self.content }]));
        };
        sparse::check(&pieces, length, self.content)?;
        Ok((length, pieces))
    }

    /// The map at the beginning of the content.
    fn map(&mut self) -> io::Result<Vec<Piece>> {
        let mut content = Read::take(&mut self.stream, self.content);
        let pieces = sparse::from_content(&mut content)?;
        self.content = content.limit();
        Ok(pieces)
    }

    /// How much of the member's content is not read yet.
    pub(super) const fn content(&self) -> u64 {
        self.content
    }

    /// The content, of which so many bytes are read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        let read = fill(&mut self.stream, &mut buffer[..count])?;
        self.content -= read as u64;
        if read < count { Err(bad("it ends in the middle of a member")) } else { Ok(read) }
    }

    /// A whole content that is an extension.
    fn text(&mut self) -> io::Result<Vec<u8>> {
        if self.content > LONGEST_EXTENSION {
            return Err(bad(format!("a member's name or attributes have {} bytes", self.content)));
        }
        let mut text = vec![0; usize::try_from(self.content).unwrap_or_default()];
        self.read(&mut text)?;
        Ok(text)
    }

    /// A whole content that is a long name: it ends at the first NUL.
    fn name(&mut self) -> io::Result<Vec<u8>> {
        let mut name = self.text()?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    /// So many bytes follow, up to the next block.
    fn expect(&mut self, size: u64) -> io::Result<()> {
        self.content = size;
        let whole = size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| bad("a member's size is no number"))?;
        self.padding = whole - size;
        Ok(())
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.content + self.padding;
        let skipped = io::copy(&mut Read::take(&mut self.stream, left), &mut io::sink())?;
        // The last block may be cut short.
        if skipped < self.content {
            return Err(bad("it ends in the middle of a member"));
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

/// A header's checksum, the field itself taken for spaces: of bytes, and, as some old programs had it, of signed ones.
fn sums(header: &[u8; BLOCK]) -> [i64; 2] {
    let bytes = || header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    [bytes().map(i64::from).sum(), bytes().map(|byte| i64::from(byte.cast_signed())).sum()]
}

fn to_path(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_owned()
}
