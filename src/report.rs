//! What the daemons say of themselves: sd_notify, metrics, the local control socket, logs.

pub mod http;
pub mod log;
pub mod metrics;
pub mod notify;
mod serve;
