//! What all that reads an archive reads it with.

use std::io::{self, Read};

/// tar's unit, in bytes.
pub(super) const BLOCK: usize = 512;

/// Reads until the buffer is full, or the stream at its end; how much.
pub(super) fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A number in decimal.
pub(super) fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| bad("a number in a member's attributes cannot be read"))
}

/// What the archive is to blame for.
pub(super) fn bad(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}
