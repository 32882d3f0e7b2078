//! `miniapp queues`: lists queues with their unfinished tasks.

use jiff::SignedDuration;

use crate::context::Context;
use crate::ui::format::{duration, grouped};
use crate::ui::{Table, Tone};

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let queues = client.queues().await?;
    if ui.json {
        return Ok(ui.json(&queues)?);
    }
    let mut table = Table::new(ui.palette, &["QUEUE", "WAITING", "RUNNING", "OLDEST WAIT"]);
    for queue in &queues.queues {
        let wait = SignedDuration::try_from_secs_f64(queue.oldest_wait_seconds);
        let wait = match queue.waiting {
            0 => String::new(),
            _ => duration(wait.unwrap_or_default()),
        };
        table.row([
            (queue.name.as_str(), Tone::Strong),
            (&grouped(queue.waiting), Tone::Strong),
            (&grouped(queue.running), Tone::Strong),
            (&wait, Tone::Dim),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}
