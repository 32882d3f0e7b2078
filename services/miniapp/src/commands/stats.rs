//! `miniapp stats`: shows the number of tasks by status.

use jiff::SignedDuration;
use miniapp_types::task::Status;
use strum::IntoEnumIterator as _;

use crate::context::Context;
use crate::ui::format::{duration, grouped};
use crate::ui::{Table, Tone, status_tone};

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
    ui.line(table.to_text())?;
    let queue = match stats.queue_depth {
        0 => "The queue is empty".to_owned(),
        depth => {
            let wait = SignedDuration::try_from_secs_f64(stats.oldest_wait_seconds);
            let wait = duration(wait.unwrap_or_default());
            format!("In the queue: {}, the oldest for {wait}", grouped(depth))
        }
    };
    let finished = grouped(stats.finished_per_minute);
    Ok(ui.line(format_args!("{queue}. Finished in the last minute: {finished}."))?)
}
