//! Mails as their recipient sees them.

use mail_parser::{Addr, Address, HeaderName, Message, MessageParser};

/// A mail that the server accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The sender of the envelope.
    pub sender: String,
    /// The recipients of the envelope.
    pub recipients: Vec<String>,
    /// The authenticated user.
    pub user: Option<String>,
    pub is_encrypted: bool,
    /// The undecoded mail.
    pub raw: String,
    /// Name and address of `From`, decoded.
    pub from: (Option<String>, String),
    pub to: String,
    pub subject: String,
    /// `Message-ID` without brackets.
    pub message_id: String,
    /// `Date` in seconds since 1970.
    pub date: i64,
    /// The media types of the parts.
    pub parts: Vec<String>,
    pub text: String,
    pub html: String,
}

/// The envelope of a mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Envelope {
    pub sender: String,
    pub recipients: Vec<String>,
    pub user: Option<String>,
    pub is_encrypted: bool,
}

impl ReceivedMail {
    /// Decodes a mail. Returns `None` if it is malformed.
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
