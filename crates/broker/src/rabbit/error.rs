//! Errors of connections and channels, worded for operators.

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use miniapp_config::variable_of;

use super::address::Address;
use crate::BrokerError;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionError {
    pub text: String,
    /// Whether retrying is pointless until the server or the configuration changes.
    pub needs_operator: bool,
}

impl ConnectionError {
    pub fn transient(text: impl Into<String>) -> Self {
        Self { text: text.into(), needs_operator: false }
    }

    /// An error while connecting.
    pub fn from_connect(address: &Address, error: &Error) -> Self {
        let (at, reason) = (at(address), describe(error));
        let hint = match error.kind() {
            ErrorKind::ProtocolError(_) => {
                let needs_operator =
                    is_access_refused(error) || is_hard(error, &AMQPHardError::NOTALLOWED);
                return Self {
                    text: format!("{at} rejected the connection: {reason}"),
                    needs_operator,
                };
            }
            ErrorKind::IOError(error) if address.is_tls() && is_about_tls(error) => {
                "; amqps:// needs a TLS port with a trusted certificate"
            }
            ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                ""
            }
            _ if address.is_tls() => "",
            _ => "; the URL of a TLS port must begin with amqps://",
        };
        Self::transient(format!("can't connect to {at}{hint}: {reason}"))
    }

    /// An error while declaring the topology, or while checking it.
    pub fn from_declare(address: &Address, error: &Error) -> Self {
        let (at, reason) = (at(address), describe(error));
        if is_soft(error, &AMQPSoftError::PRECONDITIONFAILED) {
            let text = format!(
                "{at} has a queue or exchange with different arguments; delete it or use \
                 another vhost: {reason}"
            );
            return Self { text, needs_operator: true };
        }
        if is_missing(error) {
            let text = format!(
                "{at} lacks a queue or exchange, and this user may not declare it; import the \
                 definitions: {reason}"
            );
            return Self { text, needs_operator: true };
        }
        let needs_operator = is_access_refused(error);
        Self { text: format!("can't declare queues at {at}: {reason}"), needs_operator }
    }
}

/// The address, and the setting that it comes from.
fn at(address: &Address) -> String {
    format!("{address} ({})", variable_of("broker.url"))
}

fn is_about_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|source| !source.is::<std::io::Error>())
}

/// Returns the message of the server or the operating system, without lapin's wrapping.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "missed heartbeats".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn unavailable(error: &Error) -> BrokerError {
    BrokerError::Unavailable(describe(error))
}

/// Whether a queue or exchange does not exist.
pub(super) fn is_missing(error: &Error) -> bool {
    is_soft(error, &AMQPSoftError::NOTFOUND)
}

/// Whether the user lacks the permission.
pub(super) fn is_access_refused(error: &Error) -> bool {
    is_soft(error, &AMQPSoftError::ACCESSREFUSED)
}

fn is_soft(error: &Error, expected: &AMQPSoftError) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(kind) if kind == expected)
}

fn is_hard(error: &Error, expected: &AMQPHardError) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Hard(kind) if kind == expected)
}
