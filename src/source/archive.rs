//! Releases that are tar archives on a web server.
//!
//! ```text
//!  sums, signature ──► download, hashed on the way ──► verified? ──► unpacked beside ──► on disk ──► named
//! ```

mod block;
mod http;
mod members;
mod pax;
mod sparse;
mod sums;
#[cfg(test)]
mod tests;
mod unpack;

use std::{
    fs::{File, OpenOptions},
    path::Path,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use self::{
    http::{Web, shown},
    sums::Expected,
    unpack::Limits,
};
use super::{
    SourceError, blocking,
    folder::Folder,
    link,
    text::{self, Architecture},
};
use crate::{blocking::may_block, model::ArchiveSource};

/// How large an archive, and what it unpacks to, may be, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024 * 1024;

/// How an archive is fetched.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) source: ArchiveSource,
    pub(super) version: String,
    pub(super) folder: Folder,
    /// How long all of it may take.
    pub(super) limit: Duration,
    /// How long nothing may come.
    pub(super) stall: Duration,
}

impl Attempt {
    /// Makes the release. It is there whole, or not at all.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        let deadline = Instant::now() + self.limit;
        let url = http::parse(&text::fill(&self.source.url, &text::escape(&self.version)))?;
        let (folder, version) = (self.folder.clone(), self.version.clone());
        blocking(move || folder.clear(&version)).await?;
        let late = || SourceError::passing(format!("{}: not there within {:?}", shown(&url), self.limit));
        let path = self.folder.download(&self.version);
        let download = tokio::time::timeout(self.limit, self.download(&url, &path)).await;
        let download = download.unwrap_or_else(|_| Err(late()));
        blocking(move || {
            let made = download.and_then(|()| self.unpack(&url, &path, deadline));
            // One that cannot be removed is tried again before the next attempt.
            let _ = link::remove(&path);
            made
        })
        .await
    }

    /// Downloads the archive to the path, and verifies it.
    async fn download(&self, url: &reqwest::Url, path: &Path) -> Result<(), SourceError> {
        let (stall, scheme) = (self.stall, url.scheme().to_owned());
        let web = blocking(move || Web::new(stall, &scheme)).await?;
        let expected = self.expected(&web, url).await?;
        let sum = expected.start()?;
        let (new, shown_path) = (path.to_owned(), path.to_owned());
        let file = blocking(move || create(&new)).await?;
        let (sender, chunks) = mpsc::channel(8);
        // Written and hashed in a thread of its own: a slow disk must not hold up the agent.
        let writer = tokio::task::spawn_blocking(move || sums::write(file, &shown_path, chunks, sum));
        let streamed = web.stream(url, sender, LARGEST).await;
        let written = writer.await.map_err(|error| SourceError::passing(format!("writing ended: {error}")))?;
        let (sum, whole) = match (written, streamed) {
            (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
            (Ok(sum), Ok(whole)) => (sum, whole),
        };
        expected.verify(sum, url).map_err(|message| SourceError { rejected: whole, message })
    }

    /// What the archive must be like, asking the server where the description says so.
    async fn expected(&self, web: &Web, url: &reqwest::Url) -> Result<Expected, SourceError> {
        let mut expected = Expected::default();
        if let Some(sum) = self.listed_sum() {
            expected.sha256 = Some(sum.to_ascii_lowercase());
        } else if let Some(sum_url) = &self.source.sha256_url {
            let sum_url = http::parse(&text::fill(sum_url, &text::escape(&self.version)))?;
            expected.sha256 = Some(sums::find(&web.text(&sum_url).await?, url, &sum_url)?);
        }
        if let Some(key) = &self.source.minisign_key {
            let mut signature = url.clone();
            signature.set_path(&format!("{}.minisig", url.path()));
            expected.signature = Some((key.clone(), web.text(&signature).await?));
        }
        if expected.sha256.is_none() && expected.signature.is_none() {
            let (version, architecture) = (&self.version, Architecture::of_this_machine().debian);
            let fix = format!(
                "add its checksum to the description as source.archive.sha256.\"{version}\", or \
                 \"{version}/{architecture}\" where each architecture has an archive of its own"
            );
            return Err(SourceError::rejected(format!("nothing would verify the archive of {version}: {fix}")));
        }
        Ok(expected)
    }

    /// The checksum in the description: the one for this architecture, by any of its names, before the one for all.
    fn listed_sum(&self) -> Option<&String> {
        let (sums, version) = (&self.source.sha256, &self.version);
        let own = Architecture::of_this_machine();
        let own = own.names().into_iter().find_map(|name| sums.get(&format!("{version}/{name}")));
        own.or_else(|| sums.get(version))
    }

    fn unpack(self, url: &reqwest::Url, download: &Path, deadline: Instant) -> Result<(), SourceError> {
        let new = self.folder.new_release(&self.version);
        let new = new.map_err(|error| SourceError::io(format_args!("cannot unpack {}", shown(url)), &error))?;
        let unpacked =
            unpack::unpack(download, &new, self.source.strip_components, Limits { bytes: LARGEST, deadline });
        let settled = unpacked.and_then(|()| {
            let doing = format!("cannot keep {}", new.display());
            self.folder.settle(&new, &self.version).map_err(|error| SourceError::io(doing, &error))
        });
        settled.map_err(|error| {
            let _ = link::remove(&new);
            SourceError { message: format!("{}: {}", shown(url), error.message), ..error }
        })
    }
}

/// Makes the file of a download.
fn create(path: &Path) -> Result<File, SourceError> {
    may_block();
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.map_err(|error| SourceError::io(format_args!("cannot write {}", path.display()), &error))
}

/// One chunk of a download; the last one, when it came whole, is `End`.
enum Chunk {
    Bytes(bytes::Bytes),
    End,
}
