//! How it all ended.

use jiff::SignedDuration;
use serde_json::json;

use super::Outcome;
use crate::ui::words::span;
use crate::ui::{Table, Tone, Ui, status_tone};

/// Tells how each task ended, and whether it should have.
pub fn tell(ui: Ui, outcomes: &[Outcome]) -> std::io::Result<()> {
    if ui.json {
        let tasks = outcomes.iter().map(|outcome| {
            json!({
                "name": outcome.case.name,
                "expected": outcome.case.ends,
                "asExpected": outcome.is_as_expected(),
                "task": outcome.task,
            })
        });
        return ui.json(&json!({ "tasks": tasks.collect::<Vec<_>>() }));
    }
    let mut table =
        Table::new(ui.palette, &["KIND", "A TASK THAT", "ENDED", "ATTEMPTS", "TOOK", ""]);
    for outcome in outcomes {
        let (case, task) = (&outcome.case, &outcome.task);
        let (verdict, tone) = if outcome.is_as_expected() {
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
            (&span(ended.duration_since(task.created_at).max(SignedDuration::ZERO)), Tone::Strong),
            (verdict, tone),
        ]);
    }
    ui.line(indented(&table.to_string()))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
