//! The `http` check: one `GET` over HTTP/1.1, on a connection of its own. Nothing is taken from the environment, no
//! proxy either; a redirection is an answer.

use std::{collections::BTreeMap, error::Error as _, future::pending, io};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{failure::Failure, tls};
use crate::{
    connect::{self, ANSWER},
    model::{Address, HttpCheck},
};

/// What the server learns about who asks.
const AGENT: &str = concat!("zkops-probe/", env!("CARGO_PKG_VERSION"));

/// A request, and what its answer must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Http {
    address: Address,
    path: String,
    /// The first and the last code that is a success.
    status: (u16, u16),
    headers: BTreeMap<String, String>,
    body: Option<String>,
    tls: bool,
}

impl Http {
    pub(super) fn new(check: &HttpCheck, address: Address) -> Result<Self, &'static str> {
        Ok(Self {
            address,
            path: check.path.clone().unwrap_or_else(|| "/".to_owned()),
            status: check.statuses().ok_or("http.status is neither a status code nor a range, as in \"200-299\"")?,
            headers: check.headers.clone(),
            body: check.body.clone(),
            tls: check.tls,
        })
    }

    /// What is asked for, as people write it.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks, and judges the answer.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let request = self.request()?;
        let stream = connect::connect(&self.address).await.map_err(|error| Failure::io(&error))?;
        if self.tls {
            let stream = tls::handshake(stream, self.server_name()?).await?;
            self.ask(request, stream).await
        } else {
            self.ask(request, stream).await
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = Request::get(&self.path)
            .header(HOST, self.address.to_string())
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| format!("cannot be asked for: {error}"))?;
        for (name, value) in &self.headers {
            let bad = |what: &str| format!("cannot be asked for: the header {name} has an invalid {what}");
            let key = HeaderName::try_from(name).map_err(|_| bad("name"))?;
            request.headers_mut().insert(key, HeaderValue::try_from(value).map_err(|_| bad("value"))?);
        }
        Ok(request)
    }

    /// What a server with several names is told it is called: the `Host` header's name, else the host.
    fn server_name(&self) -> Result<ServerName<'static>, String> {
        let host =
            self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, host)| host.as_str());
        let named = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned());
        let name = named.and_then(|name| ServerName::try_from(name).ok());
        let name = name.or_else(|| ServerName::try_from(self.address.host.clone()).ok());
        name.ok_or_else(|| format!("TLS: {} is not a server's name", self.address.host))
    }

    async fn ask<S>(&self, request: Request<Empty<Bytes>>, stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
        let answer = async { self.judge(sender.send_request(request).await.map_err(|error| failure(&error))?).await };
        // When the connection ends first, the answer knows how far it came.
        let drive = async {
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = drive => never,
        }
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let (first, last) = self.status;
        let code = response.status().as_u16();
        if !(first..=last).contains(&code) {
            return Err(code.to_string().into());
        }
        let body = beginning(response.into_body()).await?;
        match &self.body {
            Some(wanted) if !contains(&body, wanted.as_bytes()) => {
                Err(format!("{code}, but the body has no \"{wanted}\"").into())
            }
            _ => Ok(()),
        }
    }
}

/// The body's beginning, or all of it: a server that is cut off takes that for an error of its own.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut beginning = Vec::new();
    while beginning.len() < ANSWER {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(|error| failure(&error))?.into_data() {
            beginning.extend(data.iter().take(ANSWER - beginning.len()));
        }
    }
    Ok(beginning)
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

/// What went wrong: the connection's own error where there is one.
fn failure(error: &hyper::Error) -> Failure {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => Failure::io(source),
        None => error.to_string().into(),
    }
}

#[cfg(test)]
mod tests;
