//! The summary of the demo.

use jiff::SignedDuration;
use serde_json::json;

use super::result::CaseResult;
use crate::ui::format::duration;
use crate::ui::{Table, Tone, Ui, status_tone};

/// Prints how each task ended, and whether that was expected.
pub fn print(ui: Ui, results: &[CaseResult]) -> std::io::Result<()> {
    if ui.json {
        let tasks = results.iter().map(|result| {
            json!({
                "name": result.case.name,
                "expected": result.case.expected_status,
                "asExpected": result.is_as_expected(),
                "task": result.task,
            })
        });
        return ui.json(&json!({ "tasks": tasks.collect::<Vec<_>>() }));
    }
    let mut table =
        Table::new(ui.palette, &["KIND", "A TASK THAT", "STATUS", "ATTEMPTS", "DURATION", ""]);
    for result in results {
        let (case, task) = (&result.case, &result.task);
        let (verdict, tone) = if result.is_as_expected() {
            ("as expected", Tone::Good)
        } else {
            ("unexpected", Tone::Bad)
        };
        let ended = task.execution_finished_at.unwrap_or(task.created_at);
        table.row([
            (task.kind.as_str(), Tone::Strong),
            (case.name, Tone::Strong),
            (task.status.into(), status_tone(task.status)),
            (&task.attempt.to_string(), Tone::Strong),
            (
                &duration(ended.duration_since(task.created_at).max(SignedDuration::ZERO)),
                Tone::Strong,
            ),
            (verdict, tone),
        ]);
    }
    ui.line(table.to_text().indented())
}
