//! Encoding of messages as AMQP properties and headers.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use miniapp_telemetry::trace::extract_from;
use uuid::Uuid;

use crate::Message;

/// When a message was published, in microseconds since 1970; AMQP's timestamp has seconds.
const PUBLISHED_AT: &str = "x-published-at";
/// How often a message was moved from the dead letters back to its queue.
const REDRIVE_COUNT: &str = "x-returns";
/// The delivery mode of messages that survive a server restart.
const PERSISTENT: u8 = 2;

/// Returns the properties of `message`.
pub(super) fn properties(message: &Message, is_persistent: bool) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_message_id(short(message.id))
        .with_content_type("application/json".into());
    if let Some(conversation) = message.conversation {
        properties = properties.with_correlation_id(short(conversation));
    }
    if is_persistent {
        properties = properties.with_delivery_mode(PERSISTENT);
    }
    let mut headers = FieldTable::default();
    for (name, value) in miniapp_telemetry::trace::fields(&message.trace) {
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_bytes().into()));
    }
    if let Some(at) = message.published_at {
        headers.insert(PUBLISHED_AT.into(), AMQPValue::LongLongInt(at.as_microsecond()));
    }
    if message.redrive_count > 0 {
        headers.insert(REDRIVE_COUNT.into(), AMQPValue::LongLongInt(message.redrive_count.into()));
    }
    if headers.inner().is_empty() { properties } else { properties.with_headers(headers) }
}

/// Builds a message from AMQP properties that anyone may have sent. Invalid properties and
/// headers are ignored.
pub(super) fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let text = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    };
    let number = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    };
    Message {
        redrive_count: number(REDRIVE_COUNT)
            .and_then(|count| count.try_into().ok())
            .unwrap_or_default(),
        published_at: number(PUBLISHED_AT).and_then(|at| Timestamp::from_microsecond(at).ok()),
        id: id_of(properties).unwrap_or_default(),
        conversation: uuid(properties.correlation_id().as_ref()),
        body: body.into(),
        trace: extract_from(text),
    }
}

/// Returns the message id if it is a UUID, as this crate sets it.
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
    use miniapp_types::trace::TraceContext;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    const TRACEPARENT: &str = "traceparent";
    const TRACESTATE: &str = "tracestate";
    const BAGGAGE: &str = "baggage";

    fn any_value() -> impl Strategy<Value = AMQPValue> {
        prop_oneof![
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i32>().prop_map(AMQPValue::LongInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            "\\PC{0,60}".prop_map(|text| AMQPValue::ShortString(text.into())),
            vec(any::<u8>(), 0..200).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            Just(AMQPValue::Void),
        ]
    }

    fn any_headers() -> impl Strategy<Value = FieldTable> {
        const KNOWN: [&str; 5] = [TRACEPARENT, TRACESTATE, BAGGAGE, PUBLISHED_AT, REDRIVE_COUNT];
        let name = prop_oneof![
            proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned),
            "[a-z-]{1,20}"
        ];
        btree_map(name, any_value(), 0..6).prop_map(|headers| {
            let mut table = FieldTable::default();
            for (name, value) in headers {
                table.insert(name.into(), value);
            }
            table
        })
    }

    proptest! {
        #[test]
        fn arbitrary_properties_are_decoded_without_panic(
            headers in any_headers(),
            message_id in "\\PC{0,40}",
            body in vec(any::<u8>(), 0..100),
        ) {
            let properties = BasicProperties::default()
                .with_message_id(message_id.into())
                .with_headers(headers);
            let received = message(&properties, body.clone());
            prop_assert_eq!(&received.body[..], &body[..]);
            // What was accepted can be sent again.
            let again = message(&super::properties(&received, true), body);
            prop_assert_eq!(again.trace, received.trace);
            prop_assert_eq!(again.published_at, received.published_at);
            prop_assert_eq!(again.redrive_count, received.redrive_count);
        }
    }

    #[test]
    fn message_round_trips() {
        let trace = TraceContext {
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            tracestate: Some("vendor=1".into()),
            baggage: Some("key=value".into()),
        };
        let sent = Message::new(Uuid::from_u128(1), &7)
            .with_conversation(Uuid::from_u128(2))
            .with_trace(trace);
        let at = Timestamp::from_microsecond(1_234_567_890_123_456).ok();
        let sent = Message { redrive_count: 2, published_at: at, ..sent };
        let received = message(&properties(&sent, true), sent.body.to_vec());
        assert_eq!(received.id, sent.id);
        assert_eq!(received.conversation, sent.conversation);
        assert_eq!(received.body, sent.body);
        assert_eq!(received.trace, sent.trace);
        assert_eq!(received.redrive_count, 2);
        assert_eq!(received.published_at, at);
    }

    #[test]
    fn only_durable_messages_are_persistent() {
        let sent = Message::new(Uuid::from_u128(1), &7);
        assert_eq!(*properties(&sent, true).delivery_mode(), Some(PERSISTENT));
        assert_eq!(*properties(&sent, false).delivery_mode(), None);
    }

    #[test]
    fn invalid_properties_are_ignored() {
        let mut headers = FieldTable::default();
        headers.insert(TRACEPARENT.into(), AMQPValue::LongLongInt(7));
        headers.insert(TRACESTATE.into(), AMQPValue::LongString([0xff, 0xfe].as_slice().into()));
        headers.insert(BAGGAGE.into(), AMQPValue::ShortString("key=value".into()));
        headers.insert(REDRIVE_COUNT.into(), AMQPValue::LongLongInt(-1));
        headers.insert(PUBLISHED_AT.into(), AMQPValue::LongLongInt(i64::MAX));
        let properties = BasicProperties::default()
            .with_message_id("order 17".into())
            .with_correlation_id("nothing of ours".into())
            .with_headers(headers);
        let received = message(&properties, b"<xml/>".to_vec());
        assert_eq!(received.id, Uuid::nil());
        assert_eq!(received.conversation, None);
        assert_eq!(received.redrive_count, 0);
        assert_eq!(received.published_at, None);
        assert_eq!(&received.body[..], b"<xml/>");
        assert_eq!(received.trace, TraceContext::default());
    }

    #[test]
    fn invalid_trace_headers_are_ignored() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let zeros = "00-00000000000000000000000000000000-0000000000000000-01";
        let trace_of = |parent: &str, rest: &str| {
            let mut headers = FieldTable::default();
            for (name, text) in [(TRACEPARENT, parent), (TRACESTATE, rest), (BAGGAGE, rest)] {
                headers.insert(name.into(), AMQPValue::LongString(text.as_bytes().into()));
            }
            message(&BasicProperties::default().with_headers(headers), Vec::new()).trace
        };
        for bad in ["", "nonsense", zeros, &parent[..54], &parent.to_uppercase()] {
            assert_eq!(trace_of(bad, "key=value"), TraceContext::default(), "{bad}");
        }
        let received = trace_of(parent, &"x".repeat(1 << 20));
        assert_eq!(received.traceparent.as_deref(), Some(parent));
        assert_eq!((received.tracestate, received.baggage), (None, None));
    }
}
