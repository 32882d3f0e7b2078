//! `miniapp audit`: lists the audit log.

use miniapp_types::account::{AuditEntry, AuditPage, Role};

use super::paging::PageArgs;
use crate::context::Context;
use crate::ui::format::{short_id, timestamp};
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
    let mut table =
        Table::new(ui.palette, &["TIME", "ACTION", "OUTCOME", "ADDRESS", "LOGIN", "DETAILS"]);
    for entry in &listed.entries {
        let tone = if entry.outcome == "ok" { Tone::Good } else { Tone::Warn };
        table.row([
            (timestamp(entry.at).as_str(), Tone::Dim),
            (&entry.action, Tone::Strong),
            (&entry.outcome, tone),
            (entry.ip.as_deref().unwrap_or_default(), Tone::Strong),
            (entry.login.as_deref().unwrap_or_default(), Tone::Strong),
            (&details(entry), Tone::Strong),
        ]);
    }
    ui.line(table.to_text())?;
    if listed.next_cursor.is_some() {
        ui.note("There are more entries; use --all or a larger --limit.");
    }
    Ok(())
}

/// Formats who acted on whose session, and changes of roles.
fn details(entry: &AuditEntry) -> String {
    let mut details = Vec::new();
    if entry.actor_id != entry.user_id
        && let Some(actor) = &entry.actor_login
    {
        details.push(format!("by {actor}"));
    }
    let names = |roles: &Option<Vec<Role>>| match roles {
        Some(roles) => roles.iter().map(<&str>::from).collect::<Vec<_>>().join(", "),
        None => "none".to_owned(),
    };
    if entry.roles_before.is_some() || entry.roles_after.is_some() {
        let (before, after) = (names(&entry.roles_before), names(&entry.roles_after));
        details.push(format!("roles {before} -> {after}"));
    }
    if let Some(session) = entry.session_id {
        details.push(format!("session {}", short_id(session)));
    }
    if entry.count > 1 {
        details.push(format!("{} times", entry.count));
    }
    details.join("; ")
}
