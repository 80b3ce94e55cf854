//! `{version}` and `{arch}` in the texts of a source.

/// The text with `{version}` and `{arch}` filled in.
pub(super) fn fill(text: &str, version: &str) -> String {
    let system = rustix::system::uname();
    let arch = system.machine().to_string_lossy();
    // One pass: what a version holds is not looked into.
    let mut filled = String::with_capacity(text.len() + version.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
        let names = [("{version}", version), ("{arch}", &*arch), ("{", "{")];
        let found = names.into_iter().find_map(|(name, value)| Some((value, after.strip_prefix(name)?)));
        let (value, after) = found.unwrap_or(("", ""));
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The version as a part of a URL's path: what would mean something there is escaped.
pub(super) fn escape(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+:@!$,=".contains(&byte);
    version
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A part of a URL's path as it reads.
pub(super) fn unescape(part: &str) -> String {
    let bytes = part.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| hex::decode(digits).ok()).filter(|_| *byte == b'%');
        plain.push(escaped.as_ref().and_then(|bytes| bytes.first()).map_or(*byte, |byte| *byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_each_name_once() {
        assert_eq!(fill("{x}/{version}/{version}.tar{", "v{arch}"), "{x}/v{arch}/v{arch}.tar{");
        assert!(!fill("{arch}", "v1").contains('{'));
    }

    #[test]
    fn escapes_what_has_a_meaning_in_a_path() {
        assert_eq!(escape("1.2+b~1"), "1.2+b~1");
        assert_eq!(escape("a?b#c%d/ü"), "a%3Fb%23c%25d%2F%C3%BC");
        assert_eq!(unescape("a%3Fb%zz%C3%BC%"), "a?b%zzü%");
    }
}
