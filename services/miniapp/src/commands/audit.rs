//! `miniapp audit`: lists the audit log.

use miniapp_types::account::AuditPage;

use super::paging::PageArgs;
use crate::context::Context;
use crate::ui::format::timestamp;
use crate::ui::{Table, Tone};

pub async fn run(context: &Context, args: PageArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let listed = args.read(async |query| {
        let page = client.audit(&query).await?;
        Ok((page.entries, page.next_cursor))
    });
    let listed = listed.await?;
    if ui.json {
        let page = AuditPage { entries: listed.entries, next_cursor: listed.next_cursor };
        return Ok(ui.json(&page)?);
    }
    let mut table = Table::new(ui.palette, &["TIME", "ACTION", "OUTCOME", "ADDRESS", "LOGIN"]);
    for entry in &listed.entries {
        let tone = if entry.outcome == "ok" { Tone::Good } else { Tone::Warn };
        table.row([
            (timestamp(entry.at).as_str(), Tone::Dim),
            (&entry.action, Tone::Strong),
            (&entry.outcome, tone),
            (entry.ip.as_deref().unwrap_or_default(), Tone::Strong),
            (entry.login.as_deref().unwrap_or_default(), Tone::Strong),
        ]);
    }
    ui.line(table.to_text())?;
    if listed.next_cursor.is_some() {
        ui.note("There are more entries; use --all or a larger --limit.");
    }
    Ok(())
}
