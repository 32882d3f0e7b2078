//! `miniapp register`: makes an account and signs in.

use anyhow::ensure;
use miniapp_client::{Client, Error};
use miniapp_types::account::{Register, Secret};
use miniapp_types::problem::Code;

use super::login::report;
use crate::context::Context;
use crate::failure::with_advice;
use crate::ui::prompt::{ask, ask_secretly, can_ask};
use crate::ui::{Tone, Ui, words};

/// Who.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The e-mail address; asked for if absent
    email: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    // Before a mail is sent for nothing.
    ensure!(
        can_ask(),
        "`miniapp register` asks on a terminal, and there is none; scripts use {}docs",
        client.auth_url()
    );
    let email = match args.email {
        Some(email) => email,
        None => ask("E-mail address").await?,
    };
    let sent = client.send_code(&email).await?;
    let good_for = jiff::SignedDuration::from_secs(sent.expires_in.try_into()?);
    ui.note(format_args!(
        "A code is on its way to {email}; it is good for {}.",
        words::span(good_for)
    ));
    confirm(ui, &client, &email).await?;
    let (login, password) = make(ui, &client, &email).await?;
    let session = client.sign_in(&login, password).await?;
    report(context, client.api_url(), &session)
}

/// How often a code may be tried before it is dead, unless configured otherwise.
const TRIES: u32 = 5;

/// Asks for the code until it is the right one: starting over would have to wait for
/// another mail.
async fn confirm(ui: Ui, client: &Client, email: &str) -> anyhow::Result<()> {
    for _ in 1..TRIES {
        match client.verify_email(email, &ask("Code").await?).await {
            Ok(_) => return Ok(()),
            Err(refusal) => again(ui, refusal, &[Code::CodeInvalid, Code::InvalidFields])?,
        }
    }
    client.verify_email(email, &ask("Code").await?).await?;
    Ok(())
}

/// Asks for login and password until they make an account: the confirmed address waits
/// for it.
async fn make(ui: Ui, client: &Client, email: &str) -> anyhow::Result<(String, Secret)> {
    loop {
        let login = ask("Login (3 to 100 letters, digits, ., _ or -)").await?;
        let password = new_password(ui).await?;
        let account = Register {
            email: email.to_owned(),
            login: login.clone(),
            password: password.clone(),
            password_confirm: None,
            birth_date: None,
            phone_number: None,
        };
        match client.register(&account).await {
            Ok(_) => return Ok((login, password)),
            Err(refusal) => again(ui, refusal, &[Code::LoginTaken, Code::InvalidFields])?,
        }
    }
}

/// Asks for a password until it is typed the same way twice.
async fn new_password(ui: Ui) -> anyhow::Result<Secret> {
    loop {
        let password = ask_secretly("Password (10 characters or more)").await?;
        if password == ask_secretly("The password again").await? {
            return Ok(password);
        }
        ui.note(ui.notes.paint(Tone::Warn, "The two differ; once more."));
    }
}

/// Tells a refusal that another answer may mend; gives back any other.
fn again(ui: Ui, refusal: Error, mendable: &[Code]) -> Result<(), Error> {
    if !refusal.code().is_some_and(|code| mendable.contains(&code)) {
        return Err(refusal);
    }
    ui.note(ui.notes.paint(Tone::Warn, with_advice(&refusal)));
    Ok(())
}
