//! `zkops completions`: a shell's completion script, generated from the command's own definition.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

pub(super) const HELP: &str = "\
Examples:
  zkops completions bash > /usr/share/bash-completion/completions/zkops
  zkops completions zsh  > /usr/share/zsh/vendor-completions/_zkops
  zkops completions fish > /usr/share/fish/vendor_completions.d/zkops.fish";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    // Generated into memory first: the generator panics when its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "zkops", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
