//! A mail as it goes over the wire.

use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use url::Host;

use super::super::Mail;

/// A mail in its encoding, and who it is from and for.
pub(super) struct Message {
    pub from: Address,
    pub to: Address,
    pub bytes: Vec<u8>,
}

impl Message {
    /// Writes `mail`. Header lines are made of typed values, so that nothing in the mail can
    /// end one and begin another.
    pub fn write(mail: &Mail, from: &Mailbox, now: Timestamp) -> anyhow::Result<Self> {
        let to = mail.to.parse().ok().and_then(in_ascii);
        let to = to.context("it goes to what is no address")?;
        let built = lettre::Message::builder()
            .from(from.clone())
            .to(to.clone().into())
            .subject(mail.subject.as_str())
            .date(SystemTime::from(now))
            // The same one each time, for whoever gets the mail twice.
            .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
            .raw_header(automatic())
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .context("it can't be written")?;
        Ok(Self { from: from.email.clone(), to, bytes: built.formatted() })
    }

    /// Whether its addresses ask for a server that takes more than ASCII.
    pub fn is_international(&self) -> bool {
        !(self.from.as_ref() as &str).is_ascii() || !(self.to.as_ref() as &str).is_ascii()
    }
}

/// Reads `Name <address>` or an address.
pub(super) fn sender(text: &str) -> anyhow::Result<Mailbox> {
    let shape = || format!("{text:?} is not like Me <me@example.com>");
    let mailbox: Mailbox = text.parse().with_context(shape)?;
    let email = in_ascii(mailbox.email).with_context(shape)?;
    Ok(Mailbox::new(mailbox.name, email))
}

/// The address with its domain as name servers know it, which every mail server takes.
fn in_ascii(address: Address) -> Option<Address> {
    if address.domain().is_ascii() {
        return Some(address);
    }
    let domain = Host::parse(address.domain()).ok()?.to_string();
    Address::new(address.user(), domain).ok()
}

/// Keeps out-of-office notes from answering (RFC 3834).
fn automatic() -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    HeaderValue::new(name, "auto-generated".to_owned())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn written(to: &str, subject: &str, from: &str) -> anyhow::Result<(Message, String)> {
        let mail = Mail {
            id: Uuid::nil(),
            to: to.to_owned(),
            subject: subject.to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        };
        let message = Message::write(&mail, &sender(from)?, Timestamp::UNIX_EPOCH)?;
        let text = String::from_utf8(message.bytes.clone())?;
        Ok((message, text))
    }

    #[test]
    fn headers_say_when_who_and_what() {
        let (_, text) = written("ada@example.com", "Hi", "Me <me@example.org>").expect("written");
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
    fn no_line_breaks_into_the_headers() {
        let (_, text) = written("ada@example.com", "Hi\r\nBcc: eve@example.com", "me@example.org")
            .expect("written");
        assert!(!text.contains("\r\nBcc"), "{text}");
        for to in ["ada@example.com\r\nBcc: eve@example.com", "ada@example.com>\r\nRCPT TO:<eve@x"]
        {
            assert!(written(to, "Hi", "me@example.org").is_err(), "{to}");
        }
        assert!(sender("Me\r\nBcc: eve@example.com <me@example.org>").is_err());
    }

    #[test]
    fn domains_are_written_as_name_servers_know_them() {
        let (message, text) =
            written("ada@b\u{fc}cher.example", "Hi", "Gr\u{fc}\u{df}e <me@b\u{fc}cher.example>")
                .expect("written");
        assert_eq!(message.to.to_string(), "ada@xn--bcher-kva.example");
        assert_eq!(message.from.to_string(), "me@xn--bcher-kva.example");
        assert!(text.is_ascii() && !message.is_international());
        let (message, _) =
            written("\u{e5}da@example.com", "Hi", "me@example.org").expect("written");
        assert!(message.is_international());
    }
}
