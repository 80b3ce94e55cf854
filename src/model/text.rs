//! Texts that people, logs and protocols of lines get.

use std::borrow::Cow;

/// Whether a character ends or bends a line, or is none that systemd lets pass: control characters of both sets, and
/// what Unicode keeps for no character at all.
pub(super) fn is_unprintable(c: char) -> bool {
    let is_noncharacter = (0xFDD0..=0xFDEF).contains(&u32::from(c)) || u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control() || is_noncharacter
}

/// The text in one line, for people, logs and protocols of lines: what would break or bend it is escaped.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !has_unprintable(text) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| {
        if is_unprintable(c) { Cow::Owned(c.escape_debug().to_string()) } else { Cow::Owned(c.to_string()) }
    };
    Cow::Owned(text.chars().map(escaped).collect::<Vec<Cow<'_, str>>>().concat())
}

/// Whether any character of it is one that [`one_line`] escapes.
pub(super) fn has_unprintable(text: &str) -> bool {
    text.chars().any(is_unprintable)
}
