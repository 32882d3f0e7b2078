//! [`Error`]: why a call failed.

use std::io;
use std::time::Duration;

use miniapp_types::problem::{Code, Problem};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be built.
    #[error("cannot build the client: {0}")]
    Build(#[source] reqwest::Error),
    #[error("nothing is listening at {0}")]
    ConnectionRefused(Box<Url>),
    /// Name resolution or TLS failed, or the connection broke.
    #[error("connection to {url} failed: {}", root_cause(source))]
    Connection {
        url: Box<Url>,
        #[source]
        source: reqwest::Error,
    },
    #[error("{0} did not respond in time")]
    Timeout(Box<Url>),
    /// The server returned a problem document.
    #[error("{}", summary(problem))]
    Problem {
        problem: Box<Problem>,
        /// When to try again (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The server returned a problem document with a code that this version does not know.
    #[error("{} ({})", .0.title, .0.code)]
    UnknownProblem(Box<UnknownProblem>),
    /// The response does not come from MiniApp, for example from a proxy.
    #[error("unexpected response from {url} (status {status})")]
    UnexpectedResponse { url: Box<Url>, status: StatusCode },
    #[error("not signed in at {0}")]
    NotSignedIn(Box<Url>),
    /// The session's tokens could not be read or saved.
    #[error("cannot access the stored session: {0}")]
    SessionStore(#[source] io::Error),
}

/// A problem document of a later version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UnknownProblem {
    pub status: u16,
    pub code: String,
    pub title: String,
}

impl Error {
    /// Returns the code of the problem document, if the server returned one with a known code.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem { problem, .. } => Some(problem.code),
            _ => None,
        }
    }

    /// Returns whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ConnectionRefused(_) | Self::Connection { .. } | Self::Timeout(_) => true,
            Self::UnexpectedResponse { status, .. } => status.is_server_error(),
            Self::Problem { problem, .. } => problem.status >= 500,
            Self::UnknownProblem(problem) => problem.status >= 500,
            Self::Build(_) | Self::NotSignedIn(_) | Self::SessionStore(_) => false,
        }
    }

    pub(crate) fn from_transport(url: &Url, source: reqwest::Error) -> Self {
        let url = Box::new(origin(url));
        let is_refused = root_cause(&source)
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if is_refused {
            Self::ConnectionRefused(url)
        } else if source.is_timeout() {
            Self::Timeout(url)
        } else {
            Self::Connection { url, source }
        }
    }

    pub(crate) fn unexpected(url: &Url, status: StatusCode) -> Self {
        Self::UnexpectedResponse { url: Box::new(url.clone()), status }
    }
}

fn root_cause(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Scheme, host and port.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin
}

/// The problem in one line: its detail or title, and every invalid field.
fn summary(problem: &Problem) -> String {
    if problem.errors.is_empty() {
        return problem.detail.as_ref().unwrap_or(&problem.title).clone();
    }
    let errors = problem.errors.iter().map(|error| match error.field.as_str() {
        "" => error.message.clone(),
        field => format!("{field} {}", error.message),
    });
    format!("{}: {}", problem.title, errors.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use miniapp_types::problem::FieldError;

    use super::*;

    fn problem(code: Code, errors: &[(&str, &str)]) -> Error {
        let error = |(field, message): &(&str, &str)| FieldError {
            field: (*field).to_owned(),
            message: (*message).to_owned(),
        };
        let problem = Problem {
            errors: errors.iter().map(error).collect(),
            ..Problem::new(code, "4bf92f3577b34da6a3ce929d0e0e4736")
        };
        Error::Problem { problem: Box::new(problem), retry_after: None }
    }

    #[test]
    fn display_names_every_invalid_field() {
        let error = problem(
            Code::InvalidFields,
            &[("ttl", "is required"), ("kind", "is unknown"), ("", "one more")],
        );
        let expected =
            format!("{}: ttl is required, kind is unknown, one more", Code::InvalidFields.title());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn only_server_errors_are_transient() {
        assert!(problem(Code::Unavailable, &[]).is_transient());
        assert!(!problem(Code::TaskNotFound, &[]).is_transient());
    }
}
