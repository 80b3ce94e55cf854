//! Logs, on standard error: as text with all its fields, so that `journalctl -u zkops-agent` tells the whole story.

use std::fmt;

use crate::model::one_line;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer as _,
    field::RecordFields,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Writer},
        layer,
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

const DEFAULT: &str = "info,zookeeper_client=warn,zbus=warn";

/// Starts logging. `ZKOPS_LOG` filters it: a level (`debug`), levels of modules (`zkops=debug`), or both
/// (`info,zkops::store=trace`). One that cannot be read is told of, and the default is in force: `info`, and libraries'
/// warnings.
///
/// In a service whose output goes to the journal (`JOURNAL_STREAM` is set: systemd.exec(5)) each line starts with its
/// priority as sd-daemon(3) has it, and the journal adds the time; elsewhere the time and level are in the line.
pub fn init() {
    let asked = std::env::var("ZKOPS_LOG").ok().filter(|asked| !asked.is_empty());
    let (filter, problem) = filter(asked.as_deref());
    let lines = layer().with_writer(std::io::stderr).fmt_fields(OneLine);
    let lines = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.with_ansi(false).event_format(Journal).boxed()
    } else {
        lines.with_target(false).boxed()
    };
    tracing_subscriber::registry().with(lines).with(filter).init();
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
}

/// The filter that was asked for, or the default and why.
fn filter(asked: Option<&str>) -> (Targets, Option<String>) {
    match read(asked.unwrap_or(DEFAULT)) {
        Ok(filter) => (filter, None),
        Err(why) => {
            let problem = format!("ZKOPS_LOG is not understood, as \"zkops=debug\" would be: {why}");
            (read(DEFAULT).unwrap_or_default(), Some(problem))
        }
    }
}

/// A word alone would pass for a module, all of which is shown and nothing else: it is a level, or a mistake.
fn read(asked: &str) -> Result<Targets, String> {
    let mut filter = Targets::new();
    for word in asked.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (module, level) = word.split_once('=').map_or((None, word), |(module, level)| (Some(module), level));
        let level: LevelFilter = level.trim().parse().map_err(|_| format!("\"{level}\" is not a level"))?;
        filter = match module {
            Some(module) => filter.with_target(module.trim(), level),
            None => filter.with_default(level),
        };
    }
    Ok(filter)
}

/// The message and its fields in one line, whatever they repeat of what the tree or a command said: neither another line
/// with a priority of its own, nor an escape sequence for a terminal.
struct OneLine;

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&one_line(&text))
    }
}

/// `<6>message field=value …`
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// syslog(3)'s number of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_filter_is_of_levels_and_modules() {
        let lets = |asked, target, level| filter(asked).0.would_enable(target, &level);
        assert!(lets(None, "zkops::store", Level::INFO) && !lets(None, "zkops::store", Level::DEBUG));
        assert!(lets(None, "zbus", Level::WARN) && !lets(None, "zbus", Level::INFO));
        let asked = Some("warn,zkops=debug");
        assert!(lets(asked, "zkops::store", Level::DEBUG) && !lets(asked, "zbus", Level::INFO));
        assert!(lets(Some(" Warn, zkops = debug,"), "zkops", Level::DEBUG));
        assert!(!lets(Some("off"), "zkops", Level::ERROR));
    }

    #[test]
    fn what_is_said_is_one_line_whatever_it_repeats() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&written);
        let lines = layer().with_ansi(false).event_format(Journal).fmt_fields(OneLine);
        let lines = lines.with_writer(move || Shared(Arc::clone(&writer)));
        let said = "a\n<0>b\u{1b}[31m\u{85}c";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(machine = %said, "{said}");
            tracing::warn!(machine = ?said, "fine — ü");
        });
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(
            written,
            "<6>a\\n<0>b\\x1b[31m\\u{85}c machine=a\\n<0>b\\u{1b}[31m\\u{85}c\n\
             <4>fine — ü machine=\"a\\n<0>b\\u{1b}[31m\\u{85}c\"\n"
        );
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_that_cannot_be_read_is_told_of_and_the_default_holds() {
        for (asked, wrong) in [("zkops=loud", "loud"), ("dbug", "dbug"), ("info, zkops", "zkops")] {
            let (filter, problem) = filter(Some(asked));
            assert!(filter.would_enable("zkops", &Level::INFO) && !filter.would_enable("zbus", &Level::INFO));
            assert!(problem.unwrap().contains(&format!("\"{wrong}\" is not a level")), "{asked}");
        }
    }
}
