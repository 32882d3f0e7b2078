//! How a command ends: its exit code, and one line about what went wrong.

use std::io::{self, Write as _};
use std::process::ExitCode;

use miniapp_config::ConfigError;
use serde_json::json;

use crate::client::ClientError;
use crate::ui::{Tone, Ui};

/// How a command ended that did what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As hoped: 0.
    Well,
    /// A task that was waited for ended otherwise than Finished: 3.
    TaskNotFinished,
}

/// It couldn't do what it was told.
const FAILURE: u8 = 1;
/// What it was told can't be understood: a configuration here, arguments by clap.
const USAGE: u8 = 2;
const TASK_NOT_FINISHED: u8 = 3;

/// Reports how a command ended.
pub fn exit(ui: Ui, outcome: &anyhow::Result<Ended>) -> ExitCode {
    let error = match outcome {
        Ok(Ended::Well) => return ExitCode::SUCCESS,
        Ok(Ended::TaskNotFinished) => return ExitCode::from(TASK_NOT_FINISHED),
        Err(error) => error,
    };
    if is_reader_gone(error) {
        // `miniapp task list | head -1` has what it wanted.
        return ExitCode::SUCCESS;
    }
    let line = one_line(error);
    if ui.json {
        let code = error.downcast_ref::<ClientError>().and_then(ClientError::code);
        complain(json!({"error": line, "code": code}));
    } else {
        complain(format_args!("{} {line}", ui.notes.paint(Tone::Bad, "error:")));
    }
    let is_configuration = error.downcast_ref::<ConfigError>().is_some();
    ExitCode::from(if is_configuration { USAGE } else { FAILURE })
}

fn complain(line: impl std::fmt::Display) {
    // Nobody is left to tell where this fails.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether whoever read standard output has left.
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and what caused it, without the repetitions that libraries make.
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

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_things_once() {
        let error = Err::<(), _>(anyhow!("disk\nfull"))
            .context("can't write: disk full")
            .context("no task")
            .expect_err("it is one");
        assert_eq!(one_line(&error), "no task: can't write: disk full");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let gone = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_reader_gone(&gone));
        assert!(!is_reader_gone(&anyhow!("something else")));
    }
}
