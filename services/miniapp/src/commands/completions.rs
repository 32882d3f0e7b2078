//! `miniapp completions`: prints a shell completion script.

use anyhow::Context as _;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::completion::VARIABLE;
use crate::context::Context;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Print a shell completion script.\n\nThe script calls `miniapp`, which also \
        completes kinds and ids of tasks of the platform.",
    after_help = "For bash: source <(miniapp completions bash)"
)]
pub struct Args {
    shell: Shell,
}

pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("no script for this shell")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "miniapp", "miniapp", "miniapp", &mut script)?;
    Ok(context.ui.file(&script)?)
}
