//! What an archive must be like: its SHA-256, its signature.

use std::{fs::File, io::Write as _, path::Path};

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

    /// Whether the archive is what it must be; else, why not.
    pub(super) fn verify(&self, sum: Sum, name: &str) -> Result<(), String> {
        let actual = hex::encode(sum.sha256.finalize());
        match &self.sha256 {
            Some(expected) if *expected != actual => {
                Err(format!("{name}: wrong checksum: SHA-256 is {actual}, expected {expected}"))
            }
            _ => sum.verified.map_err(|error| format!("{name}: wrong signature: {error}")),
        }
    }
}

/// Writes the chunks to the file, working out the sum of them, until their end. What comes after a chunk that can't be
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
    Ok(sum)
}

/// The archive's SHA-256 in a list as sha256sum(1) writes it, or in a file with nothing but that.
pub(super) fn find(list: &str, archive: &Url, list_url: &Url) -> Result<String, SourceError> {
    let encoded = archive.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let decoded = text::unescape(encoded);
    let lines = || list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let named = lines().filter_map(parse).find(|(_, name)| *name == decoded || *name == encoded);
    let alone = || lines().next().filter(|line| is_sum(line) && lines().count() == 1).map(|line| (line, ""));
    let (sum, _) = named
        .or_else(alone)
        .ok_or_else(|| SourceError::rejected(format!("{}: has no line \"<SHA-256>  {decoded}\"", shown(list_url))))?;
    Ok(sum.to_ascii_lowercase())
}

/// A line's sum, and the file's name without its folders.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (sum, name) = line.split_once(char::is_whitespace)?;
    let name = name.trim_start().trim_start_matches('*');
    is_sum(sum).then(|| (sum, name.rsplit('/').next().unwrap_or(name)))
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
        let archive = Url::parse("http://a/x/app-1%2B2.tar.gz").unwrap();
        let list = Url::parse("http://a/x/SHA256SUMS").unwrap();
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let cases = [
            (format!("{a}  other.tar.gz\n{b} *dist/app-1+2.tar.gz\n"), Some("b".repeat(64))),
            (format!("{a}\n"), Some(a.clone())),
            (format!("{a}  other.tar.gz\n"), None),
            (format!("{a}\n{b}\n"), None),
            ("<html>".to_owned(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(find(&text, &archive, &list).ok(), expected, "{text}");
        }
    }
}
