//! `miniapp completions`: prints a shell completion script.

use clap_complete::Shell;

use crate::context::Context;

#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: source <(miniapp completions bash)")]
pub struct Args {
    shell: Shell,
}

pub fn run(context: &Context, args: &Args, mut cli: clap::Command) -> anyhow::Result<()> {
    // Into memory first: the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "miniapp", &mut script);
    Ok(context.ui.file(&script)?)
}
