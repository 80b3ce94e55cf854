//! Signals by name, as signal(7) has them.

use rustix::process::Signal;

/// `SIGHUP`: what has a daemon read its configuration again.
pub(super) const HANGUP: i32 = 1;

/// The signal's number; `SIGHUP` or `HUP`, in any case. `None` = there is no such signal.
pub(super) fn number(name: &str) -> Option<i32> {
    let name = name.trim().to_ascii_uppercase();
    let signal = match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "CONT" => Signal::CONT,
        "ALRM" => Signal::ALARM,
        "IO" => Signal::IO,
        "PWR" => Signal::POWER,
        "URG" => Signal::URG,
        _ => return None,
    };
    Some(signal.as_raw())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_go_by_their_names() {
        assert_eq!((number("SIGHUP"), number("hup"), number("USR1")), (Some(1), Some(1), Some(10)));
        assert_eq!((number("SIGNONSENSE"), number("")), (None, None));
    }
}
