//! `zkops man`: the man pages, `zkops.1` and one for each verb, generated from the command's own definition.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder, created when missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(documented(), folder))
        .with_context(|| format!("cannot write man pages into {}", folder.display()))
}

/// The command with the verbs that its help leaves out: a page is read by who looks for it.
fn documented() -> clap::Command {
    let shown = |verb: clap::Command| verb.hide(false);
    super::hidden_verbs().into_iter().fold(super::Cli::command(), |command, verb| command.mut_subcommand(verb, shown))
}
