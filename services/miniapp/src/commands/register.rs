//! `miniapp register`: creates an account and signs in.

use anyhow::ensure;
use jiff::SignedDuration;
use miniapp_client::account::Register;
use miniapp_client::{Client, Code, Error, Secret};

use super::login::report;
use crate::context::Context;
use crate::exit::with_advice;
use crate::ui::format::duration;
use crate::ui::prompt::{is_interactive, prompt, prompt_password};
use crate::ui::{Tone, Ui};

#[derive(Debug, clap::Args)]
#[command(long_about = "Create an account interactively: prompts for an e-mail address, the code \
    that is sent to it, a login and a password.")]
pub struct Args {
    /// E-mail address [default: prompt]
    email: Option<String>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    // Checked before a mail is sent in vain.
    ensure!(
        is_interactive(),
        "`miniapp register` needs a terminal; for scripts see {}docs",
        client.auth_url()
    );
    let email = match args.email {
        Some(email) => email,
        None => prompt("E-mail address").await?,
    };
    let sent = client.send_code(&email).await?;
    let valid_for = duration(SignedDuration::from_secs(sent.expires_in.try_into()?));
    ui.note(format_args!("A code was sent to {email}. It is valid for {valid_for}."));
    let token = verify_email(ui, &client, &email).await?;
    let (login, password) = create_account(ui, &client, &email, &token).await?;
    let session = client.sign_in(&login, password).await?;
    report(context, client.api_url(), &session)
}

/// The server's default limit for wrong codes.
const MAX_ATTEMPTS: u32 = 5;

/// Prompts for the code until it is right: starting again would need another mail. Returns the
/// token for the registration.
async fn verify_email(ui: Ui, client: &Client, email: &str) -> anyhow::Result<Secret> {
    for _ in 1..MAX_ATTEMPTS {
        match client.verify_email(email, &prompt("Code").await?).await {
            Ok(verified) => return Ok(verified.registration_token),
            Err(error) => warn_if(ui, error, &[Code::CodeInvalid, Code::InvalidFields])?,
        }
    }
    Ok(client.verify_email(email, &prompt("Code").await?).await?.registration_token)
}

/// Prompts for login and password until they are accepted.
async fn create_account(
    ui: Ui,
    client: &Client,
    email: &str,
    token: &Secret,
) -> anyhow::Result<(String, Secret)> {
    loop {
        let login = prompt("Login (3 to 100 letters, digits, ., _ or -)").await?;
        let password = prompt_new_password(ui).await?;
        let account = Register {
            email: email.to_owned(),
            registration_token: Some(token.clone()),
            login: login.clone(),
            password: password.clone(),
            password_confirm: None,
            birth_date: None,
            phone_number: None,
        };
        match client.register(&account).await {
            Ok(_) => return Ok((login, password)),
            Err(error) => warn_if(ui, error, &[Code::LoginTaken, Code::InvalidFields])?,
        }
    }
}

/// Prompts for a password until it is typed the same twice.
async fn prompt_new_password(ui: Ui) -> anyhow::Result<Secret> {
    loop {
        let password = prompt_password("Password (10 characters or more)").await?;
        if password == prompt_password("Repeat the password").await? {
            return Ok(password);
        }
        ui.note(ui.notes.paint(Tone::Warn, "The passwords differ; try again."));
    }
}

/// Prints an error that other input may correct; returns any other error.
fn warn_if(ui: Ui, error: Error, correctable: &[Code]) -> Result<(), Error> {
    if !error.code().is_some_and(|code| correctable.contains(&code)) {
        return Err(error);
    }
    ui.note(ui.notes.paint(Tone::Warn, with_advice(&error)));
    Ok(())
}
