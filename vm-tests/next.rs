//! zkops as the next release will be, for the scenario `mixed_versions`: see the feature `next-release` in Cargo.toml.

use std::process::ExitCode;

fn main() -> ExitCode {
    zkops::cli::main()
}
