//! `miniapp kinds`: lists the kinds of task.

use crate::context::Context;
use crate::ui::{Table, Tone};

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let kinds = client.kinds().await?;
    if ui.json {
        return Ok(ui.json(&kinds)?);
    }
    let mut table = Table::new(ui.palette, &["KIND", "EXAMPLE DATA", "DESCRIPTION"]);
    for kind in &kinds.kinds {
        table.row([
            (kind.name.as_str(), Tone::Strong),
            (&kind.example.to_string(), Tone::Dim),
            (&kind.description, Tone::Strong),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}
