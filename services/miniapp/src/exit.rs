//! Exit status and error message of a command.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::process::ExitCode;

use miniapp_client::{Code, Error as ClientError};
use miniapp_config::ConfigError;
use serde_json::json;

use crate::ui::{Tone, Ui};

/// The outcome of a command that ran without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// A task that was waited for ended in another status than Finished.
    TaskNotFinished,
}

const FAILURE: u8 = 1;
/// Invalid settings. clap uses the same status for invalid arguments.
const USAGE: u8 = 2;
const TASK_NOT_FINISHED: u8 = 3;

/// Prints the error of a command, if there is one, and returns its exit status.
pub fn report(ui: Ui, result: &anyhow::Result<Outcome>) -> ExitCode {
    let error = match result {
        Ok(Outcome::Success) => return ExitCode::SUCCESS,
        Ok(Outcome::TaskNotFinished) => return ExitCode::from(TASK_NOT_FINISHED),
        Err(error) => error,
    };
    if is_broken_pipe(error) {
        // `miniapp task list | head -1` is no failure.
        return ExitCode::SUCCESS;
    }
    let client_error = error.downcast_ref::<ClientError>();
    let line = match client_error {
        Some(error) => with_advice(error),
        None => one_line(error),
    };
    if ui.json {
        let code = client_error.and_then(ClientError::code);
        print_error(json!({"error": line, "code": code}));
    } else {
        print_error(format_args!("{} {line}", ui.notes.paint(Tone::Bad, "error:")));
    }
    let is_configuration = error.downcast_ref::<ConfigError>().is_some();
    ExitCode::from(if is_configuration { USAGE } else { FAILURE })
}

fn print_error(line: impl std::fmt::Display) {
    // An error here cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "{line}");
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
            | Code::TokenReused => "sign in again with `miniapp login`",
            Code::CredentialsInvalid => "try again, or create an account with `miniapp register`",
            Code::CodeInvalid => "use the code of the newest mail",
            Code::EmailTaken => "sign in with `miniapp login`",
            Code::LoginTaken => "choose another login",
            Code::InvalidFields if problem.errors.iter().any(|error| error.field == "kind") => {
                "`miniapp kinds` lists the kinds"
            }
            Code::EmailNotVerified => "`miniapp register` sends a code and asks for it",
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
