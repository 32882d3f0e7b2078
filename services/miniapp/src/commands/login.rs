//! `miniapp login`: signs in and stores the session.

use miniapp_client::Session;
use reqwest::Url;
use serde_json::json;

use crate::context::Context;
use crate::ui::prompt::{password_from_stdin, prompt, prompt_password};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Login or e-mail address [default: prompt]
    login: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "login")]
    password_stdin: bool,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let client = context.client()?;
    let login = match args.login {
        Some(login) => login,
        None => prompt("Login").await?,
    };
    let password = if args.password_stdin {
        password_from_stdin()?
    } else {
        prompt_password("Password").await?
    };
    let session = client.sign_in(&login, password).await?;
    report(context, client.api_url(), &session)
}

/// Prints who has signed in.
pub fn report(context: &Context, api: &Url, session: &Session) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.json {
        return Ok(ui.json(&json!({"url": api.as_str(), "login": session.login}))?);
    }
    ui.line(format_args!("Signed in to {api} as {}.", session.login))?;
    ui.note("Try `miniapp task submit --kind echo --text hello --wait`.");
    Ok(())
}
