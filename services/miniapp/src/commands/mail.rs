//! `miniapp mail`: what the embedded inbox has kept.

use anyhow::Context as _;
use miniapp_accounts::mail::InboxMail;
use serde_json::json;

use crate::context::Context;
use crate::store;
use crate::ui::words::relative;
use crate::ui::{Table, Tone};

/// Mails to look through for those that are wanted.
const LOOKED_AT: u32 = 1000;

/// Which mail.
#[derive(Debug, clap::Args)]
#[command(long_about = "List the mail that the embedded inbox (inbox://) has kept, newest first. \
    Reads the database, so it works beside a running platform of the same configuration.")]
pub struct Args {
    /// Only mail to this address
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER")]
    limit: u32,
    /// Only the newest code, for scripts
    #[arg(long)]
    code: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let ui = context.ui;
    let config = context.config()?;
    let kept = store::accounts(&config).await?.inbox_mails(LOOKED_AT).await?;
    let is_wanted =
        |kept: &&InboxMail| args.to.as_ref().is_none_or(|to| kept.mail.to.eq_ignore_ascii_case(to));
    let mut wanted = kept.iter().filter(is_wanted);
    if args.code {
        let code = wanted.find_map(|kept| kept.mail.code());
        return Ok(ui.line(code.context("there is no mail with a code")?)?);
    }
    let wanted: Vec<&InboxMail> = wanted.take(args.limit as usize).collect();
    if ui.json {
        let mails = wanted.iter().map(|InboxMail { at, mail }| {
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
    if wanted.is_empty() {
        ui.note("No mail.");
        return Ok(());
    }
    let now = context.now();
    let mut table = Table::new(ui.palette, &["SENT", "TO", "CODE", "SUBJECT"]);
    for InboxMail { at, mail } in wanted {
        table.row([
            (relative(*at, now).as_str(), Tone::Dim),
            (&mail.to, Tone::Strong),
            (mail.code().unwrap_or_default(), Tone::Good),
            (&mail.subject, Tone::Strong),
        ]);
    }
    Ok(ui.line(table)?)
}
