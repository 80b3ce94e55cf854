//! Downloads. A client is built for one attempt and dropped after it: it holds the system's certificates, which are
//! most of a megabyte that an agent at rest has no use for.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, header::TRANSFER_ENCODING, redirect::Policy};
use tokio::sync::mpsc::Sender;

use super::{super::SourceError, Chunk};
use crate::blocking::may_block;

/// The largest list of checksums, or signature, in bytes.
const LARGEST_TEXT: usize = 1024 * 1024;

/// How often a server may send us elsewhere.
const REDIRECTS: usize = 10;

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<Url, SourceError> {
    Url::parse(url).map_err(|error| SourceError::rejected(format!("source.archive: {url:?} is no URL: {error}")))
}

/// The URL without what may be a secret in it: a password, the signature in a query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let query = if url.query().is_some() { "?…" } else { "" };
    url.set_query(None);
    url.set_fragment(None);
    format!("{url}{query}")
}

/// A client for one attempt.
pub(super) struct Web {
    client: Client,
    stall: Duration,
}

impl Web {
    /// A client that gives up when nothing comes for `stall`. Plain `http` works also on a host without certificates.
    pub(super) fn new(stall: Duration, scheme: &str) -> Result<Self, SourceError> {
        may_block();
        let builder = || {
            let agent = concat!("zkops/", env!("CARGO_PKG_VERSION"));
            Client::builder().user_agent(agent).connect_timeout(stall).read_timeout(stall).redirect(redirects())
        };
        // Another part of this process may have been first, with the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match builder().build() {
            Err(_) if scheme == "http" => without_certificates(builder()),
            built => built,
        };
        let failed = |error: reqwest::Error| SourceError::passing(format!("cannot set up TLS: {}", words(&error)));
        Ok(Self { client: client.map_err(failed)?, stall })
    }

    /// The body of a small text.
    pub(super) async fn text(&self, url: &Url) -> Result<String, SourceError> {
        let mut response = self.get(url).await?;
        let mut body = Vec::new();
        while let Some(chunk) = self.next(&mut response, url).await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_TEXT {
                return Err(SourceError::rejected(format!("{}: longer than 1 MiB", shown(url))));
            }
        }
        String::from_utf8(body).map_err(|_| SourceError::rejected(format!("{}: is no text", shown(url))))
    }

    /// Sends the body on, chunk by chunk. Whether the server said where it ends: what breaks off without that cannot be
    /// told from what is whole. Ends early, without an error, when nobody takes the chunks any more. A body of more than
    /// `most` bytes is refused.
    pub(super) async fn stream(&self, url: &Url, sender: Sender<Chunk>, most: u64) -> Result<bool, SourceError> {
        let mut response = self.get(url).await?;
        let length = response.content_length();
        let mut received = 0;
        if length.is_some_and(|length| length > most) {
            return Err(too_large(url, most));
        }
        while let Some(chunk) = self.next(&mut response, url).await? {
            received += chunk.len() as u64;
            if received > most {
                return Err(too_large(url, most));
            }
            if sender.send(Chunk::Bytes(chunk)).await.is_err() {
                return Ok(false);
            }
        }
        if length.is_some_and(|length| length != received) {
            let length = length.unwrap_or_default();
            return Err(SourceError::passing(format!("{}: {received} of {length} bytes came", shown(url))));
        }
        let _ = sender.send(Chunk::End).await;
        Ok(length.is_some() || response.headers().contains_key(TRANSFER_ENCODING) || is_framed(&response))
    }

    async fn get(&self, url: &Url) -> Result<Response, SourceError> {
        let request = self.client.get(url.clone()).send();
        let response = match tokio::time::timeout(self.stall, request).await {
            Err(_) => return Err(self.stalled(url)),
            Ok(Err(error)) => return Err(self.failed(url, error)),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        let absent = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if status.is_success() {
            return Ok(response);
        }
        Err(SourceError { rejected: absent, message: format!("{}: {status}", shown(response.url())) })
    }

    async fn next(&self, response: &mut Response, url: &Url) -> Result<Option<bytes::Bytes>, SourceError> {
        match tokio::time::timeout(self.stall, response.chunk()).await {
            Err(_) => Err(self.stalled(url)),
            Ok(chunk) => chunk.map_err(|error| self.failed(url, error)),
        }
    }

    fn stalled(&self, url: &Url) -> SourceError {
        SourceError::passing(format!("{}: nothing came for {:?}", shown(url), self.stall))
    }

    fn failed(&self, url: &Url, error: reqwest::Error) -> SourceError {
        if error.is_timeout() {
            return self.stalled(url);
        }
        SourceError::passing(format!("{}: {}", shown(url), words(&error.without_url())))
    }
}

fn too_large(url: &Url, most: u64) -> SourceError {
    SourceError::rejected(format!("{}: is larger than {most} bytes", shown(url)))
}

/// HTTP/2 tells the end of a body by itself.
fn is_framed(response: &Response) -> bool {
    response.version() > reqwest::Version::HTTP_11
}

/// From `https` only to `https`: a list of checksums is as good as the way that it came.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let was_secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else if was_secure && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to http is not followed")
        } else {
            attempt.follow()
        }
    })
}

fn without_certificates(builder: ClientBuilder) -> reqwest::Result<Client> {
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    builder.tls_backend_preconfigured(tls).build()
}

/// The error with all that it stems from.
fn words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let _ = write!(words, ": {error}");
        next = error.source();
    }
    words
}
