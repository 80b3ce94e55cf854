//! Durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time, written with its unit: `"500ms"`, `"30s"`, `"1m 30s"`, `"2h"`.
///
/// Never negative, and a year at most, so that no time that is counted from now is out of a clock's range; resolution one
/// nanosecond. A bare number is refused, because nothing says what it counts.
///
/// A person's text is held to this (`FromStr`). A document is read as earlier releases read it: what is longer counts as a
/// year, and a `+` before it says nothing. Else an upgrade would make nonsense of what is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The longest span: a leap year.
    pub const MAX: Self = Self(Duration::from_secs(366 * 24 * 60 * 60));

    /// A span of whole seconds, [`Self::MAX`] at most.
    pub const fn from_secs(seconds: u64) -> Self {
        let most = Self::MAX.0.as_secs();
        Self(Duration::from_secs(if seconds < most { seconds } else { most }))
    }

    /// A span of whole milliseconds, [`Self::MAX`] at most.
    pub const fn from_millis(milliseconds: u64) -> Self {
        let most = Self::MAX.0.as_secs() * 1000;
        Self(Duration::from_millis(if milliseconds < most { milliseconds } else { most }))
    }

    /// The span as the standard library's duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The length of time that a text says, of any length.
    fn length(text: &str) -> Result<Duration, InvalidSpan> {
        let signed = text.parse::<SignedDuration>().ok();
        signed.and_then(|signed| Duration::try_from(signed).ok()).ok_or_else(|| InvalidSpan::unclear(text))
    }
}

impl From<Duration> for Span {
    /// The duration, [`Span::MAX`] at most.
    fn from(duration: Duration) -> Self {
        Self(duration.min(Self::MAX.0))
    }
}

/// Why a text is not a [`Span`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidSpan {
    /// It says no length of time.
    #[error("\"{text}\" is not a duration: write a number and its unit, as in \"500ms\", \"30s\" or \"1m 30s\"")]
    Unclear {
        /// The text.
        text: String,
    },
    /// It says too much.
    #[error("\"{text}\" is longer than a year: write \"8784h\" or less")]
    TooLong {
        /// The text.
        text: String,
    },
}

impl InvalidSpan {
    fn unclear(text: &str) -> Self {
        Self::Unclear { text: Self::shown(text) }
    }

    /// What a document or a person says is repeated in the error, but not without end.
    fn shown(text: &str) -> String {
        text.chars().take(80).collect()
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        // A sign would mean "more than now" or "less than now".
        if text.trim_start().starts_with('+') {
            return Err(InvalidSpan::unclear(text));
        }
        let length = Self::length(text)?;
        let too_long = || InvalidSpan::TooLong { text: InvalidSpan::shown(text) };
        if length > Self::MAX.0 { Err(too_long()) } else { Ok(Self(length)) }
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
        Self::length(&text).map(Self::from).map_err(D::Error::custom)
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
    fn a_year_is_the_most() {
        assert_eq!("8784h".parse::<Span>().ok(), Some(Span::MAX));
        for text in ["8784h 1ns", "366d 1s", "9223372036854775807s", "2y"] {
            let error = text.parse::<Span>().map_or_else(|error| error.to_string(), |span| span.to_string());
            assert!(error.contains("is longer than a year") || error.contains("is not a duration"), "{text}: {error}");
        }
        for most in [Span::from_secs(u64::MAX), Span::from_millis(u64::MAX), Duration::MAX.into()] {
            assert_eq!(most, Span::MAX);
        }
        assert_eq!(Span::MAX.to_string().parse::<Span>().ok(), Some(Span::MAX));
    }

    #[test]
    fn a_document_that_says_more_than_a_year_says_a_year() {
        for (text, span) in [("2h", Span::from_secs(7200)), ("+2h", Span::from_secs(7200)), ("8785h", Span::MAX)] {
            assert_eq!(serde_json::from_value::<Span>(text.into()).ok(), Some(span), "{text}");
        }
        assert_eq!(serde_json::from_value::<Span>("9223372036854775807s".into()).ok(), Some(Span::MAX));
        for text in ["", "30", "-5s", "soon"] {
            assert!(serde_json::from_value::<Span>(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["500ms", "30s", "1m 30s", "2h", "0s"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()).ok().as_deref(), Some(text));
        }
    }
}
