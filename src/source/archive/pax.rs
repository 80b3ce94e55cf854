//! The attributes that POSIX's format, pax, puts before a member: those that unpacking heeds.

use std::io;

use super::{
    block::{bad, number},
    sparse,
};

/// A member's attributes; owners, extended attributes and the like are passed over.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Seconds since 1970.
    pub(super) modified: Option<u64>,
    pub(super) sparse: sparse::Pax,
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE`, each with a line feed at its end, all of which the length counts.
    pub(super) fn read(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or_else(|| bad("a member's attributes cannot be read"))?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"path" => self.path = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(number(value)?),
            // A fraction, or a time before 1970, is of no use to anyone here.
            b"mtime" => self.modified = number(value.split(|byte| *byte == b'.').next().unwrap_or(value)).ok(),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    /// Whether it says what a member is called, or how its content is to be read.
    pub(super) fn decides(&self) -> bool {
        let Self { path, link, size, modified: _, sparse } = self;
        path.is_some() || link.is_some() || size.is_some() || *sparse != sparse::Pax::default()
    }
}

/// The first record's key and value, and what follows it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(records.get(..space)?).ok()?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_records_by_their_length() {
        let mut pax = Pax::default();
        pax.read(b"13 path=a\nb=\n14 linkpath=x\n12 size=123\n20 mtime=12.3456789\n16 SCHILY.x=\0\n\n\n").unwrap();
        assert_eq!((pax.path.as_deref(), pax.link.as_deref()), (Some(&b"a\nb="[..]), Some(&b"x"[..])));
        assert_eq!((pax.size, pax.modified), (Some(123), Some(12)));
        for bad in [&b"7 path=a\n"[..], b"path=a\n", b"99 path=a\n", b"0 a=b\n", b"10 size=-1\n", b"9 size=+1\n"] {
            assert!(Pax::default().read(bad).is_err(), "{bad:?}");
        }
    }
}
