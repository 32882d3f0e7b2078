//! What went wrong, in words for whoever runs the services.

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use miniapp_config::variable_of;

use super::address::Address;
use crate::BrokerError;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub text: String,
    /// Whether somebody has to change something first, in the server or the
    /// configuration.
    pub needs_hands: bool,
}

impl Fault {
    pub fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), needs_hands: false }
    }

    /// A connection that didn't come about.
    pub fn connecting(address: &Address, error: &Error) -> Self {
        let (at, said) = (at(address), describe(error));
        let hint = match error.kind() {
            ErrorKind::ProtocolError(_) => {
                let needs_hands = is_soft(error, &AMQPSoftError::ACCESSREFUSED)
                    || is_hard(error, &AMQPHardError::NOTALLOWED);
                return Self { text: format!("{at} refused us: {said}"), needs_hands };
            }
            ErrorKind::IOError(error) if address.is_tls() && is_about_tls(error) => {
                ", which amqps:// takes for a TLS port with a certificate to be trusted"
            }
            ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                ""
            }
            _ if address.is_tls() => "",
            _ => "; for a TLS port, the URL has to begin with amqps://",
        };
        Self::passing(format!("can't connect to {at}{hint}: {said}"))
    }

    /// A topology that could not be declared.
    pub fn declaring(address: &Address, error: &Error) -> Self {
        let (at, said) = (at(address), describe(error));
        if is_soft(error, &AMQPSoftError::PRECONDITIONFAILED) {
            let text = format!(
                "{at} has something of ours otherwise than we need it; delete it there or \
                 use another vhost: {said}"
            );
            return Self { text, needs_hands: true };
        }
        let needs_hands = is_soft(error, &AMQPSoftError::ACCESSREFUSED);
        Self { text: format!("can't declare queues at {at}: {said}"), needs_hands }
    }
}

/// Where something is wrong, and which setting led there.
fn at(address: &Address) -> String {
    format!("{address} ({})", variable_of("broker.url"))
}

fn is_about_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|source| !source.is::<std::io::Error>())
}

/// The server's own words where it said something, without the layers around them.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "the server has been silent for too long".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn unavailable(error: &Error) -> BrokerError {
    BrokerError::Unavailable(describe(error))
}

/// Whether something isn't there that we had declared.
pub(super) fn is_missing(error: &Error) -> bool {
    is_soft(error, &AMQPSoftError::NOTFOUND)
}

fn is_soft(error: &Error, expected: &AMQPSoftError) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(kind) if kind == expected)
}

fn is_hard(error: &Error, expected: &AMQPHardError) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Hard(kind) if kind == expected)
}
