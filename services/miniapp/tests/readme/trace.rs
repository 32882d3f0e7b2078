//! The trace that the README shows is one of a real task.

use miniapp_telemetry::trace::{Trace, Tree};
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::Program;
use miniapp_types::task::Status;
use serde_json::json;

use crate::Made;

const MADE: Made = Made {
    begin: "<!-- trace: of a real task; UPDATE_README=1 makes it anew -->\n```text\n",
    end: "```\n<!-- end of trace -->",
};
/// Fits a page.
const WIDTH: usize = 92;

#[tokio::test]
async fn the_trace_is_what_a_platform_shows() {
    // All of them, however many requests it takes to see the task's end.
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp")).set("telemetry.sampler", "always_on");
    let platform = program.start().await;
    let user = platform.sign_up("ada").await;
    let first = user.submit("echo", &json!(1)).await;
    user.until(first.task_id, Status::Finished).await;
    let task = user.submit("flaky", &json!({ "failures": 1 })).await;
    let task = user.until(task.task_id, Status::Finished).await;
    let url = format!("{}/traces/{}", platform.admin(), task.trace_id.expect("a trace"));
    let trace = eventually("the last span is kept", async || {
        let answer = Answer::to(client().get(&url)).await.expect(200);
        let trace = Trace::from_json(&answer.json());
        let acks = trace.spans.iter().filter(|span| span.name.starts_with("ack")).count();
        (acks == 2).then_some(trace)
    })
    .await;
    let drawn = Tree::new(&trace, WIDTH).to_string();
    if !MADE.updated(&drawn) {
        let stands = MADE.stands();
        assert_eq!(names(&stands), names(&drawn), "UPDATE_README=1 ./test readme makes it anew");
    }
}

/// Each line without its time and its bar.
fn names(drawn: &str) -> Vec<String> {
    let is_time = |word: &&str| {
        matches!(*word, "µs" | "ms" | "s") || word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let is_bar = |word: &&str| word.chars().all(|c| c == '━');
    let name = |line: &str| {
        let words: Vec<&str> =
            line.split_whitespace().filter(|word| !is_time(word) && !is_bar(word)).collect();
        words.join(" ")
    };
    drawn.lines().map(name).collect()
}
