//! Our messages as AMQP has them.

use contracts::trace::TraceContext;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

use crate::Message;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
/// How often a message has come back from the dead letters.
const RETURNS: &str = "x-returns";
/// AMQP's number for what is kept on disk.
const PERSISTENT: u8 = 2;

/// What travels beside the body of `message`.
pub(super) fn properties(message: &Message, is_kept: bool) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_message_id(short(message.id))
        .with_content_type("application/json".into());
    if let Some(conversation) = message.conversation {
        properties = properties.with_correlation_id(short(conversation));
    }
    if is_kept {
        properties = properties.with_delivery_mode(PERSISTENT);
    }
    let trace = &message.trace;
    let mut headers = FieldTable::default();
    for (name, value) in [
        (TRACEPARENT, &trace.traceparent),
        (TRACESTATE, &trace.tracestate),
        (BAGGAGE, &trace.baggage),
    ] {
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(value.as_bytes().into()));
        }
    }
    if message.returns > 0 {
        headers.insert(RETURNS.into(), AMQPValue::LongLongInt(message.returns.into()));
    }
    if headers.inner().is_empty() { properties } else { properties.with_headers(headers) }
}

/// What can be read of a message that may be anybody's; the body is left to its reader.
pub(super) fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(Into::into),
        AMQPValue::ShortString(text) => Some(text.as_str().into()),
        _ => None,
    };
    let returns = match properties.headers().as_ref().and_then(|all| all.inner().get(RETURNS)) {
        Some(AMQPValue::LongLongInt(returns)) => u32::try_from(*returns).unwrap_or_default(),
        _ => 0,
    };
    Message {
        returns,
        id: id_of(properties).unwrap_or_default(),
        conversation: uuid(properties.correlation_id().as_ref()),
        body: body.into(),
        trace: TraceContext {
            traceparent: header(TRACEPARENT),
            tracestate: header(TRACESTATE),
            baggage: header(BAGGAGE),
        },
    }
}

/// The id of a message, where it is one of ours.
pub(super) fn id_of(properties: &BasicProperties) -> Option<Uuid> {
    uuid(properties.message_id().as_ref())
}

fn uuid(text: Option<&ShortString>) -> Option<Uuid> {
    text?.as_str().parse().ok()
}

fn short(id: Uuid) -> ShortString {
    id.as_hyphenated().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way() {
        let trace = TraceContext {
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            tracestate: Some("vendor=1".into()),
            baggage: Some("key=value".into()),
        };
        let sent = Message::new(Uuid::from_u128(1), &7).about(Uuid::from_u128(2)).in_trace(trace);
        let sent = Message { returns: 2, ..sent };
        let received = message(&properties(&sent, true), sent.body.to_vec());
        assert_eq!(received.id, sent.id);
        assert_eq!(received.conversation, sent.conversation);
        assert_eq!(received.body, sent.body);
        assert_eq!(received.trace, sent.trace);
        assert_eq!(received.returns, 2);
    }

    #[test]
    fn only_work_is_kept() {
        let sent = Message::new(Uuid::from_u128(1), &7);
        assert_eq!(*properties(&sent, true).delivery_mode(), Some(PERSISTENT));
        assert_eq!(*properties(&sent, false).delivery_mode(), None);
    }

    #[test]
    fn a_stranger_is_read_as_far_as_it_goes() {
        let mut headers = FieldTable::default();
        headers.insert(TRACEPARENT.into(), AMQPValue::LongLongInt(7));
        headers.insert(TRACESTATE.into(), AMQPValue::LongString([0xff, 0xfe].as_slice().into()));
        headers.insert(BAGGAGE.into(), AMQPValue::ShortString("key=value".into()));
        headers.insert(RETURNS.into(), AMQPValue::LongLongInt(-1));
        let properties = BasicProperties::default()
            .with_message_id("order 17".into())
            .with_correlation_id("nothing of ours".into())
            .with_headers(headers);
        let received = message(&properties, b"<xml/>".to_vec());
        assert_eq!(received.id, Uuid::nil());
        assert_eq!(received.conversation, None);
        assert_eq!(received.returns, 0);
        assert_eq!(&received.body[..], b"<xml/>");
        assert_eq!(received.trace.traceparent, None);
        assert_eq!(received.trace.tracestate, None);
        assert_eq!(received.trace.baggage.as_deref(), Some("key=value"));
    }
}
