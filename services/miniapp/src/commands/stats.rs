//! `miniapp stats`: how many tasks stand where.

use jiff::SignedDuration;
use miniapp_types::task::Status;
use strum::IntoEnumIterator as _;

use crate::context::Context;
use crate::ui::words::{grouped, span};
use crate::ui::{Table, Tone, status_tone};

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let stats = client.stats().await?;
    if ui.json {
        return Ok(ui.json(&stats)?);
    }
    let mut table = Table::new(ui.palette, &["STATUS", "TASKS"]);
    for status in Status::iter() {
        let count = match status {
            Status::Awaiting => stats.by_status.awaiting,
            Status::Executing => stats.by_status.executing,
            Status::Finished => stats.by_status.finished,
            Status::Canceled => stats.by_status.canceled,
            Status::Failed => stats.by_status.failed,
        };
        table.row([(<&str>::from(status), status_tone(status)), (&grouped(count), Tone::Strong)]);
    }
    ui.line(table)?;
    let waits = SignedDuration::try_from_secs_f64(stats.oldest_wait_seconds).unwrap_or_default();
    let queue = match stats.queue_depth {
        0 => "Nothing waits for a worker".to_owned(),
        depth => format!(
            "{} could run and wait for a worker, the oldest for {}",
            grouped(depth),
            span(waits)
        ),
    };
    Ok(ui.line(format_args!(
        "{queue}; {} finished in the last minute.",
        grouped(stats.finished_per_minute)
    ))?)
}
