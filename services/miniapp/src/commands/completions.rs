//! `miniapp completions`: a completion script for a shell.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: source <(miniapp completions bash)")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // Into memory first: the generator panics where its output can't be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "miniapp", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
