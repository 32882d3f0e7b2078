//! Errors for operators, without the addresses, codes and passwords that a server may
//! repeat.

use std::io;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::Tls;

use super::server::Server;
use crate::mail::MailError;

/// Longer replies of the server are truncated.
const MAX_REPLY_LENGTH: usize = 200;
/// Replies about missing credentials or TLS, which have nothing to do with the mail.
const AUTHENTICATION_REQUIRED: [&str; 2] = ["530", "538"];

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
        let hint = if matches!(server.tls, Tls::Wrapper(_)) {
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
    pub fn connect(server: &Server, error: &Error) -> Self {
        if is_tls_error(error) {
            return Self::tls(server, error);
        }
        Self::temporary(format!("can't connect to {server}: {}", reply_text(error)))
    }

    /// A failed TLS handshake.
    pub fn tls(server: &Server, error: &Error) -> Self {
        let text = match &server.tls {
            Tls::Wrapper(_) => format!(
                "TLS with {server} failed; smtps:// requires a port with implicit TLS and a \
                 trusted certificate: {}",
                reply_text(error)
            ),
            _ => format!("STARTTLS with {server} failed: {}", reply_text(error)),
        };
        if is_tls_error(error) { Self::needing_intervention(text) } else { Self::temporary(text) }
    }

    /// Rejected credentials.
    pub fn auth(server: &Server, error: &Error) -> Self {
        // The text of the reply may repeat the credentials.
        let status = error.status().map(|code| code.to_string());
        if error.is_permanent() {
            let status = status.unwrap_or_default();
            return Self::needing_intervention(format!(
                "{server} rejected the user and password of mail.url ({status})"
            ));
        }
        if error.is_client() {
            return Self::needing_intervention(format!(
                "{server} offers no supported authentication mechanism (PLAIN, LOGIN)"
            ));
        }
        let reply = status.unwrap_or_else(|| reply_text(error));
        Self::temporary(format!("authentication with {server} failed: {reply}"))
    }

    /// A rejected mail, or a lost connection.
    pub fn delivery(server: &Server, stage: Stage, error: &Error) -> Self {
        let Some(status) = error.status() else {
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
        let is_configuration = stage == Stage::Sender
            || AUTHENTICATION_REQUIRED.contains(&status.to_string().as_str());
        if error.is_permanent() && !is_configuration {
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
fn reply_text(error: &Error) -> String {
    let mut text = innermost(error).to_string();
    if let Some(status) = error.status() {
        text = format!("{status} {text}");
    }
    let redacted = |word| if str::contains(word, '@') { "[address]" } else { word };
    let text = text.split_whitespace().map(redacted).collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MAX_REPLY_LENGTH).collect()
}

fn innermost(error: &Error) -> &(dyn std::error::Error + 'static) {
    let mut inner: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

/// TLS errors are reported as invalid data.
fn is_tls_error(error: &Error) -> bool {
    let inner = innermost(error).downcast_ref::<io::Error>();
    inner.is_some_and(|inner| inner.kind() == io::ErrorKind::InvalidData)
}
