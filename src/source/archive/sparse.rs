//! Sparse files: those of which an archive holds some pieces, the rest being zeros. GNU tar writes them in four ways:
//! in the header, as attributes of pax (0.0, 0.1), and at the beginning of the content (1.0).

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::block::{BLOCK, bad, fill, number};

/// How many pieces a file may have.
const MOST_PIECES: usize = 200_000;

/// A piece of a file that the archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) length: u64,
}

/// What attributes say of a sparse file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    /// The file's own name: the member's is made up for programs that do not know of sparse files.
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    length: Option<u64>,
    /// Beginning and length of each piece, one after the other.
    numbers: Vec<u64>,
}

impl Pax {
    /// Takes an attribute in, without its prefix.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"name" => self.name = Some(value.to_owned()),
            b"major" => self.major = Some(number(value)?),
            b"size" | b"realsize" => self.length = Some(number(value)?),
            b"offset" | b"numbytes" => self.numbers.push(number(value)?),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                self.numbers = numbers.map(number).collect::<io::Result<_>>()?;
            }
            b"minor" | b"numblocks" => {}
            _ => return Err(bad("a sparse file is written in a way that is not known: pack it without --sparse")),
        }
        Ok(())
    }

    /// The file's length, if it is a sparse one.
    pub(super) fn length(&self) -> io::Result<Option<u64>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let known = self.major.is_none_or(|major| major <= 1);
        match self.length.filter(|_| known) {
            Some(length) => Ok(Some(length)),
            None => Err(bad("a sparse file is written in a way that is not known: pack it without --sparse")),
        }
    }

    /// Whether the map is at the beginning of the content.
    pub(super) fn is_in_content(&self) -> bool {
        self.major == Some(1)
    }

    /// The map, when it is not.
    pub(super) fn pieces(&self) -> io::Result<Vec<Piece>> {
        pair(&self.numbers)
    }
}

/// The length and the map of a file whose header says them, and the blocks that follow it.
pub(super) fn from_header(header: &Header, stream: &mut impl Read) -> io::Result<(u64, Vec<Piece>)> {
    let header = header.as_gnu().ok_or_else(|| bad("a sparse file's header is none of GNU tar's"))?;
    let mut pieces = Vec::new();
    add(&mut pieces, &header.sparse)?;
    let mut goes_on = header.is_extended();
    while goes_on {
        let mut more = GnuExtSparseHeader::new();
        if fill(stream, more.as_mut_bytes())? < more.as_bytes().len() {
            return Err(bad("it ends in the middle of a header"));
        }
        add(&mut pieces, more.sparse())?;
        goes_on = more.is_extended();
    }
    Ok((header.real_size()?, pieces))
}

fn add(pieces: &mut Vec<Piece>, headers: &[GnuSparseHeader]) -> io::Result<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        pieces.push(Piece { at: header.offset()?, length: header.length()? });
    }
    check_count(pieces.len())
}

/// The map at the beginning of the content: the number of pieces, then beginning and length of each, a number on each
/// line, filled up to a block.
pub(super) fn from_content(content: &mut impl Read) -> io::Result<Vec<Piece>> {
    let mut lines = Lines { content, block: Vec::new() };
    let count = usize::try_from(lines.number()?).unwrap_or(usize::MAX);
    check_count(count)?;
    let mut numbers = Vec::new();
    for _ in 0..count * 2 {
        numbers.push(lines.number()?);
    }
    pair(&numbers)
}

/// Numbers, each on a line of its own, read block by block.
struct Lines<'a, R> {
    content: &'a mut R,
    /// What is left of the block.
    block: Vec<u8>,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        const LONGEST: usize = 20;
        loop {
            if let Some(end) = self.block.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.block.drain(..=end).collect();
                return number(&line[..end]);
            }
            let mut block = [0; BLOCK];
            if self.block.len() > LONGEST || fill(self.content, &mut block)? < block.len() {
                return Err(bad("a sparse file's map cannot be read"));
            }
            self.block.extend(block);
        }
    }
}

fn pair(numbers: &[u64]) -> io::Result<Vec<Piece>> {
    check_count(numbers.len() / 2)?;
    let pieces = numbers.chunks(2).map(|pair| match pair {
        [at, length] => Ok(Piece { at: *at, length: *length }),
        _ => Err(bad("a sparse file's map cannot be read")),
    });
    pieces.collect()
}

fn check_count(count: usize) -> io::Result<()> {
    if count > MOST_PIECES {
        return Err(bad(format!("a sparse file has more than {MOST_PIECES} pieces: pack it without --sparse")));
    }
    Ok(())
}

/// Whether the pieces lie one after the other within the file, and are what the archive holds of it.
pub(super) fn check(pieces: &[Piece], length: u64, stored: u64) -> io::Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for piece in pieces {
        let after = piece.at.checked_add(piece.length).filter(|after| piece.at >= end && *after <= length);
        end = after.ok_or_else(|| bad("a sparse file's map makes no sense"))?;
        sum = sum.saturating_add(piece.length);
    }
    if sum == stored { Ok(()) } else { Err(bad("a sparse file's map is not of its content")) }
}
