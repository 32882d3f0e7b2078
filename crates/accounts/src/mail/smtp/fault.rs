//! What went wrong, in words for whoever runs the services: without addresses, codes and
//! passwords, whatever the server repeats of them.

use std::io;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::Tls;

use super::server::Server;
use crate::mail::MailError;

/// The most that is told of a server's own words.
const MAX_WORDS: usize = 200;
/// Replies that ask for credentials first, which says nothing of the mail.
const ASK_FOR_CREDENTIALS: [&str; 2] = ["530", "538"];

/// What a server was told when it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Sender,
    Recipient,
    Content,
}

/// Why a mail didn't leave.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    text: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It may go later.
    Later,
    /// It may go once somebody has changed something, in the server or the configuration.
    NeedsHands,
    /// It never will.
    Refused,
}

impl Fault {
    pub fn later(text: String) -> Self {
        Self { text, outcome: Outcome::Later }
    }

    fn needing_hands(text: String) -> Self {
        Self { text, outcome: Outcome::NeedsHands }
    }

    fn refused(text: String) -> Self {
        Self { text, outcome: Outcome::Refused }
    }

    /// Whether trying again is of no use before somebody has changed something.
    pub fn needs_hands(&self) -> bool {
        self.outcome == Outcome::NeedsHands
    }

    pub fn no_connection_in_time(server: &Server) -> Self {
        let hint = if matches!(server.tls, Tls::Wrapper(_)) {
            ""
        } else {
            "; for a port with TLS from the start, the URL has to begin with smtps://"
        };
        Self::later(format!("{server} didn't answer in time{hint}"))
    }

    pub fn no_answer_in_time(server: &Server) -> Self {
        Self::later(format!("{server} didn't take the mail in time"))
    }

    pub fn no_starttls(server: &Server) -> Self {
        Self::needing_hands(format!(
            "{server} doesn't offer STARTTLS, which smtp:// with a password or with \
             ?tls=required asks for; where TLS begins at once, the URL has to begin with smtps://"
        ))
    }

    pub fn not_international(server: &Server) -> Self {
        Self::refused(format!("{server} takes no addresses beyond ASCII"))
    }

    /// A connection that didn't come about, or had no greeting.
    pub fn connecting(server: &Server, error: &Error) -> Self {
        if is_about_tls(error) {
            return Self::securing(server, error);
        }
        Self::later(format!("can't connect to {server}: {}", words(error)))
    }

    /// TLS that didn't come about.
    pub fn securing(server: &Server, error: &Error) -> Self {
        let text = match &server.tls {
            Tls::Wrapper(_) => format!(
                "can't connect to {server}, which smtps:// takes for a TLS port with a \
                 certificate to be trusted: {}",
                words(error)
            ),
            _ => format!("can't begin TLS with {server}: {}", words(error)),
        };
        if is_about_tls(error) { Self::needing_hands(text) } else { Self::later(text) }
    }

    /// Credentials that weren't taken.
    pub fn signing_in(server: &Server, error: &Error) -> Self {
        // The server's words may repeat what it was told.
        let status = error.status().map(|code| code.to_string());
        if error.is_permanent() {
            let status = status.unwrap_or_default();
            return Self::needing_hands(format!(
                "{server} doesn't take the user and password of mail.url ({status})"
            ));
        }
        if error.is_client() {
            return Self::needing_hands(format!(
                "{server} has no way of signing in that we know (PLAIN, LOGIN)"
            ));
        }
        let said = status.unwrap_or_else(|| words(error));
        Self::later(format!("can't sign in to {server}: {said}"))
    }

    /// A mail that wasn't taken.
    pub fn delivering(server: &Server, stage: Stage, error: &Error) -> Self {
        let Some(status) = error.status() else {
            return Self::later(format!("{server} broke off: {}", words(error)));
        };
        let what = match stage {
            Stage::Sender => "mail.from as the sender",
            Stage::Recipient => "the recipient",
            Stage::Content => "the mail",
        };
        let text = format!("{server} refused {what}: {}", words(error));
        let is_about_us =
            stage == Stage::Sender || ASK_FOR_CREDENTIALS.contains(&status.to_string().as_str());
        if error.is_permanent() && !is_about_us { Self::refused(text) } else { Self::later(text) }
    }

    /// The same without `secret`.
    pub fn hiding(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret {
            self.text = self.text.replace(secret, "[hidden]");
        }
        self
    }
}

impl From<Fault> for MailError {
    fn from(fault: Fault) -> Self {
        match fault.outcome {
            Outcome::Later | Outcome::NeedsHands => Self::Temporary(fault.text),
            Outcome::Refused => Self::Permanent(fault.text),
        }
    }
}

/// The server's words, or what happened underneath, in one line.
fn words(error: &Error) -> String {
    let mut text = innermost(error).to_string();
    if let Some(status) = error.status() {
        text = format!("{status} {text}");
    }
    let shown = |word| if str::contains(word, '@') { "[address]" } else { word };
    let text = text.split_whitespace().map(shown).collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

fn innermost(error: &Error) -> &(dyn std::error::Error + 'static) {
    let mut inner: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

/// TLS tells what it doesn't like as data that is invalid.
fn is_about_tls(error: &Error) -> bool {
    let inner = innermost(error).downcast_ref::<io::Error>();
    inner.is_some_and(|inner| inner.kind() == io::ErrorKind::InvalidData)
}
