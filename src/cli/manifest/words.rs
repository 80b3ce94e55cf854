//! Complaints in an operator's words: nearest names instead of a list, whole numbers instead of `u32`.

/// The name of `known` that `given` was probably meant to be.
pub(super) fn nearest<'n>(given: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let given = plain(given);
    // A third of the letters may be wrong, two at least; a name that continues or shortens the other also counts.
    let allowed = (given.chars().count() / 3).max(2);
    let near = |name: &&'n str| {
        let name = plain(name);
        let continued = given.len() >= 3 && name.len() >= 3 && (name.starts_with(&given) || given.starts_with(&name));
        let distance = strsim::damerau_levenshtein(&given, &name);
        (continued || distance <= allowed && distance < name.chars().count()).then_some(distance)
    };
    known.into_iter().filter_map(|name| Some((near(&name)?, name))).min().map(|(_, name)| name)
}

/// serde's complaint about a wrong value, with what would be right.
pub(super) fn plain(path: &str, message: &str) -> String {
    let mut text = message.to_owned();
    for (from, to) in WORDS {
        text = text.replace(&format!("expected {from}"), &format!("expected {to}"));
    }
    match unknown_variant(&text) {
        Some((given, known)) => suggest(&text, nearest(given, known)),
        None => text + hint(path, message),
    }
}

/// `text`, and the name that was probably meant.
pub(super) fn suggest(text: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{text}; did you mean `{name}`?"),
        None => text.to_owned(),
    }
}

const WORDS: [(&str, &str); 5] = [
    ("a sequence", "a list in [ ]"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("usize", "a whole number, 0 or more"),
];

/// How to fix a value of the wrong type.
fn hint(path: &str, message: &str) -> &'static str {
    let Some((_, expected)) = message.split_once(", expected ") else { return "" };
    let number = expected.starts_with('u');
    match message {
        text if text.starts_with("invalid type: string") && number => ", without quotes",
        text if text.starts_with("invalid type: string") && expected.contains("boolean") => ": true or false",
        text if text.starts_with("invalid type: string") && expected.starts_with("a sequence") => ", as in [\"…\"]",
        text if text.starts_with("invalid type") && expected.contains("a string") => {
            if is_duration(path) {
                ": put it in quotes (a duration with its unit, as in \"10s\")"
            } else {
                ": put it in quotes"
            }
        }
        _ => "",
    }
}

/// Whether the key's value is a length of time.
fn is_duration(path: &str) -> bool {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let named = ["_time", "_after", "_delay", "_deadline", "_pause", "_interval", "timeout"];
    let made_up = ["environment", "credentials"].contains(&section) || section.ends_with(".headers");
    !made_up && (named.iter().any(|end| key.ends_with(end)) || ["delay", "watchdog", "period"].contains(&key))
}

/// What was given and what is known, out of serde's "unknown variant `on`, expected `a` or `b`".
fn unknown_variant(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown variant ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let known = ["replicas", "version", "mode", "config_version", "max_per_host"];
        for (given, meant) in [
            ("replica", Some("replicas")),
            ("repilcas", Some("replicas")),
            ("Replicas", Some("replicas")),
            ("config-version", Some("config_version")),
            ("configversion", Some("config_version")),
            ("mod", Some("mode")),
            ("max_hosts", None),
            ("x", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }

    #[test]
    fn types_are_named_in_words() {
        assert_eq!(
            plain("port", "invalid value: integer `-1`, expected u32"),
            "invalid value: integer `-1`, expected a whole number, 0 or more"
        );
        assert_eq!(
            plain("port", "invalid type: string \"3\", expected u32"),
            "invalid type: string \"3\", expected a whole number, 0 or more, without quotes"
        );
        assert_eq!(
            plain("environment.PORT", "invalid type: integer `80`, expected a string"),
            "invalid type: integer `80`, expected a string: put it in quotes"
        );
        assert_eq!(
            plain("port", "unknown variant `enable`, expected one of `enabled`, `disabled`, `drain`"),
            "unknown variant `enable`, expected one of `enabled`, `disabled`, `drain`; did you mean `enabled`?"
        );
    }
}
