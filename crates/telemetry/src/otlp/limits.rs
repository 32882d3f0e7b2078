//! The length limit of texts in spans.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

/// Shortens the name and all attribute values to `max_length` characters.
pub(super) fn truncate(span: &mut Span, max_length: usize) {
    truncate_text(&mut span.name, max_length);
    truncate_attributes(&mut span.attributes, max_length);
    for event in &mut span.events {
        truncate_text(&mut event.name, max_length);
        truncate_attributes(&mut event.attributes, max_length);
    }
    for link in &mut span.links {
        truncate_attributes(&mut link.attributes, max_length);
    }
    if let Some(status) = &mut span.status {
        truncate_text(&mut status.message, max_length);
    }
}

fn truncate_attributes(attributes: &mut [KeyValue], max_length: usize) {
    attributes
        .iter_mut()
        .filter_map(|it| it.value.as_mut())
        .for_each(|it| truncate_value(it, max_length));
}

fn truncate_value(value: &mut AnyValue, max_length: usize) {
    match &mut value.value {
        Some(Value::StringValue(text)) => truncate_text(text, max_length),
        Some(Value::ArrayValue(array)) => {
            array.values.iter_mut().for_each(|value| truncate_value(value, max_length));
        }
        _ => {}
    }
}

fn truncate_text(text: &mut String, max_length: usize) {
    if text.len() > max_length
        && let Some((end, _)) = text.char_indices().nth(max_length)
    {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::{SpanContext, SpanId};
    use opentelemetry::{Array, Value as SdkValue};

    use super::*;
    use crate::trace::{CompletedSpan, SpanHandle};

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let parent = SpanHandle::new(SpanContext::empty_context(), None);
        let texts = SdkValue::Array(Array::String(vec!["ü".repeat(50).into(), "b".into()]));
        let now = SystemTime::UNIX_EPOCH;
        let span = CompletedSpan::internal("process tasks:run", &parent, now, now)
            .with_id(SpanId::from(1))
            .with_attribute("long", "ü".repeat(50))
            .with_attribute("short", "short")
            .with_attribute("number", 1_234_567_890_123)
            .with_attribute("texts", texts);
        let mut span = Span::from(*span.data);
        truncate(&mut span, 9);
        assert_eq!(span.name, "process t");
        let value = |index: usize| span.attributes[index].value.clone().and_then(|it| it.value);
        assert_eq!(value(0), Some(Value::StringValue("ü".repeat(9))));
        assert_eq!(value(1), Some(Value::StringValue("short".to_owned())));
        assert_eq!(value(2), Some(Value::IntValue(1_234_567_890_123)));
        let Some(Value::ArrayValue(array)) = value(3) else { panic!("{span:?}") };
        assert_eq!(array.values[0].value, Some(Value::StringValue("ü".repeat(9))));
    }
}
