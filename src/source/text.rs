//! `{version}` and the names of this machine's architecture in the texts of a source.

/// What others call an architecture, by the kernel's name: Debian (`dpkg --print-architecture`), Go (`GOARCH`).
const ARCHITECTURES: [(&str, &str, &str); 9] = [
    ("x86_64", "amd64", "amd64"),
    ("aarch64", "arm64", "arm64"),
    ("armv7l", "armhf", "arm"),
    ("armv6l", "armel", "arm"),
    ("i686", "i386", "386"),
    ("ppc64le", "ppc64el", "ppc64le"),
    ("riscv64", "riscv64", "riscv64"),
    ("s390x", "s390x", "s390x"),
    ("loongarch64", "loong64", "loong64"),
];

/// The names of a machine's architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    /// As `uname -m` says it: `x86_64`, `aarch64`.
    pub(super) kernel: String,
    /// As Debian says it: `amd64`, `arm64`.
    pub(super) debian: String,
    /// As Go says it: `amd64`, `arm64`.
    pub(super) go: String,
}

impl Architecture {
    /// This machine's.
    pub(super) fn of_this_machine() -> Self {
        Self::named(&rustix::system::uname().machine().to_string_lossy())
    }

    /// By the kernel's name; one that is not known goes by that everywhere.
    fn named(kernel: &str) -> Self {
        let known = ARCHITECTURES.into_iter().find(|(name, _, _)| *name == kernel);
        let (_, debian, go) = known.unwrap_or((kernel, kernel, kernel));
        Self { kernel: kernel.to_owned(), debian: debian.to_owned(), go: go.to_owned() }
    }

    /// All of its names.
    pub(super) fn names(&self) -> [&str; 3] {
        [&self.kernel, &self.debian, &self.go]
    }
}

/// The text with `{version}`, `{arch}`, `{debarch}` and `{goarch}` filled in.
pub(super) fn fill(text: &str, version: &str) -> String {
    fill_for(text, version, &Architecture::of_this_machine())
}

fn fill_for(text: &str, version: &str, architecture: &Architecture) -> String {
    let [arch, debarch, goarch] = architecture.names();
    let names = [("{version}", version), ("{arch}", arch), ("{debarch}", debarch), ("{goarch}", goarch), ("{", "{")];
    // One pass: what a version holds is not looked into.
    let mut filled = String::with_capacity(text.len() + version.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
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
        for name in ["{arch}", "{debarch}", "{goarch}"] {
            assert!(!fill(name, "v1").contains('{'), "{name}");
        }
    }

    #[test]
    fn an_architecture_goes_by_three_names() {
        for (kernel, expected) in [
            ("x86_64", "a-v1.linux-x86_64.amd64.amd64"),
            ("aarch64", "a-v1.linux-aarch64.arm64.arm64"),
            ("armv7l", "a-v1.linux-armv7l.armhf.arm"),
            ("ppc64le", "a-v1.linux-ppc64le.ppc64el.ppc64le"),
            ("unheard-of", "a-v1.linux-unheard-of.unheard-of.unheard-of"),
        ] {
            let architecture = Architecture::named(kernel);
            assert_eq!(fill_for("a-{version}.linux-{arch}.{debarch}.{goarch}", "v1", &architecture), expected);
        }
    }

    #[test]
    fn escapes_what_has_a_meaning_in_a_path() {
        assert_eq!(escape("1.2+b~1"), "1.2+b~1");
        assert_eq!(escape("a?b#c%d/ü"), "a%3Fb%23c%25d%2F%C3%BC");
        assert_eq!(unescape("a%3Fb%zz%C3%BC%"), "a?b%zzü%");
    }
}
