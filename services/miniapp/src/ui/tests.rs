//! No text from outside controls the terminal or adds a line.

use miniapp_runtime::terminal::{escape_json, is_unsafe};
use miniapp_telemetry::trace::Trace;
use miniapp_types::task::{Event, EventType, Status, Task, TaskError};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq};
use serde_json::json;

use super::*;
use crate::fixtures;

/// Every form of text about a task.
fn printed(text: &str) -> Vec<Text> {
    let palette = Palette::new(false);
    let task = Task {
        description: text.to_owned(),
        kind: text.to_owned(),
        data: json!({ text: text }),
        status_message: Some(text.to_owned()),
        result: Some(json!(text)),
        error: Some(TaskError { code: text.to_owned(), message: text.to_owned() }),
        worker: Some(text.to_owned()),
        trace_id: Some(text.to_owned()),
        ..fixtures::task(Status::Failed)
    };
    let event = Event {
        message: Some(text.to_owned()),
        worker: Some(text.to_owned()),
        ..fixtures::event(EventType::Started, 1)
    };
    let span = json!({
        "traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 1), "name": text,
        "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
    });
    let trace =
        Trace::from_json(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }));
    let now = fixtures::at(9);
    vec![
        status_line(palette, task.status, task.status_message.as_deref()),
        task_details(palette, &task, now),
        task_table(palette, true, std::slice::from_ref(&task), now).with_width(80).to_text(),
        event_line(palette, &event),
        live_event_line(palette, &event).truncated(80),
        TraceTree::new(&trace, 80).to_text(),
        text![palette.paint(Tone::Bad, text), " ", text],
    ]
}

fn arbitrary() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..30).prop_map(|text| text.into_iter().collect())
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_is_visible_and_adds_no_line(text in arbitrary()) {
        for (text, plain) in printed(&text).iter().zip(printed("plain")) {
            let lines = |text: &Text| text.as_str().split('\n').count();
            prop_assert_eq!(lines(text), lines(&plain), "{:?}", text);
            let is_hidden = |c| c != '\n' && is_unsafe(c);
            prop_assert!(!text.as_str().contains(is_hidden), "{:?}", text);
        }
        let document = serde_json::to_string(&json!([text])).expect("JSON");
        prop_assert!(!escape_json(&document).contains(is_unsafe));
    }
}
