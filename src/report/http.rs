//! The daemons' HTTP surface, on sockets that systemd opened: `/metrics` for Prometheus on the metrics socket, and
//! `/status` in JSON on the agent's local control socket. A daemon that was given no socket listens nowhere.

use std::{io, sync::Arc};

use axum::{Json, Router, http::header, response::IntoResponse, routing::get};
use listenfd::ListenFd;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};

use super::serve::{self, Limits};

/// `FileDescriptorName=` of the metrics socket.
const METRICS: &str = "metrics";
/// `FileDescriptorName=` of the control socket.
const CONTROL: &str = "control";

/// Serves what systemd passed sockets for (`sd_listen_fds(3)`).
///
/// # Errors
/// When a socket is not of the kind that its name promises.
pub fn serve(registry: Registry, status: &watch::Receiver<serde_json::Value>) -> io::Result<()> {
    let registry = Arc::new(registry);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    for (index, name) in names.split(':').enumerate().take(sockets.len()) {
        match name {
            METRICS => serve_metrics(sockets.take_tcp_listener(index)?, &registry)?,
            CONTROL => serve_control(sockets.take_unix_listener(index)?, status)?,
            other => tracing::warn!(name = other, "a socket of an unknown FileDescriptorName= is not used"),
        }
    }
    Ok(())
}

fn serve_metrics(listener: Option<std::net::TcpListener>, registry: &Arc<Registry>) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    listener.set_nonblocking(true)?;
    let registry = Arc::clone(registry);
    let app = Router::new().route("/metrics", get(move || async move { render(&registry) }));
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(serve::serve(listener, app, Limits::LOCAL));
    Ok(())
}

fn serve_control(
    listener: Option<std::os::unix::net::UnixListener>,
    status: &watch::Receiver<serde_json::Value>,
) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    listener.set_nonblocking(true)?;
    let status = status.clone();
    let app = Router::new().route("/status", get(move || async move { Json(status.borrow().clone()) }));
    let listener = UnixListener::from_std(listener)?;
    tokio::spawn(serve::serve(listener, app, Limits::LOCAL));
    Ok(())
}

fn render(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
