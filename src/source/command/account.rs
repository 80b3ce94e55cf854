//! What systemd-run(1) says on standard error of a command that ran as a unit: around what the command itself wrote.
//!
//! ```text
//! Running as unit: zkops-run-75-3.service; invocation ID: 7f…     once its program runs
//! …                                                               the command's own words
//! Finished with result: exit-code                                 once it has ended
//! Main processes terminated with: code=exited, status=3/NOTIMPLEMENTED         (252: code=exited/status=3)
//! Service runtime: 1ms
//! ```

/// Variables that have systemd-run give account of the unit there, wherever the agent's own output goes.
pub(super) const ASKED_FOR: [(&str, &str); 2] = [("SYSTEMD_LOG_LEVEL", "info"), ("SYSTEMD_LOG_TARGET", "console")];

const RUNNING: &str = "Running as unit: ";
const FINISHED: &str = "Finished with result: ";
/// Where it says to look for more, which is gone with the unit.
const SEE: &str = "See \"systemctl status ";
/// What it may say in the place of an account when the program could not be run.
const NO_PROGRAM: &str = "failed because the control process exited with error code";

/// The status of what systemd could not execute: the program is not there, or is none.
const EXEC: u8 = 203;
/// The statuses by which systemd says that it could not set up a command's surroundings: 226/NAMESPACE, … (systemd.exec(5)).
const SETUP: std::ops::RangeInclusive<u8> = 200..=245;

/// Whether the command was begun.
pub(crate) fn shows_start(text: &str) -> bool {
    text.contains(RUNNING)
}

/// Whether all that is known of a command that did not succeed is that its program could not be run.
pub(crate) fn lacks_program(text: &str) -> bool {
    text.contains(NO_PROGRAM)
}

/// Why a command that did not succeed did not come to an end of its own: the bus is away, its surroundings could not be set
/// up, it was killed from outside, memory is short. `None` = how it ended is its own doing.
pub(crate) fn shortage(text: &str) -> Option<String> {
    let Some(result) = result(text).filter(|result| *result != "n/a") else {
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.contains(RUNNING));
        let said = last.map(|line| format!(": {}", line.chars().take(300).collect::<String>())).unwrap_or_default();
        return Some(format!("systemd did not run it, or did not say how it ended{said}"));
    };
    let status = status(text).unwrap_or_default();
    let (number, name) = (status.split('/').next().and_then(|it| it.parse().ok()), status.rsplit('/').next());
    match result {
        "exit-code" => {
            let is_setup = number.is_some_and(|number| number != EXEC && SETUP.contains(&number));
            is_setup.then(|| format!("systemd could not set it up: status {status} (systemd.exec(5))"))
        }
        "signal" if matches!(name, Some("KILL" | "TERM")) => Some("it was killed from outside".to_owned()),
        "success" | "signal" | "core-dump" => None,
        other => Some(format!("systemd ended it: {other}")),
    }
}

/// What the command said, without what systemd-run says of it.
pub(crate) fn own_words(text: &str) -> String {
    let said = text.rsplit_once(FINISHED).map_or(text, |(said, _)| said);
    let without = |line: &str| line.split_once(RUNNING).map_or(line, |(before, _)| before).to_owned();
    let mut words = String::new();
    for line in said.split_inclusive('\n').filter(|line| !line.starts_with(SEE)) {
        words += &without(line);
    }
    words
}

fn result(text: &str) -> Option<&str> {
    let (_, account) = text.rsplit_once(FINISHED)?;
    account.lines().next().map(str::trim)
}

/// `3/NOTIMPLEMENTED`, or in older versions `3`, and of a signal `9/KILL` or `KILL`.
fn status(text: &str) -> Option<&str> {
    let (_, account) = text.rsplit_once(FINISHED)?;
    let (_, status) = account.split_once("status=")?;
    status.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 252 and 257 have it.
    fn accounts(result: &str, old: &str, new: &str) -> [String; 2] {
        let begin = "Running as unit: zkops-run-0-1.service; invocation ID: 1\nFailed to open the pool\n";
        [format!("code={old}"), format!("code={new}")].map(|how| {
            format!(
                "{begin}Finished with result: {result}\nMain processes terminated with: {how}\nService runtime: 1ms\n"
            )
        })
    }

    #[test]
    fn a_commands_own_end_is_told_from_what_is_none_of_its_doing() {
        for (result, old, new, own) in [
            ("exit-code", "exited/status=3", "exited, status=3/NOTIMPLEMENTED", true),
            ("exit-code", "exited/status=203", "exited, status=203/EXEC", true),
            ("exit-code", "exited/status=226", "exited, status=226/NAMESPACE", false),
            ("exit-code", "exited/status=206", "exited, status=206/OOM_ADJUST", false),
            ("exit-code", "exited/status=255", "exited, status=255/EXCEPTION", true),
            ("signal", "killed/status=SEGV", "killed, status=11/SEGV", true),
            ("signal", "killed/status=KILL", "killed, status=9/KILL", false),
            ("core-dump", "dumped/status=ABRT", "dumped, status=6/ABRT", true),
            ("oom-kill", "killed/status=KILL", "killed, status=9/KILL", false),
            ("timeout", "killed/status=TERM", "killed, status=15/TERM", false),
            ("resources", "exited/status=0", "exited, status=0/SUCCESS", false),
        ] {
            for text in accounts(result, old, new) {
                assert_eq!(shortage(&text).is_none(), own, "{text}");
                assert_eq!(own_words(&text), "Failed to open the pool\n", "{text}");
            }
        }
    }

    #[test]
    fn a_command_that_was_not_run_is_none_that_failed() {
        for text in [
            "",
            "Failed to connect to bus: No such file or directory\n",
            "Failed to start transient service unit: Connection timed out\n",
            "Job for zkops-run-0-1.service canceled.\n",
            "Job for zkops-run-0-1.service failed because the control process exited with error code.\n",
            "Running as unit: zkops-run-0-1.service\n          Finished with result: n/a\n",
            "Running as unit: zkops-run-0-1.service\n",
        ] {
            assert!(shortage(text).is_some(), "{text}");
        }
        let why = shortage("Failed to connect to bus: No such file or directory\n").unwrap_or_default();
        assert!(why.ends_with("how it ended: Failed to connect to bus: No such file or directory"), "{why}");
    }

    #[test]
    fn words_without_an_end_of_line_are_kept() {
        let text = "Running as unit: a.service\nno newlineFinished with result: exit-code\nMain processes …";
        assert_eq!(own_words(text), "no newline");
    }
}
