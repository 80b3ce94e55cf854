//! A number of replicas, absolute or as a share of those wanted.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::read_number;

/// So many replicas (`2`), or so many percent of those wanted (`"25%"`): Kubernetes' `IntOrString`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many replicas.
    Count(u32),
    /// So many percent of the replicas wanted, 1 to 100; `0%` is read as no replicas.
    Percent(u8),
}

impl Amount {
    /// None at all.
    pub const ZERO: Self = Self::Count(0);

    /// Of `total` replicas, a fraction counted down: how many may be missing.
    pub fn floor(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => total.saturating_mul(usize::from(percent)) / 100,
        }
    }

    /// Of `total` replicas, a fraction counted up: how many more there may be, or come next.
    pub fn ceil(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => total.saturating_mul(usize::from(percent)).div_ceil(100),
        }
    }

    /// Whether it is none whatever the total.
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Why a text is no [`Amount`].
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is neither a number of replicas, as in 2, nor a share of them, as in \"25%\"")]
pub struct InvalidAmount(String);

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let share = |percent| if percent == 0 { Self::ZERO } else { Self::Percent(percent) };
        let percent = |text: &str| read_number(text).ok().filter(|percent| *percent <= 100).map(share);
        let amount = match text.strip_suffix('%') {
            Some(number) => percent(number),
            None => read_number(text).ok().map(Self::Count),
        };
        amount.ok_or_else(|| InvalidAmount(text.to_owned()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of replicas, as in 2, or a share of them, as in \"25%\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                let unexpected = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
                u32::try_from(number).map(Amount::Count).map_err(|_| unexpected())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                let unexpected = || E::invalid_value(de::Unexpected::Signed(number), &self);
                u32::try_from(number).map(Amount::Count).map_err(|_| unexpected())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_count_down_for_what_may_be_missing_and_up_for_what_comes() {
        let quarter: Amount = serde_json::from_str("\"25%\"").expect("a share");
        assert_eq!((quarter.floor(10), quarter.ceil(10)), (2, 3));
        assert_eq!((Amount::Count(3).floor(2), Amount::Count(3).ceil(2)), (3, 3));
    }

    #[test]
    fn both_forms_read_back() {
        assert_eq!(serde_json::from_str::<Amount>("\"0%\"").expect("none"), Amount::ZERO);
        for text in ["0", "7", "\"1%\"", "\"100%\""] {
            let amount: Amount = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&amount).expect(text), text);
        }
        for text in ["-1", "\"101%\"", "\"two\"", "1.5", "true", "\"-5%\"", "\"%\""] {
            assert!(serde_json::from_str::<Amount>(text).is_err(), "{text}");
        }
    }
}
