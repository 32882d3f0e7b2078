//! `miniapp login`: signs in and keeps the tokens for the other commands.

use miniapp_client::Session;
use serde_json::json;

use crate::context::Context;
use crate::ui::prompt::{ask, ask_secretly, password_from_stdin};

/// Who.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The login or the e-mail address; asked for if absent
    login: Option<String>,
    /// Read the password from standard input instead of asking
    #[arg(long, requires = "login")]
    password_stdin: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let client = context.client()?;
    let login = match args.login {
        Some(login) => login,
        None => ask("Login").await?,
    };
    let password =
        if args.password_stdin { password_from_stdin()? } else { ask_secretly("Password").await? };
    let session = client.sign_in(&login, password).await?;
    report(context, client.api_url(), &session)
}

/// Says who is signed in where.
pub fn report(context: &Context, api: &reqwest::Url, session: &Session) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.json {
        return Ok(ui.json(&json!({"url": api.as_str(), "login": session.login}))?);
    }
    ui.line(format_args!("Signed in at {api} as {}.", session.login))?;
    ui.note("Try `miniapp task submit --kind echo --data hello --wait`.");
    Ok(())
}
