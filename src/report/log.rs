//! Logs, on standard error: as text with all its fields, so that `journalctl -u zkops-agent` tells the whole story.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Starts logging. `ZKOPS_LOG` filters it, as in `ZKOPS_LOG=zkops=debug`; the default is `info`.
///
/// In a service whose output goes to the journal (`JOURNAL_STREAM` is set: systemd.exec(5)) each line starts with its
/// priority as sd-daemon(3) has it, and the journal adds the time; elsewhere the time and level are in the line.
pub fn init() {
    let default = "info,zookeeper_client=warn,zbus=warn";
    let filter = EnvFilter::try_from_env("ZKOPS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.with_ansi(false).event_format(Journal).init();
    } else {
        builder.with_target(false).init();
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
