//! `miniapp sessions`: lists and ends the sessions of the signed-in account.

use anyhow::bail;
use miniapp_types::account::Session;
use serde_json::json;

use super::task::is_part;
use crate::context::Context;
use crate::ui::format::{relative, short_id};
use crate::ui::{Table, Tone};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List your sessions
    List,
    /// End sessions; their tokens are refused at once
    End(EndArgs),
}

#[derive(Debug, clap::Args)]
pub struct EndArgs {
    /// Ids of sessions, or their last digits
    #[arg(required_unless_present = "others", value_name = "SESSION")]
    sessions: Vec<String>,
    /// End all sessions except this one
    #[arg(long, conflicts_with = "sessions")]
    others: bool,
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List => list(context).await,
        Command::End(args) => end(context, args).await,
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let sessions = client.account_sessions().await?;
    if ui.json {
        return Ok(ui.json(&sessions)?);
    }
    let now = context.now();
    let mut table =
        Table::new(ui.palette, &["SESSION", "CLIENT", "LAST USED", "ADDRESS", "PROGRAM"]);
    for session in &sessions.sessions {
        let current = if session.current { " (this one)" } else { "" };
        let program = session.user_agent.as_deref().unwrap_or("unknown");
        table.row([
            (short_id(session.id).as_str(), Tone::Strong),
            (session.client.as_str(), Tone::Strong),
            (&relative(session.last_used_at, now), Tone::Dim),
            (session.ip.as_deref().unwrap_or_default(), Tone::Strong),
            (&format!("{program}{current}"), Tone::Strong),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}

async fn end(context: &Context, args: EndArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let sessions = client.account_sessions().await?.sessions;
    let selected: Vec<&Session> = if args.others {
        sessions.iter().filter(|session| !session.current).collect()
    } else {
        // All are checked before the first one ends.
        args.sessions.iter().map(|part| find(&sessions, part)).collect::<Result<_, _>>()?
    };
    for session in selected {
        client.end_session(session.id).await?;
        if session.current {
            client.forget_session()?;
        }
        if ui.json {
            ui.json_line(&json!({ "id": session.id, "ended": true }))?;
        } else {
            ui.line(format_args!("{}  ended", session.id))?;
        }
    }
    Ok(())
}

fn find<'a>(sessions: &'a [Session], part: &str) -> anyhow::Result<&'a Session> {
    let digits = part.replace('-', "").to_ascii_lowercase();
    let mut found = sessions.iter().filter(|session| is_part(&digits, session.id));
    match (found.next(), found.next()) {
        (Some(session), None) => Ok(session),
        (None, _) => bail!("no session of yours has the id {part}; see `miniapp sessions list`"),
        _ => bail!("{part} fits several sessions; use more digits"),
    }
}
