//! What an archive must be like: its SHA-256, its signature.

use std::{collections::BTreeSet, fs::File, io::Write as _, path::Path};

use minisign_verify::{PublicKey, Signature};
use reqwest::Url;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Receiver;

use super::{
    super::{SourceError, text},
    Chunk,
    http::shown,
};

/// What an archive must be like; at least one of the two.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Its SHA-256, in lower-case hexadecimal.
    pub(super) sha256: Option<String>,
    /// The public key and the text of the signature.
    pub(super) signature: Option<(String, String)>,
}

/// What is being worked out of an archive as it comes, or has been.
pub(super) struct Sum {
    sha256: Sha256,
    signature: Option<(PublicKey, Signature)>,
    /// What the signature's verification said.
    verified: Result<(), String>,
}

impl Expected {
    /// What to work out.
    pub(super) fn start(&self) -> Result<Sum, SourceError> {
        let signature = self.signature.as_ref().map(|(key, signature)| {
            let wrong_key = |error| SourceError::rejected(format!("source.archive.minisign_key: {error}"));
            let wrong_text = |error| SourceError::rejected(format!("the archive's .minisig: {error}"));
            let key = PublicKey::from_base64(key.trim()).map_err(wrong_key)?;
            Ok((key, Signature::decode(signature).map_err(wrong_text)?))
        });
        Ok(Sum { sha256: Sha256::new(), signature: signature.transpose()?, verified: Ok(()) })
    }

    /// Whether the archive at this URL is what it must be; else, why not.
    pub(super) fn verify(&self, sum: Sum, url: &Url) -> Result<(), String> {
        let (name, actual) = (shown(url), hex::encode(sum.sha256.finalize()));
        match &self.sha256 {
            Some(expected) if *expected != actual => {
                return Err(format!("{name}: wrong checksum: SHA-256 is {actual}, expected {expected}"));
            }
            _ => sum.verified.map_err(|error| format!("{name}: wrong signature: {error}"))?,
        }
        // Only now: the signature is of this comment, too.
        let signed = sum.signature.as_ref().and_then(|(_, signature)| signed_name(signature.trusted_comment()));
        match signed.filter(|signed| *signed != file_name(url)) {
            Some(signed) => Err(format!("{name}: wrong signature: it was made for a file called {signed:?}")),
            None => Ok(()),
        }
    }
}

/// The file's name in a signature's trusted comment, as minisign(1) writes it: `timestamp:1556193335\tfile:app.tar.gz`.
fn signed_name(comment: &str) -> Option<&str> {
    let name = comment.split('\t').find_map(|part| part.trim().strip_prefix("file:"))?;
    Some(name.rsplit('/').next().unwrap_or(name))
}

/// Writes the chunks to the file, working out the sum of them, until their end. What comes after a chunk that cannot be
/// written is not taken, and when they break off it is the sender who knows why.
pub(super) fn write(
    mut file: File,
    path: &Path,
    mut chunks: Receiver<Chunk>,
    mut sum: Sum,
) -> Result<Sum, SourceError> {
    let signature = sum.signature.take();
    let verifier = signature.as_ref().map(|(key, signature)| key.verify_stream(signature));
    let mut verifier =
        verifier.transpose().map_err(|error| SourceError::rejected(format!("wrong signature: {error}")))?;
    while let Some(Chunk::Bytes(bytes)) = chunks.blocking_recv() {
        let written = file.write_all(&bytes);
        written.map_err(|error| SourceError::io(format_args!("cannot write {}", path.display()), &error))?;
        sum.sha256.update(&bytes);
        if let Some(verifier) = &mut verifier {
            verifier.update(&bytes);
        }
    }
    sum.verified = verifier.map_or(Ok(()), |mut verifier| verifier.finalize().map_err(|error| error.to_string()));
    sum.signature = signature;
    Ok(sum)
}

