//! Live progress on a terminal: one bar for the whole, one line for each part, redrawn in place on standard error.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::harmless;

/// More lines than a screen has would scroll instead of being redrawn.
const MAX_LINES: usize = 20;

/// The bars; they vanish when this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    lines: BTreeMap<String, ProgressBar>,
}

impl Bars {
    pub(in crate::cli) fn new() -> Self {
        let all = MultiProgress::new();
        let whole = all.add(ProgressBar::new(0).with_style(style("{prefix} [{bar:32}] {pos}/{len} {wide_msg}")));
        Self { all, whole, lines: BTreeMap::new() }
    }

    /// Shows how far the whole is, and its parts by their names.
    pub(in crate::cli) fn show(
        &mut self,
        title: &str,
        done: u32,
        total: u32,
        message: &str,
        parts: &[(String, String)],
    ) {
        self.whole.set_length(u64::from(total));
        self.whole.set_position(u64::from(done));
        self.whole.set_prefix(harmless(title));
        self.whole.set_message(harmless(message));
        self.lines.retain(|name, line| {
            let stays = parts.iter().any(|(part, _)| part == name);
            if !stays {
                line.finish_and_clear();
            }
            stays
        });
        for (name, text) in parts.iter().take(MAX_LINES) {
            let line = self.lines.entry(name.clone()).or_insert_with(|| {
                self.all.add(ProgressBar::new(0).with_style(style("  {prefix} {wide_msg}")).with_prefix(name.clone()))
            });
            line.set_message(harmless(text));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours and good; the default would only look different.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.all.clear();
    }
}
