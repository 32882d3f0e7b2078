//! The picture in the README is the trace of a real task.

use std::fmt::Write as _;
use std::fs;

use miniapp::TraceTree;
use miniapp_telemetry::trace::Trace;
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::Program;
use miniapp_types::task::Status;
use serde_json::json;

use crate::readme::pages::{HINT, is_update, read, root};

const PICTURE: &str = "docs/images/trace.svg";
/// Columns of the tree.
const WIDTH: usize = 92;

/// Sizes in pixels.
const COLUMN: usize = 8;
const LINE: usize = 20;
const MARGIN: usize = 16;
const STYLE: &str = "\
    rect.page { fill: #ffffff } text { fill: #1f2328 } .bar { fill: #0a7ea4 } .failed { fill: #c4314b }
    @media (prefers-color-scheme: dark) {
      rect.page { fill: #0d1117 } text { fill: #e6edf3 } .bar { fill: #39c5cf } .failed { fill: #ff7b72 }
    }";

#[tokio::test]
async fn picture_shows_a_real_trace() {
    let platform = Program::new(env!("CARGO_BIN_EXE_miniapp")).start().await;
    let user = platform.sign_up("ada").await;
    let first = user.submit("echo", &json!(1)).await;
    user.until(first.task_id, Status::Finished).await;
    let task = user.submit("flaky", &json!({ "failures": 1 })).await;
    let task = user.until(task.task_id, Status::Finished).await;
    let url = format!("{}/traces/{}", platform.admin(), task.trace_id.expect("a trace"));
    let trace = eventually("the last span is kept", async || {
        let answer = Answer::to(client().get(&url)).await.expect(200);
        let trace = Trace::from_json(&answer.json());
        let outcomes = trace.spans.iter().filter(|span| span.name() == "commit outcome").count();
        (outcomes == 2).then_some(trace)
    })
    .await;
    let picture = picture(&TraceTree::new(&trace, WIDTH).to_string());
    // A new picture of the same spans would differ in its durations only.
    let is_current = names(&read(PICTURE)) == names(&picture);
    if is_update() && !is_current {
        fs::write(root().join(PICTURE), picture).expect("written");
    } else {
        assert!(is_current, "{PICTURE} {HINT}");
    }
}

/// An SVG of a tree that was drawn for a terminal.
fn picture(tree: &str) -> String {
    let columns = tree.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let width = pixels(columns) + 2 * MARGIN;
    let height = tree.lines().count() * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"13\">\n  \
         <title>The trace of a task whose first attempt fails</title>\n  \
         <style>\n{STYLE}\n  </style>\n  \
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n"
    );
    for (number, line) in tree.lines().enumerate() {
        let y = MARGIN + number * LINE;
        let label = line.split('━').next().unwrap_or(line);
        let is_failed = line.ends_with(" failed");
        let shown = label.trim_end();
        // With a fixed length, columns are aligned in every font.
        let length = pixels(shown.chars().count());
        writeln!(
            svg,
            "  <text x=\"{MARGIN}\" y=\"{}\" textLength=\"{length}\" xml:space=\"preserve\">{}</text>",
            y + LINE - 6,
            shown.replace('&', "&amp;").replace('<', "&lt;"),
        )
        .expect("a text");
        let bar = line.chars().filter(|c| *c == '━').count();
        if bar > 0 {
            writeln!(
                svg,
                "  <rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"10\" rx=\"2\"/>",
                if is_failed { "failed" } else { "bar" },
                MARGIN + pixels(label.chars().count()),
                y + 5,
                pixels(bar),
            )
            .expect("a text");
        }
    }
    svg + "</svg>\n"
}

fn pixels(columns: usize) -> usize {
    columns * COLUMN
}

/// The texts of a picture without durations.
fn names(svg: &str) -> Vec<String> {
    let is_duration = |word: &&str| {
        matches!(*word, "µs" | "ms" | "s") || word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let texts = svg.split("preserve\">").skip(1).filter_map(|rest| rest.split('<').next());
    let name = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().filter(|word| !is_duration(word)).collect();
        words.join(" ")
    };
    texts.map(name).collect()
}
