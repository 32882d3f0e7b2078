//! Mails in MIME.

use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use url::Host;

use super::super::Mail;

/// An encoded mail with its envelope.
pub(super) struct Message {
    pub from: Address,
    pub to: Address,
    pub bytes: Vec<u8>,
}

impl Message {
    /// Encodes `mail`. Headers are built from typed values, so that no part of the mail can
    /// inject another one.
    pub fn render(mail: &Mail, from: &Mailbox, now: Timestamp) -> anyhow::Result<Self> {
        let to = mail.to.parse().ok().and_then(with_ascii_domain);
        let to = to.context("the recipient is not a valid address")?;
        let built = lettre::Message::builder()
            .from(from.clone())
            .to(to.clone().into())
            .subject(mail.subject.as_str())
            .date(SystemTime::from(now))
            // The same for each attempt, so that duplicates can be recognized.
            .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
            .raw_header(auto_submitted())
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .context("the mail can't be encoded")?;
        Ok(Self { from: from.email.clone(), to, bytes: built.formatted() })
    }

    /// Whether the addresses require SMTPUTF8.
    pub fn is_international(&self) -> bool {
        !(self.from.as_ref() as &str).is_ascii() || !(self.to.as_ref() as &str).is_ascii()
    }
}

/// Parses `Name <address>` or an address.
pub(super) fn sender(text: &str) -> anyhow::Result<Mailbox> {
    let shape = || format!("{text:?} is not like Me <me@example.com>");
    let mailbox: Mailbox = text.parse().with_context(shape)?;
    let email = with_ascii_domain(mailbox.email).with_context(shape)?;
    Ok(Mailbox::new(mailbox.name, email))
}

/// Encodes the domain in Punycode, which every mail server accepts.
fn with_ascii_domain(address: Address) -> Option<Address> {
    if address.domain().is_ascii() {
        return Some(address);
    }
    let domain = Host::parse(address.domain()).ok()?.to_string();
    Address::new(address.user(), domain).ok()
}

/// Suppresses automatic replies (RFC 3834).
fn auto_submitted() -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    HeaderValue::new(name, "auto-generated".to_owned())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn render(to: &str, subject: &str, from: &str) -> anyhow::Result<(Message, String)> {
        let mail = Mail {
            id: Uuid::nil(),
            to: to.to_owned(),
            subject: subject.to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        };
        let message = Message::render(&mail, &sender(from)?, Timestamp::UNIX_EPOCH)?;
        let text = String::from_utf8(message.bytes.clone())?;
        Ok((message, text))
    }

    #[test]
    fn render_writes_headers() {
        let (_, text) = render("ada@example.com", "Hi", "Me <me@example.org>").expect("a message");
        for line in [
            "From: Me <me@example.org>\r\n",
            "To: ada@example.com\r\n",
            "Subject: Hi\r\n",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n",
            "Message-ID: <00000000-0000-0000-0000-000000000000@example.org>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Type: multipart/alternative;",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn render_prevents_header_injection() {
        let (_, text) = render("ada@example.com", "Hi\r\nBcc: eve@example.com", "me@example.org")
            .expect("a message");
        assert!(!text.contains("\r\nBcc"), "{text}");
        for to in ["ada@example.com\r\nBcc: eve@example.com", "ada@example.com>\r\nRCPT TO:<eve@x"]
        {
            assert!(render(to, "Hi", "me@example.org").is_err(), "{to}");
        }
        assert!(sender("Me\r\nBcc: eve@example.com <me@example.org>").is_err());
    }

    #[test]
    fn domains_are_encoded_in_punycode() {
        let (message, text) =
            render("ada@b\u{fc}cher.example", "Hi", "Gr\u{fc}\u{df}e <me@b\u{fc}cher.example>")
                .expect("a message");
        assert_eq!(message.to.to_string(), "ada@xn--bcher-kva.example");
        assert_eq!(message.from.to_string(), "me@xn--bcher-kva.example");
        assert!(text.is_ascii() && !message.is_international());
        let (message, _) =
            render("\u{e5}da@example.com", "Hi", "me@example.org").expect("a message");
        assert!(message.is_international());
    }
}
