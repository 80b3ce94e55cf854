//! How long a failure counts against the host on which a replica failed.

use jiff::Timestamp;

use super::after;
use crate::model::{FailedOn, Span};

/// How long a host on which a replica failed is passed over for it.
pub(super) const COOL_OFF: Span = Span::from_secs(600);

/// The hosts on which the replica failed of late.
pub(super) fn late_failures(failed_on: &[FailedOn], now: Timestamp) -> impl Iterator<Item = &FailedOn> {
    failed_on.iter().filter(move |failed| after(failed.at, COOL_OFF) > now)
}
