//! Durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time, written with its unit: `"500ms"`, `"30s"`, `"1m 30s"`, `"2h"`.
///
/// Never negative; resolution one nanosecond. A bare number is refused, because nothing says what it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The span as the standard library's duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// Why a text is not a [`Span`].
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is not a duration: write a number and its unit, as in \"500ms\", \"30s\" or \"1m 30s\"")]
pub struct InvalidSpan {
    text: String,
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        // A sign would mean "more than now" or "less than now".
        (!text.trim_start().starts_with('+'))
            .then(|| text.parse::<SignedDuration>().ok())
            .flatten()
            .and_then(|signed| Duration::try_from(signed).ok())
            .map(Self)
            .ok_or_else(|| InvalidSpan { text: text.to_owned() })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("1m 30s", 90_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(text.parse::<Span>().map(Span::get).ok(), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_says_nothing() {
        for text in ["", "30", "-5s", "soon", "5 parsecs"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["500ms", "30s", "1m 30s", "2h", "0s"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()).ok().as_deref(), Some(text));
        }
    }
}
