//! Time limits for responses of the server.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::DatabaseError;

/// Time limit for a response. The server ends a wait for a lock earlier, so reaching this limit
/// means that the connection is dead or the server overloaded.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);
/// Time limit for the response to a long statement. The server's `statement_timeout` ends it
/// earlier.
pub(crate) const LONG_RESPONSE_TIMEOUT: Duration = Duration::from_secs(12);

/// Awaits a response of the server, up to the time limit.
pub(crate) async fn with_timeout<T>(
    response: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let response = timeout(RESPONSE_TIMEOUT, response).await;
    response.unwrap_or_else(|_| Err(no_response(RESPONSE_TIMEOUT)))
}

/// Returns the error of a response that has not arrived within `limit`.
pub(crate) fn no_response(limit: Duration) -> DatabaseError {
    let seconds = limit.as_secs();
    DatabaseError::ConnectionLost(format!("the database did not respond in {seconds} s"))
}
