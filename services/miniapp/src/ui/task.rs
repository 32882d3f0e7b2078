//! Tasks and events as text.

use jiff::Timestamp;
use miniapp_types::task::{Event, EventType, Status, Task};
use serde_json::Value;

use super::format::{between, duration, relative, short_id, time_of_day, timestamp, truncate};
use super::{Palette, Table, Text, Tone, text};

/// Longest input or result that is shown.
const MAX_JSON: usize = 400;

pub fn status_tone(status: Status) -> Tone {
    match status {
        Status::Awaiting => Tone::Dim,
        Status::Executing => Tone::Busy,
        Status::Finished => Tone::Good,
        Status::Canceled => Tone::Warn,
        Status::Failed => Tone::Bad,
    }
}

/// Formats a status with its message.
pub fn status_line(palette: Palette, status: Status, message: Option<&str>) -> Text {
    let name = <&str>::from(status);
    let tone = status_tone(status);
    match message {
        // Such as "Canceled by its owner".
        Some(message) if message.starts_with(name) => palette.paint(tone, message),
        Some(message) => text![palette.paint(tone, name), ", ", message],
        None => palette.paint(tone, name),
    }
}

/// Formats tasks as a table, with a line for each. `is_narrow` shortens ids.
pub fn task_table(palette: Palette, is_narrow: bool, tasks: &[Task], now: Timestamp) -> Table {
    let header = ["TASK", "KIND", "STATUS", "PROGRESS", "ATTEMPT", "AGE", "DESCRIPTION"];
    let mut table = Table::new(palette, &header).with_single_lines();
    for task in tasks {
        let id = if is_narrow { short_id(task.task_id) } else { task.task_id.to_string() };
        table.row([
            (id.as_str(), Tone::Strong),
            (&task.kind, Tone::Strong),
            (<&str>::from(task.status), status_tone(task.status)),
            (&percent(task.progress), Tone::Strong),
            (&format!("{}/{}", task.attempt, task.max_attempts), Tone::Strong),
            (&between(task.created_at, now), Tone::Dim),
            (&truncate(&task.description, 80), Tone::Strong),
        ]);
    }
    table
}

/// Formats all fields of a task, one per line.
pub fn task_details(palette: Palette, task: &Task, now: Timestamp) -> Text {
    let mut details = Details { palette, text: Text::default() };
    details.line("Task", task.task_id);
    if let Some(owner) = task.owner {
        details.line("Owner", owner);
    }
    details.line("Description", &task.description);
    details.line("Kind", &task.kind);
    let status = status_line(palette, task.status, task.status_message.as_deref());
    details.line("Status", status);
    details.line("Progress", percent(task.progress));
    details.line("Attempt", format_args!("{} of {}", task.attempt, task.max_attempts));
    if task.generation > 1 {
        details.line("Generation", task.generation);
    }
    details.line("TTL", duration(jiff::SignedDuration::from_secs(task.ttl.into())));
    details.time("Created", Some(task.created_at), now);
    details.time(
        "Runs at",
        task.run_at.filter(|at| task.status == Status::Awaiting && *at > now),
        now,
    );
    details.time("Started", task.execution_started_at, now);
    details.time("Ended", task.execution_finished_at, now);
    if let Some(worker) = &task.worker {
        details.line("Worker", worker);
    }
    if let Some(trace) = &task.trace_id {
        details.line("Trace", trace);
    }
    details.json("Data", &task.data);
    if let Some(result) = &task.result {
        details.json("Result", result);
    }
    if let Some(error) = &task.error {
        details
            .line("Error", palette.paint(Tone::Bad, format!("{}: {}", error.code, error.message)));
    }
    details.text
}

/// Formats an event in one line.
pub fn event_line(palette: Palette, event: &Event) -> Text {
    let time = palette.paint(Tone::Dim, timestamp(event.at));
    text![time, "  ", event_text(palette, event)]
}

/// Formats an event that has just happened to one of many tasks, in about 80 columns.
pub fn live_event_line(palette: Palette, event: &Event) -> Text {
    let time = palette.paint(Tone::Dim, time_of_day(event.at));
    text![short_id(event.task_id), "  ", time, "  ", event_text(palette, event)]
}

