//! The only printer: tables as kubectl prints them, JSON for programs, messages and progress on standard error.
//!
//! Colours are written always and taken out again by anstream where nobody sees them (no terminal, `NO_COLOR`).
//! Whatever comes out of the tree loses its control characters first: a document must not drive a terminal.

mod bars;

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, presets};
use jiff::Timestamp;
use serde::Serialize;

pub(super) use self::bars::Bars;

/// How a word is meant, and so its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to say.
    #[default]
    Plain,
    /// As it should be: green.
    Good,
    /// On its way: yellow.
    Busy,
    /// Wrong: red.
    Bad,
    /// A heading: bold.
    Strong,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| colour.on_default();
        match self {
            Self::Plain => Style::new(),
            Self::Good => colour(AnsiColor::Green),
            Self::Busy => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red),
            Self::Strong => Style::new().bold(),
        }
    }

    /// The text in this tone.
    pub(super) fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new<T: ToString + ?Sized>(text: &T, tone: Tone) -> Self {
        Self { text: harmless(&text.to_string()), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(&text, Tone::Plain)
    }
}

/// `text`, or what stands for nothing.
pub(super) fn or_dash<T: ToString>(text: Option<T>) -> Cell {
    text.map_or_else(|| Cell::from("-"), Cell::from)
}

/// A table without borders.
#[derive(Clone, Debug)]
pub(super) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { headers: headers.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table's lines, each behind `indent`, coloured.
    pub(super) fn text(&self, indent: &str) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.headers);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| &cell.text));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let lines = table.lines().collect::<Vec<_>>();
        let cells = std::iter::once(&[][..]).chain(self.rows.iter().map(Vec::as_slice));
        lines.iter().zip(cells).fold(String::new(), |mut text, (line, cells)| {
            let _ = writeln!(text, "{indent}{}", paint(line.trim_end(), cells));
            text
        })
    }
}

/// Puts each cell's tone into its laid out line, from left to right.
fn paint(line: &str, cells: &[Cell]) -> String {
    let (mut painted, mut rest) = (String::new(), line);
    for cell in cells {
        let Some((before, after)) = rest.split_once(cell.text.as_str()) else { continue };
        painted.push_str(before);
        painted.push_str(&cell.tone.paint(&cell.text));
        rest = after;
    }
    painted + rest
}

/// The text without control characters; line ends and tabs become spaces.
pub(super) fn harmless(text: &str) -> String {
    let space = |c: char| if c.is_whitespace() { ' ' } else { c };
    text.trim_end().chars().map(space).filter(|c| !c.is_control()).collect()
}

/// Prints to standard output, which a reader may have closed.
pub(super) fn out(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints bytes to standard output as they are.
pub(super) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints one line to standard output.
pub(super) fn line(text: &str) -> io::Result<()> {
    out(&format!("{text}\n"))
}

/// A document for programs.
pub(super) fn json_text<T: Serialize>(document: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Prints a document for programs on one line, as streams need it.
pub(super) fn json_line<T: Serialize>(document: &T) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string(document)?)?)
}

/// Prints a table, or says on standard error that there is nothing to list.
pub(super) fn table(table: &Table, nothing: &str) -> io::Result<()> {
    if table.is_empty() {
        note(nothing);
        return Ok(());
    }
    out(&table.text(""))
}

/// Says something beside the result, on standard error.
pub(super) fn note(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Says what went wrong, with the whole chain of causes; further lines are indented.
pub(super) fn complain(error: &anyhow::Error) {
    let label = Tone::Bad.paint("zkops:");
    note(&format!("{label} {}", format!("{error:#}").replace('\n', "\n       ")));
}

/// Asks on a terminal; without one the answer is yes, because scripts say what they mean.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    write!(anstream::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// One line that says how far a wait is: rewritten in place on a terminal, printed when it changes elsewhere.
#[derive(Debug, Default)]
pub(super) struct Progress {
    last: String,
}

impl Progress {
    pub(super) fn show(&mut self, text: &str) {
        let text = harmless(text);
        if text == self.last {
            return;
        }
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K{}", shortened(&text, width()));
        } else {
            note(&text);
        }
        self.last = text;
    }

    /// Shows what is waited for, for how long already, and why: each second on a terminal, elsewhere every ten seconds and
    /// whenever the reason is another.
    pub(super) fn wait(&mut self, what: &str, since: Duration, why: Option<&str>) {
        let step = if io::stderr().is_terminal() { 1 } else { 10 };
        let seconds = since.as_secs() / step * step;
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        self.show(&format!("{what}, {seconds} s{why}"));
    }
}

/// The columns of the terminal behind standard error.
fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20))
}

/// The text, cut so that it stays on one line of `width` columns.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(2)).chain(['…']).collect()
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.last.is_empty() && io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Whether bars can be redrawn under the output without being mixed into what a program reads.
pub(super) fn can_draw() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Whether someone looks on.
pub(super) fn is_screen() -> bool {
    io::stdout().is_terminal()
}

/// Starts a fresh screen, when there is one; elsewhere an empty line keeps pages apart.
pub(super) fn fresh_page(first: bool) -> io::Result<()> {
    match (is_screen(), first) {
        (true, _) => out("\x1b[H\x1b[2J"),
        (false, true) => Ok(()),
        (false, false) => out("\n"),
    }
}

/// How long ago `then` was, in the one or two largest units, as kubectl shows ages.
pub(super) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..7200 => format!("{minutes}m"),
        7200..36_000 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        7200..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// A moment, to the second, in UTC.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["SERVICE", "READY", "STATUS"]);
        table.row(["webapp".into(), "2/3".into(), Cell::new("progressing", Tone::Busy)]);
        table.row(["a".into(), "10/10".into(), Cell::new("healthy", Tone::Good)]);
        table
    }

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let plain = anstream::adapter::strip_str(&sample().text("  ")).to_string();
        let expected = "  SERVICE   READY   STATUS\n  webapp    2/3     progressing\n  a         10/10   healthy\n";
        assert_eq!(plain, expected);
        assert!(sample().text("").contains("\x1b[32mhealthy\x1b[0m"));
    }

    #[test]
    fn documents_do_not_drive_the_terminal() {
        assert_eq!(Cell::from("a\x1b[2Jb\nc\u{7}\n").text, "a[2Jb c");
    }

    #[test]
    fn progress_stays_on_its_line() {
        assert_eq!((shortened("waiting", 8), shortened("waiting", 7)), ("waiting".into(), "waiti…".into()));
    }

    #[test]
    fn ages_have_one_or_two_units() {
        let then = Timestamp::UNIX_EPOCH;
        for (seconds, text) in [(5, "5s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (3600, "60m"), (7260, "2h1m")] {
            assert_eq!(age(then + jiff::SignedDuration::from_secs(seconds), then), text);
        }
        assert_eq!(age(then, then + jiff::SignedDuration::from_secs(9)), "0s");
        assert_eq!(age(then + jiff::SignedDuration::from_hours(50), then), "2d");
    }
}
