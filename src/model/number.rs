//! Whole numbers as people write them.

use std::{fmt, str::FromStr};

/// Why a text is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a number: write it in plain digits, as in 4, without a sign")]
pub struct InvalidNumber(String);

/// Reads a number of one way to write it: digits, without a sign and without zeros before them.
///
/// Rust's own parser takes `+1` as 1, which to a person who types it may mean "one more": what is not plain is refused.
///
/// # Errors
/// When it is anything else, or too large for `T`.
pub fn read_number<T: FromStr>(text: &str) -> Result<T, InvalidNumber> {
    let zeros = text.len() > 1 && text.starts_with('0');
    if zeros { Err(InvalidNumber::of(text)) } else { read_digits(text) }
}

/// Reads the number of something that ZooKeeper numbers, as people write it (`7`) or as its node is called
/// (`0000000007`): zeros before it mean nothing.
///
/// # Errors
/// As [`read_number`].
pub fn read_sequence<T: FromStr>(text: &str) -> Result<T, InvalidNumber> {
    read_digits(text)
}

fn read_digits<T: FromStr>(text: &str) -> Result<T, InvalidNumber> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| InvalidNumber::of(text))
}

impl InvalidNumber {
    fn of(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }
}

/// A number with its noun, in the singular where it is one: `1 replica`, `2 replicas`.
pub fn counted(number: impl TryInto<u64> + fmt::Display + Copy, noun: &str) -> String {
    let plural = if number.try_into().is_ok_and(|number| number == 1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Amount, HttpCheck, Span};

    #[test]
    fn a_number_is_written_in_one_way() {
        assert_eq!((read_number("0"), read_number("10")), (Ok(0_u32), Ok(10_u32)));
        assert_eq!((read_sequence("0000000007"), read_sequence("7")), (Ok(7_u64), Ok(7_u64)));
        for text in ["+1", "-1", "", " 1", "1 ", "1_000", "0x1", "1.0", "1e3", "٣", "99999999999999999999"] {
            assert!(read_number::<u64>(text).is_err(), "{text}");
            assert!(read_sequence::<u64>(text).is_err(), "{text}");
        }
        for text in ["01", "007", "00"] {
            assert!(read_number::<u32>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_value_that_holds_a_number_takes_a_sign_or_zeros() {
        for text in ["+1", "+25%", "01", "025%", "-1", "2%5%"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
        for text in ["zk1:+2181", "zk1:02181"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["+200", "200-+299", "0200"] {
            let check = HttpCheck { status: Some(text.to_owned()), ..HttpCheck::default() };
            assert_eq!(check.statuses(), None, "{text}");
        }
        assert!("+30s".parse::<Span>().is_err());
    }

    #[test]
    fn a_noun_agrees_with_its_number() {
        let said = [0, 1, 2].map(|number: usize| counted(number, "replica"));
        assert_eq!(said, ["0 replicas", "1 replica", "2 replicas"]);
    }
}
