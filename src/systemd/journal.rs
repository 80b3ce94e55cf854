//! What systemd's journal has, by journalctl(1): what a unit's process said last, what PID 1 said of a unit.
//!
//! It is asked when a unit has failed or cannot be loaded, once for each time, never for long, and what cannot be read is left
//! out. The agent that is root may read all of the journal; one that is not, only as a member of the group
//! `systemd-journal`.

use std::{
    io,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::blocking;

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
///
/// `since` is when the invocation began, in microseconds since 1970, if it is the unit's newest. journald looks up the
/// invocation of a line when it writes it down (systemd.journal-fields(7), `_SYSTEMD_INVOCATION_ID`), and finds none if
/// the unit has failed by then, as on a busy machine: such a line is known by its unit and its time alone.
pub(super) async fn last_line(id: &str, invocation: &str, since: Option<u64>) -> Option<String> {
    write_down().await;
    let of_unit = format!("_SYSTEMD_UNIT={id}");
    let of_invocation = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    // Several, for the last may be empty.
    let line = plain(&read(&["--lines=5", &of_invocation, &of_unit]).await?);
    match since {
        Some(micros) if line.is_none() => {
            let since = format!("--since=@{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            plain(&read(&["--lines=5", &since, &of_unit]).await?)
        }
        Some(_) | None => line,
    }
}

/// PID 1's last lines about the unit, of the last minutes.
pub(super) async fn of_manager(id: &str) -> Option<String> {
    write_down().await;
    // It says so at each reload. Not `--boot`: the id of the boot may look different from within the agent's sandbox.
    read(&["--since=-5min", "--lines=20", "_PID=1", &format!("UNIT={id}")]).await
}

/// Has journald write down what was just said: it may still be on its way to the file.
async fn write_down() {
    let sync = run(&PROGRAMS, &["--sync"], SYNC_LIMIT).await;
    tracing::trace!(?sync, "the journal is written");
}

/// The messages that match, the end of them.
async fn read(matches: &[&str]) -> Option<String> {
    let words: Vec<_> = ["--output=cat", "--no-pager", "--quiet"].iter().chain(matches).copied().collect();
    let output = run(&PROGRAMS, &words, LIMIT).await.filter(|output| output.status.success())?;
    let answer = &output.stdout[output.stdout.len().saturating_sub(MOST)..];
    Some(String::from_utf8_lossy(answer).into_owned())
}

/// Runs the first of the programs that is there. It is started beside the loop: its disk may hang.
async fn run(programs: &'static [&'static str], words: &[&str], limit: Duration) -> Option<Output> {
    let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
    let output = async { blocking::STARTS.run(move || start(programs, &words)).await?.wait_with_output().await };
    tokio::time::timeout(limit, output).await.ok()?.ok()
}

fn start(programs: &[&str], words: &[String]) -> io::Result<Child> {
    blocking::may_block();
    let program = programs.iter().find(|program| Path::new(program).exists()).ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(words).env_clear().env("LC_ALL", "C.UTF-8").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
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
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use tokio::runtime::Builder;

    use super::*;
    use crate::blocking::Loop;

    /// As when all threads hang at the start of something else: it is not started on the loop's own.
    #[test]
    fn the_journal_is_asked_by_a_process_that_is_started_beside_the_loop() {
        const SHELL: [&str; 2] = ["/no/such/program", "/bin/sh"];
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("started");
        let script = format!("echo > {}; echo a line", mark.display());
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (release, hung) = mpsc::channel::<()>();
        runtime.block_on(async {
            let _loop = Loop::begin();
            let hung = tokio::task::spawn_blocking(move || hung.recv());
            assert!(run(&SHELL, &["-c", &script], Duration::from_millis(200)).await.is_none() && !mark.exists());
            drop(release);
            let _ = hung.await;
            let output = run(&SHELL, &["-c", &script], Duration::from_secs(10)).await.unwrap();
            assert_eq!((output.status.success(), &*output.stdout), (true, &b"a line\n"[..]));
        });
        assert!(mark.exists());
    }

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