/// The archive's SHA-256 in a list: as sha256sum(1) writes it, as BSD's and OpenSSL's tools do, or a file with nothing
/// but the sum. Where the list names folders, the line whose path the URL ends in counts more than one whose file's
/// name alone is the same.
pub(super) fn find(list: &str, archive: &Url, list_url: &Url) -> Result<String, SourceError> {
    let (name, path) = (file_name(archive), text::unescape(archive.path()));
    let encoded = archive.path().rsplit('/').next().unwrap_or_default();
    let lines = || list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed: Vec<_> = lines().filter_map(parse).collect();
    let among = |is_it: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        parsed.iter().filter(|(_, listed)| is_it(listed)).map(|(sum, _)| sum.to_ascii_lowercase()).collect()
    };
    let by_path = among(&|listed| listed.contains('/') && path.ends_with(&format!("/{listed}")));
    let by_name = among(&|listed| listed == name);
    // Some lists have the names as they stand in URLs.
    let by_any = among(&|listed| listed.rsplit('/').next().is_some_and(|last| last == name || last == encoded));
    let alone: BTreeSet<_> = match &lines().collect::<Vec<_>>()[..] {
        [line] if is_sum(line) => [line.to_ascii_lowercase()].into(),
        _ => BTreeSet::new(),
    };
    let found = [by_path, by_name, by_any, alone].into_iter().find(|sums| !sums.is_empty()).unwrap_or_default();
    let list = shown(list_url);
    match &found.into_iter().collect::<Vec<_>>()[..] {
        [sum] => Ok(sum.clone()),
        [] => Err(SourceError::rejected(format!("{list}: has no line \"<SHA-256>  {name}\""))),
        _ => Err(SourceError::rejected(format!("{list}: has several lines for {name}, with different checksums"))),
    }
}

/// A line's sum, and the file's path without a leading `./`.
fn parse(line: &str) -> Option<(&str, &str)> {
    let plain = || {
        let (sum, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim_start();
        Some((sum, name.strip_prefix('*').unwrap_or(name)))
    };
    // "SHA256 (name) = sum", and OpenSSL's "SHA2-256(name)= sum".
    let tagged = || {
        let rest = ["SHA256", "SHA2-256"].into_iter().find_map(|tag| line.strip_prefix(tag))?;
        let (name, sum) = rest.trim_start().strip_prefix('(')?.rsplit_once(')')?;
        Some((sum.trim_start().strip_prefix('=')?.trim_start(), name))
    };
    let (sum, name) = tagged().or_else(plain).filter(|(sum, _)| is_sum(sum))?;
    Some((sum, name.trim_start_matches("./")))
}

/// The name of the file that a URL ends in, as it reads.
fn file_name(url: &Url) -> String {
    text::unescape(url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default())
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_an_archives_sum_in_a_list() {
        let archive = Url::parse("http://a/x/linux/app-1%2B2.tar.gz").unwrap();
        let list = Url::parse("http://a/x/SHA256SUMS").unwrap();
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let found = Some("b".repeat(64));
        let name = "app-1+2.tar.gz";
        let cases = [
            (format!("{a}  other.tar.gz\n{b} *dist/{name}\n"), found.clone()),
            (format!("{a}  other.tar.gz\r\n{b}  ./{name}\r\n"), found.clone()),
            (format!("{a}  other.tar.gz\n{b}  app-1%2B2.tar.gz\n"), found.clone()),
            (format!("# sums\n\n{b}\t{name}\n{a}  {name}.asc\n"), found.clone()),
            (format!("SHA256 (other.tar.gz) = {a}\nSHA256 ({name}) = {b}\nSHA512 ({name}) = {a}{a}\n"), found.clone()),
            (format!("SHA256(./{name})= {b}\n"), found.clone()),
            (format!("SHA2-256({name})= {b}\n"), found.clone()),
            (format!("{a}{a}  {name}\n{b}  {name}\n"), found.clone()),
            // One name in several folders: the URL says which.
            (format!("{a}  mac/{name}\n{b}  linux/{name}\n"), found.clone()),
            (format!("{a}  mac/{name}\n{b}  {name}\n"), found.clone()),
            (format!("{b}  {name}\n{b} *{name}\n"), found),
            (format!("{a}  mac/{name}\n{b}  win/{name}\n"), None),
            (format!("{a}\n"), Some(a.clone())),
            (format!("{a}  other.tar.gz\n"), None),
            (format!("{a}  other-{name}\n"), None),
            (format!("SHA256 (other-{name}) = {a}\n"), None),
            (format!("{a}\n{b}\n"), None),
            ("<html>".to_owned(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(find(&text, &archive, &list).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_signatures_comment_names_its_file() {
        for (comment, name) in [
            ("timestamp:1556193335\tfile:app-1.tar.gz\thashed", Some("app-1.tar.gz")),
            ("timestamp:1\tfile:dist/app-1.tar.gz", Some("app-1.tar.gz")),
            ("file:", Some("")),
            ("signed by the release team", None),
        ] {
            assert_eq!(signed_name(comment), name, "{comment}");
        }
    }
}
