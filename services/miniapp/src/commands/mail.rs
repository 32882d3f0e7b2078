//! `miniapp mail`: lists mail in the embedded inbox.

use anyhow::Context as _;
use miniapp_accounts::mail::InboxMail;
use serde_json::json;

use crate::context::Context;
use crate::database;
use crate::ui::format::relative;
use crate::ui::{Table, Tone};

/// The newest mails, which are filtered.
const MAX_MAILS: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(long_about = "List mail in the embedded inbox (inbox://), newest first.\n\nReads the \
    database, so it needs the configuration of the platform but no running platform.")]
pub struct Args {
    /// Show only mail to this address
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Maximum number of mails
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print only the newest code, for scripts
    #[arg(long)]
    code: bool,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let ui = context.ui;
    let config = context.config()?;
    let store = database::open_accounts(&config).await?;
    let mails = store.inbox_mails(MAX_MAILS).await?;
    store.close().await?;
    let mut selected = mails.iter().filter(|it| {
        args.to.as_ref().is_none_or(|address| it.mail.to.eq_ignore_ascii_case(address))
    });
    if args.code {
        let code = selected.find_map(|it| it.mail.code());
        return Ok(ui.line(code.context("there is no mail with a code")?)?);
    }
    let selected: Vec<&InboxMail> = selected.take(args.limit as usize).collect();
    if ui.json {
        let mails = selected.iter().map(|InboxMail { at, mail }| {
            json!({
                "at": at,
                "to": mail.to,
                "subject": mail.subject,
                "text": mail.text,
                "code": mail.code(),
            })
        });
        return Ok(ui.json(&json!({ "mails": mails.collect::<Vec<_>>() }))?);
    }
    if selected.is_empty() {
        ui.note("No mail.");
        return Ok(());
    }
    let now = context.now();
    let mut table = Table::new(ui.palette, &["SENT", "TO", "CODE", "SUBJECT"]);
    for InboxMail { at, mail } in selected {
        table.row([
            (relative(*at, now).as_str(), Tone::Dim),
            (&mail.to, Tone::Strong),
            (mail.code().unwrap_or_default(), Tone::Good),
            (&mail.subject, Tone::Strong),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}
