//! The command line.

use clap::Parser;

use crate::commands::Command;
use crate::context::GlobalOptions;
use crate::program::PROGRAM;

/// Accounts, tokens and background tasks as one platform
///
/// Without a command, runs the whole platform in this process with embedded engines. Most
/// other commands talk to a running platform.
#[derive(Debug, Parser)]
#[command(
    name = "miniapp",
    version = PROGRAM.full_version(),
    after_help = EXIT_STATUS,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_STATUS: &str = "\
Exit status: 0 on success, 1 on failure, 2 for invalid arguments or settings, 3 if a task that was \
waited for ended in another status than Finished.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_are_accepted_in_any_position() {
        for line in [
            "miniapp --json --url http://h:1 task list",
            "miniapp task --url http://h:1 list --json",
            "miniapp task list --json --url http://h:1",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert!(cli.global.json);
            assert_eq!(cli.global.url.expect("given").as_str(), "http://h:1/");
        }
    }

    #[test]
    fn invalid_arguments_exit_with_status_2() {
        for line in [
            "miniapp --url no-url task list",
            "miniapp --url localhost:8000 task list",
            "miniapp --auth-url ftp://h task list",
            "miniapp task show not-an-id",
            "miniapp task list --status Nowhere",
            "miniapp task submit --ttl 0",
            "miniapp task submit --max-attempts 26",
            "miniapp task submit --run-at noon",
            "miniapp openapi worker",
            "miniapp completions cobol",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn command_is_optional() {
        assert!(Cli::try_parse_from(["miniapp"]).expect("valid").command.is_none());
    }
}