fn event_text(palette: Palette, event: &Event) -> Text {
    let name = <&str>::from(event.kind).replace('_', " ");
    let tone = match event.kind {
        EventType::Finished => Tone::Good,
        EventType::Failed => Tone::Bad,
        EventType::Canceled | EventType::Retrying | EventType::LeaseLost | EventType::Released => {
            Tone::Warn
        }
        EventType::Started | EventType::Progress => Tone::Busy,
        EventType::Created
        | EventType::CancelRequested
        | EventType::Restarted
        | EventType::Deleted => Tone::Strong,
    };
    let details = event_details(event);
    // Without trailing spaces.
    let width = if details.is_empty() { 0 } else { 18 };
    text![palette.paint(tone, format!("{name:<width$}")), details]
}

fn event_details(event: &Event) -> String {
    let head = match event.kind {
        EventType::Progress => Some(percent(event.progress)),
        EventType::Started => {
            let worker = event.worker.as_deref().unwrap_or("a worker");
            Some(format!("attempt {} on {worker}", event.attempt))
        }
        _ => (event.attempt > 0).then(|| format!("attempt {}", event.attempt)),
    };
    let details: Vec<String> = head.into_iter().chain(event.message.clone()).collect();
    details.join(": ")
}

fn percent(progress: f64) -> String {
    format!("{:.0}%", progress * 100.0)
}

struct Details {
    palette: Palette,
    text: Text,
}

impl Details {
    fn line(&mut self, name: &str, value: impl Into<Text>) {
        let name = self.palette.paint(Tone::Dim, format!("{name:<12}"));
        self.text.push_line(text![name, " ", value]);
    }

    fn time(&mut self, name: &str, at: Option<Timestamp>, now: Timestamp) {
        if let Some(at) = at {
            let relative = self.palette.paint(Tone::Dim, format!("({})", relative(at, now)));
            self.line(name, text![timestamp(at), " ", relative]);
        }
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.line(name, truncate(&value.to_string(), MAX_JSON));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::fixtures;

    const PLAIN: Palette = Palette::new(false);

    #[test]
    fn task_table_has_a_row_per_task() {
        let task = Task { progress: 0.5, ..fixtures::task(Status::Executing) };
        let text = task_table(PLAIN, false, &[task], fixtures::at(90)).to_text();
        let lines: Vec<Vec<&str>> = text
            .as_str()
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
            .collect();
        assert_eq!(
            lines[0],
            ["TASK", "KIND", "STATUS", "PROGRESS", "ATTEMPT", "AGE", "DESCRIPTION"]
        );
        let id = Uuid::nil().to_string();
        assert_eq!(lines[1], [&id, "echo", "Executing", "50%", "1/3", "1 min 30 s", "Say it back"]);
    }

    #[test]
    fn tables_and_live_events_fit_80_columns() {
        let task = Task {
            description: "A description that is longer than a line of a terminal. ".repeat(9),
            ..fixtures::task(Status::Executing)
        };
        let table = task_table(PLAIN, true, &[task], fixtures::at(45_000)).with_width(80);
        let event = fixtures::event(EventType::CancelRequested, 2);
        let line = live_event_line(PLAIN, &event);
        let text = Text::joined([table.to_text(), line]);
        assert_eq!(text.as_str().lines().count(), 3, "{text:?}");
        assert!(text.as_str().lines().all(|line| line.chars().count() <= 80), "{text:?}");
    }

    #[test]
    fn task_details_omit_absent_fields() {
        let task = Task {
            result: Some(json!({"a": 1})),
            status_message: Some("done".to_owned()),
            ..fixtures::task(Status::Finished)
        };
        let details = task_details(PLAIN, &task, fixtures::at(60));
        let details = details.as_str();
        assert!(details.contains("Status       Finished, done\n"), "{details}");
        assert!(details.contains("Result       {\"a\":1}"), "{details}");
        assert!(!details.contains("Error"), "{details}");
    }

    #[test]
    fn event_line_depends_on_the_type() {
        let event = Event {
            message: Some("half way".to_owned()),
            progress: 0.5,
            ..fixtures::event(EventType::Progress, 2)
        };
        assert_eq!(
            event_line(PLAIN, &event).as_str(),
            "2030-01-01 00:00:02.000Z  progress          50%: half way"
        );
        assert_eq!(
            event_line(PLAIN, &fixtures::event(EventType::Started, 1)).as_str(),
            "2030-01-01 00:00:01.000Z  started           attempt 1 on worker-1"
        );
    }
}
