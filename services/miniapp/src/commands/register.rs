//! `miniapp register`: makes an account and signs in.

use anyhow::ensure;
use contracts::account::Register;

use super::login::report;
use crate::context::Context;
use crate::ui::prompt::{ask, ask_secretly};
use crate::ui::words;

/// Who.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The e-mail address; asked for if absent
    email: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
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
    client.verify_email(&email, &ask("Code").await?).await?;
    let login = ask("Login (3 to 100 letters, digits, ., _ or -)").await?;
    let password = ask_secretly("Password (10 characters or more)").await?;
    let password_confirm = ask_secretly("The password again").await?;
    ensure!(
        password == password_confirm,
        "the two passwords differ; `miniapp register` starts over"
    );
    let account = Register {
        email,
        login: login.clone(),
        password: password.clone(),
        password_confirm: Some(password_confirm),
        birth_date: None,
        phone_number: None,
    };
    client.register(&account).await?;
    let session = client.sign_in(&login, password).await?;
    report(context, &client.endpoints().api, &session)
}
