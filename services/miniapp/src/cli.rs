//! The command line.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::Command;
use crate::context::GlobalOptions;
use crate::program::PROGRAM;
use crate::ui::Ui;

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
waited for ended in another status than Finished, 130 if Ctrl-C ended the wait.";

/// Parses a command line. Returns also whether it selects a platform: the environment may do
/// that, too. An error comes with the format for it.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Cli, bool), (Ui, clap::Error)> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = Cli::command().try_get_matches_from(&arguments).and_then(|matches| {
        let is_given = |id| is_on_command_line(&matches, id);
        let is_url_given = is_given("url") || is_given("auth_url");
        Ok((Cli::from_arg_matches(&matches)?, is_url_given))
    });
    parsed.map_err(|error| {
        let options = arguments.iter().take_while(|argument| *argument != "--");
        let json = options.into_iter().any(|argument| argument == "--json");
        (Ui::new(json, ColorChoice::Auto), error)
    })
}

/// Global options are in the matches of the innermost command.
fn is_on_command_line(matches: &ArgMatches, id: &str) -> bool {
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
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
            "miniapp task submit --after 1y",
            "miniapp task submit --data {broken",
            "miniapp task submit --data hello",
            "miniapp task submit --data 1 --text 1",
            "miniapp task list --limit 0",
            "miniapp mail --limit 0",
            "miniapp task show 12345",
            "miniapp openapi worker",
            "miniapp completions cobol",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn platform_is_selected_by_the_command_line() {
        for (line, expected) in [
            ("miniapp mail", false),
            ("miniapp --url http://h:1 mail", true),
            ("miniapp task list --url http://h:1", true),
            ("miniapp --auth-url http://h:1 admin grant ada", true),
        ] {
            let parsed = parse(line.split(' ').map(OsString::from));
            assert_eq!(parsed.expect(line).1, expected, "{line}");
        }
    }

    #[test]
    fn error_has_the_format_that_was_selected() {
        for (line, json) in [("miniapp x --json", true), ("miniapp x -- --json", false)] {
            let parsed = parse(line.split(' ').map(OsString::from));
            assert_eq!(parsed.expect_err(line).0.json, json, "{line}");
        }
    }

    #[test]
    fn command_is_optional() {
        assert!(Cli::try_parse_from(["miniapp"]).expect("valid").command.is_none());
    }
}
