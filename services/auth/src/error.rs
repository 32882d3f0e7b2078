//! Errors of the endpoints.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use miniapp_accounts::{Error, StoreError};
use miniapp_http::Problem;
use miniapp_types::problem::Code;

/// An error as a problem document.
#[derive(Debug)]
pub(crate) struct ApiError(Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Infallible> for ApiError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Rejected(code) => Problem::new(code),
            Error::InvalidFields(errors) => Problem::invalid_fields(errors),
            Error::TooManyAttempts { retry_after } => {
                Problem::new(Code::TooManyRequests).retry_after(retry_after)
            }
            Error::Busy(_) => Problem::new(Code::Unavailable).retry_after(Duration::from_secs(1)),
            Error::Store(error @ StoreError::Unavailable(_)) => Problem::unavailable(error),
            Error::Store(error @ StoreError::Broken(_)) => Problem::internal(error),
            Error::Internal(error) => Problem::internal(error),
        })
    }
}

impl ApiError {
    pub fn into_problem(self) -> Problem {
        self.0
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

#[cfg(test)]
mod tests {
    use miniapp_types::problem::FieldError;

    use super::*;

    #[test]
    fn errors_map_to_status_and_retry_after() {
        let seconds = Duration::from_secs(5);
        let field = FieldError { field: "login".to_owned(), message: "no".to_owned() };
        let cases = [
            (Error::Rejected(Code::LoginTaken), 409, ""),
            (Error::InvalidFields(vec![field]), 422, ""),
            (Error::TooManyAttempts { retry_after: seconds }, 429, "5"),
            (Error::Busy(miniapp_accounts::password::Busy), 503, "1"),
            (Error::Store(StoreError::Unavailable("secret".to_owned())), 503, "1"),
            (Error::Store(StoreError::Broken("secret".to_owned())), 500, ""),
        ];
        for (error, status, wait) in cases {
            let response = ApiError::from(error).into_response();
            assert_eq!(response.status(), status);
            let retry_after =
                response.headers().get("retry-after").map_or(&b""[..], |v| v.as_bytes());
            assert_eq!(retry_after, wait.as_bytes());
        }
    }
}
