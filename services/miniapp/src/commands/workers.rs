//! `miniapp workers`: lists the live workers.

use crate::context::Context;
use crate::ui::format::{between, relative};
use crate::ui::{Table, Tone};

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let workers = client.workers().await?;
    if ui.json {
        return Ok(ui.json(&workers)?);
    }
    if workers.workers.is_empty() {
        ui.note("No live workers. Start one with `worker`, or the whole platform with `miniapp`.");
        return Ok(());
    }
    let now = context.now();
    let header = ["WORKER", "VERSION", "RUNNING", "UPTIME", "LAST SEEN", "KINDS"];
    let mut table = Table::new(ui.palette, &header);
    for worker in &workers.workers {
        let tone = if worker.running < worker.capacity { Tone::Strong } else { Tone::Warn };
        table.row([
            (worker.name.as_str(), Tone::Strong),
            (&worker.version, Tone::Dim),
            (&format!("{} of {}", worker.running, worker.capacity), tone),
            (&between(worker.started_at, now), Tone::Strong),
            (&relative(worker.last_seen_at, now), Tone::Dim),
            (&worker.kinds.join(" "), Tone::Strong),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}
