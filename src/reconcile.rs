//! The daemons. Both are the same loop: *snapshot → plan → execute → status*. They wake on anything (a watch, a
//! signal from systemd, a timer), and decide from what they see then: a wake-up carries no orders.

pub mod agent;
pub mod controller;
mod spare;

/// Why the loop turns.
enum Woken {
    /// To stop.
    Stop,
    /// Only to show that it turns.
    Fed,
    /// Something may be different: plan again.
    Changed,
}

/// Waits until `deadline`; for ever when there is none.
async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
