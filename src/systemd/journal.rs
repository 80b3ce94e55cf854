//! What systemd's journal has, by journalctl(1): what a unit's process said last, what PID 1 said of a unit.
//!
//! It is asked when a unit has failed or cannot be loaded, once for each time, never for long, and what cannot be read is left
//! out. The agent that is root may read all of the journal; one that is not, only as a member of the group
//! `systemd-journal`.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::Command;

/// The longest line that is handed on, in characters.
const LONGEST: usize = 200;

/// How much of an answer is looked at, in bytes: a line may be 48 KiB in the journal.
const MOST: usize = 64 * 1024;

/// How long journald may take to write down what it was sent.
const SYNC_LIMIT: Duration = Duration::from_millis(500);

/// How long it may take to be read.
const LIMIT: Duration = Duration::from_secs(2);

/// Where journalctl is; the last is NixOS's.
const PROGRAMS: [&str; 3] = ["/usr/bin/journalctl", "/bin/journalctl", "/run/current-system/sw/bin/journalctl"];

/// The last line that the unit's own processes wrote in this invocation; `None` when there is none, or it cannot be
/// read. The journal knows the unit by its `Id` only, whatever other names it has.
pub(super) async fn last_line(id: &str, invocation: &str) -> Option<String> {
    let of_invocation = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    // Several, for the last may be empty.
    plain(&read(&["--lines=5", &of_invocation, &format!("_SYSTEMD_UNIT={id}")]).await?)
}

/// PID 1's last lines about the unit, of the last minutes.
pub(super) async fn of_manager(id: &str) -> Option<String> {
    // It says so at each reload. Not `--boot`: the id of the boot may look different from within the agent's sandbox.
    read(&["--since=-5min", "--lines=20", "_PID=1", &format!("UNIT={id}")]).await
}

/// The messages that match, the end of them.
async fn read(matches: &[&str]) -> Option<String> {
    let program = PROGRAMS.iter().find(|program| Path::new(program).exists())?;
    // What was just said may still be on its way to the file.
    let sync = journalctl(program, &["--sync"], SYNC_LIMIT).await;
    tracing::trace!(?sync, "the journal is written");
    let words: Vec<_> = ["--output=cat", "--no-pager", "--quiet"].iter().chain(matches).copied().collect();
    let output = journalctl(program, &words, LIMIT).await.filter(|output| output.status.success())?;
    let answer = &output.stdout[output.stdout.len().saturating_sub(MOST)..];
    Some(String::from_utf8_lossy(answer).into_owned())
}

async fn journalctl(program: &str, words: &[&str], limit: Duration) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true);
    tokio::time::timeout(limit, command.output()).await.ok()?.ok()
}

/// The last line that says something, fit to be shown and kept: without control characters and colours, and not long.
pub(super) fn plain(text: &str) -> Option<String> {
    let mut lines = text.lines().map(|line| without_escapes(line).split_whitespace().collect::<Vec<_>>().join(" "));
    let line = lines.rfind(|line| !line.is_empty())?;
    let cut = line.chars().count() > LONGEST;
    let kept: String = line.chars().take(if cut { LONGEST - 1 } else { LONGEST }).collect();
    Some(if cut { format!("{kept}…") } else { kept })
}

/// The line without a terminal's escape sequences, other control characters being spaces.
fn without_escapes(line: &str) -> String {
    let mut plain = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            // As in ESC [ 31 m: it ends with a letter.
            while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        } else {
            plain.push(if c.is_control() || is_direction(c) { ' ' } else { c });
        }
    }
    plain
}

/// Characters that turn the order of what is around them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_fit_to_be_shown() {
        let cases = [
            ("", None),
            (" \n\t\n", None),
            ("starting\nbind: Address already in use\n\n", Some("bind: Address already in use")),
            ("\u{1b}[31mERROR\u{1b}[0m no\u{7} disk\r\n", Some("ERROR no disk")),
            ("a\u{202e}b\u{1b}", Some("a b")),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text).as_deref(), expected, "{text:?}");
        }
        let long = plain(&"ä".repeat(5000)).unwrap_or_default();
        assert!(long.chars().count() == LONGEST && long.ends_with('…'), "{long}");
    }
}
