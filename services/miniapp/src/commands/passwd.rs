//! `miniapp passwd`: changes the password of the signed-in account.

use serde_json::json;

use crate::context::Context;
use crate::ui::prompt::{password_from_stdin, prompt_new_password, prompt_password};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the current and the new password from two lines of standard input
    #[arg(long)]
    password_stdin: bool,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let (current, new) = if args.password_stdin {
        (password_from_stdin()?, password_from_stdin()?)
    } else {
        (prompt_password("Current password").await?, prompt_new_password(ui).await?)
    };
    client.change_password(current, new).await?;
    if ui.json {
        return Ok(ui.json(&json!({ "changed": true }))?);
    }
    Ok(ui.line("The password was changed. All other sessions have ended.")?)
}
