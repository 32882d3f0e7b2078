//! The command line.

use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand};
use reqwest::Url;

use crate::PROGRAM;
use crate::commands::{
    admin, completions, config, login, mail, openapi, register, task, trace, why,
};

/// Accounts, tokens and background tasks as one platform.
///
/// Without a command, the whole platform starts in this process on embedded engines.
/// The other commands talk to a running one.
#[derive(Debug, Parser)]
#[command(name = "miniapp", version = PROGRAM.full_version(), after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do; nothing means `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all went well; 1 it didn't; 2 the arguments or the configuration can't be
understood; 3 the task that was waited for ended otherwise than Finished.";

/// What every command understands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the platform's API is [default: as configured, on port 8000 of this machine]
    #[arg(
        long,
        global = true,
        env = "MINIAPP_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = base_url
    )]
    pub url: Option<Url>,

    /// Where its auth service is [default: found beside the API]
    #[arg(
        long,
        global = true,
        env = "MINIAPP_AUTH_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = base_url
    )]
    pub auth_url: Option<Url>,

    /// The configuration file
    #[arg(
        long,
        global = true,
        env = "MINIAPP_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// Write JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// When to use colours; `NO_COLOR` is heeded
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

/// Reads where a service is. `localhost:8000` would be a URL, too, of the scheme
/// `localhost`.
fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    url.filter(is_web).ok_or_else(|| {
        let example =
            if text.contains("://") { "http://127.0.0.1:8000" } else { &format!("http://{text}") };
        format!("it takes a URL such as {example}")
    })
}

/// The commands, those that start something first.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole platform in this process (the default)
    Serve,
    /// See everything work: an account, a task of every kind, live, on a platform of its own
    Demo,
    /// Make an account: asks for an e-mail address, its code, a login and a password
    Register(register::Args),
    /// Sign in and keep the tokens for the other commands
    Login(login::Args),
    /// Sign out and forget the tokens
    Logout,
    /// Submit tasks, follow them, and decide on their fate
    #[command(subcommand, visible_alias = "tasks")]
    Task(task::Command),
    /// Show where the time of a task went, from the request to the outcome
    Trace(trace::Args),
    /// Say in plain words why a task stands where it stands, and what happens next
    Why(why::Args),
    /// Show the kinds of task that the platform runs
    Kinds,
    /// Show the live workers
    Workers,
    /// Show how many tasks stand where
    Stats,
    /// List the mail that the embedded inbox has kept
    Mail(mail::Args),
    /// Do what needs the database itself rather than an account
    #[command(subcommand)]
    Admin(admin::Command),
    /// Look at every task in the database, and how it keeps to the rules
    Check,
    /// Make the tables in the database, or change them to what this version needs
    Migrate,
    /// Show the configuration in force, and where each value comes from
    Config(config::Args),
    /// Print the OpenAPI document of a service
    Openapi(openapi::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_anywhere() {
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
    fn what_makes_no_sense_is_refused() {
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
    fn nothing_means_serve() {
        assert!(Cli::try_parse_from(["miniapp"]).expect("fine").command.is_none());
    }
}
