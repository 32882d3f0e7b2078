//! Errors for operators, without the addresses, codes and passwords that a server may
//! repeat.

use std::io;

use super::reply::CommandError;
use super::server::{Server, Tls};
use crate::mail::MailError;

/// Longer replies of the server are truncated.
const MAX_REPLY_LENGTH: usize = 200;
/// Replies about missing credentials or TLS, which have nothing to do with the mail.
const AUTHENTICATION_REQUIRED: [u16; 2] = [530, 538];

/// The command that the server rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Sender,
    Recipient,
    Content,
}

#[derive(Clone, Debug)]
pub(super) struct SmtpError {
    text: String,
    class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A retry may succeed.
    Temporary,
    /// A retry may succeed after a change of the server or the configuration.
    NeedsIntervention,
    Permanent,
}

impl SmtpError {
    pub fn temporary(text: String) -> Self {
        Self { text, class: Class::Temporary }
    }

    fn needing_intervention(text: String) -> Self {
        Self { text, class: Class::NeedsIntervention }
    }

    fn permanent(text: String) -> Self {
        Self { text, class: Class::Permanent }
    }

    /// Whether retries are useless until an operator intervenes.
    pub fn needs_intervention(&self) -> bool {
        self.class == Class::NeedsIntervention
    }

    pub fn connect_timeout(server: &Server) -> Self {
        let hint = if matches!(server.tls, Tls::Implicit(_)) {
            ""
        } else {
            "; a port with implicit TLS requires smtps://"
        };
        Self::temporary(format!("connecting to {server} timed out{hint}"))
    }

    pub fn delivery_timeout(server: &Server) -> Self {
        Self::temporary(format!("sending to {server} timed out"))
    }

    pub fn starttls_missing(server: &Server) -> Self {
        Self::needing_intervention(format!(
            "{server} doesn't offer STARTTLS, which smtp:// requires with a password or with \
             ?tls=required; a port with implicit TLS requires smtps://"
        ))
    }

    pub fn smtputf8_missing(server: &Server) -> Self {
        Self::permanent(format!("{server} doesn't support international addresses (SMTPUTF8)"))
    }

    /// A failed connection, or a missing greeting.
    pub fn connect(server: &Server, error: &CommandError) -> Self {
        if is_tls_error(error) {
            return Self::tls(server, error);
        }
        Self::temporary(format!("can't connect to {server}: {}", reply_text(error)))
    }

    /// A failed TLS handshake.
    pub fn tls(server: &Server, error: &CommandError) -> Self {
        let text = match &server.tls {
            Tls::Implicit(_) => format!(
                "TLS with {server} failed; smtps:// requires a port with implicit TLS and a \
                 trusted certificate: {}",
                reply_text(error)
            ),
            _ => format!("STARTTLS with {server} failed: {}", reply_text(error)),
        };
        if is_tls_error(error) { Self::needing_intervention(text) } else { Self::temporary(text) }
    }

    /// Rejected credentials.
    pub fn auth(server: &Server, error: &CommandError) -> Self {
        // The text of the reply may repeat the credentials.
        match error {
            CommandError::Rejected(reply) if reply.class() == 5 => Self::needing_intervention(
                format!("{server} rejected the user and password of mail.url ({})", reply.code),
            ),
            CommandError::Rejected(reply) => {
                Self::temporary(format!("authentication with {server} failed: {}", reply.code))
            }
            _ => Self::temporary(format!(
                "authentication with {server} failed: {}",
                reply_text(error)
            )),
        }
    }

    pub fn auth_unsupported(server: &Server) -> Self {
        Self::needing_intervention(format!(
            "{server} offers no supported authentication mechanism (PLAIN, LOGIN)"
        ))
    }

    /// A rejected mail, or a lost connection.
    pub fn delivery(server: &Server, stage: Stage, error: &CommandError) -> Self {
        let CommandError::Rejected(reply) = error else {
            return Self::temporary(format!(
                "the connection to {server} failed: {}",
                reply_text(error)
            ));
        };
        let what = match stage {
            Stage::Sender => "mail.from as the sender",
            Stage::Recipient => "the recipient",
            Stage::Content => "the mail",
        };
        let text = format!("{server} rejected {what}: {}", reply_text(error));
        let is_configuration =
            stage == Stage::Sender || AUTHENTICATION_REQUIRED.contains(&reply.code);
        if reply.class() == 5 && !is_configuration {
            Self::permanent(text)
        } else {
            Self::temporary(text)
        }
    }

    /// Removes `secret` from the text.
    pub fn redacting(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret {
            self.text = self.text.replace(secret, "[hidden]");
        }
        self
    }
}

impl From<SmtpError> for MailError {
    fn from(error: SmtpError) -> Self {
        match error.class {
            Class::Temporary | Class::NeedsIntervention => Self::Temporary(error.text),
            Class::Permanent => Self::Permanent(error.text),
        }
    }
}

/// The server's reply or the underlying error, in one line.
fn reply_text(error: &CommandError) -> String {
    let text = match error {
        CommandError::Rejected(reply) => format!("{} {}", reply.code, reply.lines.join(" ")),
        CommandError::Protocol(text) => (*text).to_owned(),
        CommandError::Io(error) => error.to_string(),
    };
    let redacted = |word| if str::contains(word, '@') { "[address]" } else { word };
    let text = text.split_whitespace().map(redacted).collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MAX_REPLY_LENGTH).collect()
}

/// TLS errors are reported as invalid data.
fn is_tls_error(error: &CommandError) -> bool {
    matches!(error, CommandError::Io(error) if error.kind() == io::ErrorKind::InvalidData)
}
