//! A mail as its receiver sees it.

use mail_parser::{Addr, Address, HeaderName, Message, MessageParser};

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// Who the client said it is from.
    pub sender: String,
    /// Who the client said it is for.
    pub recipients: Vec<String>,
    /// Who had signed in.
    pub user: Option<String>,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// The mail as it came.
    pub raw: String,
    /// `From`, name and address, decoded.
    pub from: (Option<String>, String),
    /// `To`.
    pub to: String,
    /// The subject, decoded.
    pub subject: String,
    /// `Message-ID` without its brackets.
    pub message_id: String,
    /// `Date` in seconds since 1970.
    pub date: i64,
    /// The media types of the parts.
    pub parts: Vec<String>,
    /// The text, decoded.
    pub text: String,
    /// The HTML, decoded.
    pub html: String,
}

/// What was said before the mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Envelope {
    pub sender: String,
    pub recipients: Vec<String>,
    pub user: Option<String>,
    pub is_encrypted: bool,
}

impl ReceivedMail {
    /// Reads a mail, unless it is none.
    pub(super) fn read(envelope: Envelope, raw: String) -> Option<Self> {
        let Envelope { sender, recipients, user, is_encrypted } = envelope;
        let message = MessageParser::default().parse(raw.as_bytes())?;
        let text = |body: Option<std::borrow::Cow<'_, str>>| {
            body.unwrap_or_default().replace("\r\n", "\n").trim_end().to_owned()
        };
        let from = first(message.from())?;
        Some(Self {
            sender,
            recipients,
            user,
            is_encrypted,
            from: (from.name.as_deref().map(str::to_owned), address(from)),
            to: address(first(message.to())?),
            subject: message.subject()?.to_owned(),
            message_id: message.message_id()?.to_owned(),
            date: message.date()?.to_timestamp(),
            parts: parts(&message),
            text: text(message.body_text(0)),
            html: text(message.body_html(0)),
            raw,
        })
    }
}

fn first<'a>(address: Option<&'a Address<'a>>) -> Option<&'a Addr<'a>> {
    address.and_then(Address::first)
}

fn address(address: &Addr<'_>) -> String {
    address.address.as_deref().unwrap_or_default().to_owned()
}

fn parts(message: &Message<'_>) -> Vec<String> {
    let media_type = |part: &mail_parser::MessagePart<'_>| {
        let header = part.headers.iter().find(|header| header.name == HeaderName::ContentType)?;
        let kind = header.value.as_content_type()?;
        Some(format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap_or_default()))
    };
    message.parts.iter().filter_map(media_type).collect()
}
