//! How a process ended, in words: systemd's `ExecMainCode` and `ExecMainStatus`.

/// `si_code` of waitid(2): it exited, was killed, was killed and left a core.
const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;

/// How the main process last ended; `None` while it never did.
pub(super) fn words(code: i32, status: i32) -> Option<String> {
    match code {
        CLD_EXITED => Some(match reason(status) {
            Some((name, reason)) => format!("exited with status {status}/{name} ({reason})"),
            None => format!("exited with status {status}"),
        }),
        CLD_KILLED => Some(format!("killed by {}", signal(status))),
        CLD_DUMPED => Some(format!("killed by {} (core dumped)", signal(status))),
        _ => None,
    }
}

/// What the statuses mean that systemd gives itself when it cannot start a program (systemd.exec(5)).
const fn reason(status: i32) -> Option<(&'static str, &'static str)> {
    Some(match status {
        200 => ("CHDIR", "its working directory cannot be entered"),
        203 => ("EXEC", "its program cannot be started"),
        206 => ("OOM_ADJUST", "its OOM score cannot be set"),
        208 => ("STDIN", "its standard input cannot be opened"),
        209 => ("STDOUT", "its standard output cannot be set up"),
        216 => ("GROUP", "its group cannot be taken on"),
        217 => ("USER", "its user cannot be taken on"),
        218 => ("CAPABILITIES", "its capabilities cannot be set"),
        226 => ("NAMESPACE", "its mount namespace cannot be set up"),
        233 => ("RUNTIME_DIRECTORY", "its runtime directory cannot be made"),
        237 => ("KEYRING", "its keyring cannot be set up"),
        238 => ("STATE_DIRECTORY", "its state directory cannot be made"),
        239 => ("CACHE_DIRECTORY", "its cache directory cannot be made"),
        240 => ("LOGS_DIRECTORY", "its logs directory cannot be made"),
        241 => ("CONFIGURATION_DIRECTORY", "its configuration directory cannot be made"),
        243 => ("CREDENTIALS", "its credentials cannot be loaded"),
        _ => return None,
    })
}

/// The signal's name; by number where it has none.
fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn ends_are_put_in_words() {
        let cases = [
            ((0, 0), None),
            ((1, 0), Some("exited with status 0")),
            ((1, 3), Some("exited with status 3")),
            ((1, 203), Some("exited with status 203/EXEC (its program cannot be started)")),
            ((2, 9), Some("killed by SIGKILL")),
            ((3, 11), Some("killed by SIGSEGV (core dumped)")),
            ((2, 40), Some("killed by signal 40")),
        ];
        for ((code, status), expected) in cases {
            assert_eq!(words(code, status).as_deref(), expected, "{code} {status}");
        }
    }
}
