//! Exit status and error message of a command.

use std::borrow::Cow;
use std::io;
use std::process::ExitCode;

use miniapp_client::{Code, Error as ClientError};
use miniapp_config::ConfigError;
use miniapp_runtime::terminal::is_unsafe;

use crate::environment_key::{self, InvalidKey};
use crate::ui::{Text, Ui};

/// The outcome of a command that ran without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// A task that was waited for ended in another status than Finished.
    TaskNotFinished,
    /// Some of several tasks were refused, which has been reported.
    Refused,
    /// Ctrl-C ended the wait for a task.
    Interrupted,
}

/// Arguments that the definition of the command line cannot check.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

const FAILURE: u8 = 1;
/// Invalid arguments or settings.
const USAGE: u8 = 2;
const TASK_NOT_FINISHED: u8 = 3;
/// As shells report SIGINT.
const INTERRUPTED: u8 = 130;
/// The `code` of errors with this status in JSON.
const USAGE_CODE: &str = "usage";

/// Prints the error of a command, if there is one, and returns its exit status.
pub fn report(ui: Ui, result: &anyhow::Result<Outcome>) -> ExitCode {
    let error = match result {
        Ok(Outcome::Success) => return ExitCode::SUCCESS,
        Ok(Outcome::TaskNotFinished) => return ExitCode::from(TASK_NOT_FINISHED),
        Ok(Outcome::Refused) => return ExitCode::from(FAILURE),
        Ok(Outcome::Interrupted) => return ExitCode::from(INTERRUPTED),
        Err(error) => error,
    };
    if is_broken_pipe(error) {
        // `miniapp task list | head -1` is no failure.
        return ExitCode::SUCCESS;
    }
    report_error(ui, error, None);
    ExitCode::from(if is_usage(error) { USAGE } else { FAILURE })
}

/// Prints an error, which may be about one of several tasks.
pub fn report_error(ui: Ui, error: &anyhow::Error, task: Option<&str>) {
    let (line, code) = match error.downcast_ref::<ClientError>() {
        Some(error) => (with_advice(error), error.code().map(<&str>::from)),
        None => (one_line(error), is_usage(error).then_some(USAGE_CODE)),
    };
    ui.error(&line, code, task);
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<ConfigError>() || error.is::<UsageError>() || error.is::<InvalidKey>()
}

/// Prints clap's error or help, and returns the exit status.
pub fn report_usage(ui: Ui, error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let is_help = !error.use_stderr();
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if ui.json && !is_help {
        // Without the usage, which follows the message.
        let message: Vec<&str> = lines()
            .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
            .collect();
        let message = message.join(" ");
        ui.error(message.trim_start_matches("error: "), Some(USAGE_CODE), None);
    } else if is_help || !quotes_unsafe_text(error) {
        // With clap's colors. An error here cannot be reported anywhere.
        let _ = error.print();
    } else {
        ui.note(Text::from_lines(&text));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// Returns whether the message quotes an argument that controls the terminal.
fn quotes_unsafe_text(error: &clap::Error) -> bool {
    let is_unsafe = |c| c != '\n' && is_unsafe(c);
    error.context().any(|(_, value)| value.to_string().contains(is_unsafe))
}

/// Returns whether the reader of standard output has closed it.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Joins the error and its causes, without causes that the line contains already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Formats an error of the client, with advice what to do.
pub fn with_advice(error: &ClientError) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

fn advice(error: &ClientError) -> Option<Cow<'static, str>> {
    let advice = match error {
        ClientError::ConnectionRefused(_) => {
            "start the platform with `miniapp`, or set its address with --url"
        }
        ClientError::Connection { .. } => "check --url, or try again",
        ClientError::Timeout(_) => "try again, or check its /readyz",
        ClientError::UnexpectedResponse { .. } => "check --url",
        ClientError::NotSignedIn(_) => "sign in with `miniapp login`",
        ClientError::Problem { problem, retry_after } => match problem.code {
            Code::TokenMissing
            | Code::TokenInvalid
            | Code::TokenExpired
            | Code::TokenRevoked
            | Code::TokenReused
                if environment_key::is_set() =>
            {
                "replace the key in MINIAPP_API_KEY, or sign in again with `miniapp login`"
            }
            Code::TokenMissing
            | Code::TokenInvalid
            | Code::TokenExpired
            | Code::TokenRevoked
            | Code::TokenReused => "sign in again with `miniapp login`",
            Code::ScopeMissing => "create a key with it: `miniapp key create NAME --scope SCOPE`",
            Code::ApiKeyLimit => "revoke keys that are not needed with `miniapp key revoke`",
            Code::ApiKeyNotFound => "`miniapp key list` lists your keys",
            Code::CredentialsInvalid => "try again, or create an account with `miniapp register`",
            Code::CodeInvalid => "use the code of the newest mail",
            Code::AccountDisabled => "an admin can enable it with `miniapp users enable`",
            Code::LastAdmin => "first give another account the role admin",
            Code::EmailTaken => "sign in with `miniapp login`",
            Code::LoginTaken => "choose another login",
            Code::InvalidFields if problem.errors.iter().any(|error| error.field == "kind") => {
                "`miniapp kinds` lists the kinds"
            }
            Code::EmailNotVerified => "`miniapp register` sends a code",
            Code::TaskNotFinished => "cancel it first with `miniapp task cancel`",
            Code::TaskAlreadyFinished => "`miniapp task restart` runs it again",
            Code::TaskNotFound => "`miniapp task list` lists your tasks",
            Code::Forbidden => "it needs the role admin: `miniapp admin grant LOGIN`",
            Code::TooManyRequests | Code::Unavailable => {
                return Some(match retry_after {
                    Some(delay) => format!("try again in {} s", delay.as_secs()).into(),
                    None => "try again later".into(),
                });
            }
            Code::Internal => {
                return Some(format!("see its log and trace {}", problem.trace_id).into());
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(advice.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::{Context as _, anyhow};
    use miniapp_client::Problem;

    use super::*;

    fn problem(code: Code, retry_after: Option<Duration>) -> ClientError {
        let problem = Problem::new(code, "4bf92f3577b34da6a3ce929d0e0e4736");
        ClientError::Problem { problem: Box::new(problem), retry_after }
    }

    #[test]
    fn with_advice_appends_what_to_do() {
        let line = with_advice(&problem(Code::TooManyRequests, Some(Duration::from_secs(7))));
        assert_eq!(line, format!("{}; try again in 7 s", Code::TooManyRequests.title()));
        let line = with_advice(&problem(Code::NotFound, None));
        assert_eq!(line, Code::NotFound.title());
    }

    #[test]
    fn one_line_omits_repeated_causes() {
        let error = Err::<(), _>(anyhow!("disk\nfull"))
            .context("can't write: disk full")
            .context("no task")
            .expect_err("an error");
        assert_eq!(one_line(&error), "no task: can't write: disk full");
    }

    #[test]
    fn broken_pipe_is_detected() {
        let broken = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow!("something else")));
    }
}
