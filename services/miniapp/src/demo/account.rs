//! A fresh account, the way everybody gets one.

use std::time::Duration;

use anyhow::Context as _;
use miniapp_accounts::mail::InboxMail;
use miniapp_client::Client;
use miniapp_types::account::{Register, Secret};

use super::Demo;

const EMAIL: &str = "ada@example.com";
const LOGIN: &str = "ada";
/// Passes the rules for passwords; the account lives for some seconds.
const PASSWORD: &str = "seven quiet lanterns";
/// How long a mail may take to an inbox in the same process.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a code, uses it, registers and signs in.
pub(super) async fn sign_up(demo: &Demo<'_>) -> anyhow::Result<Client> {
    let at = &demo.platform.addresses;
    let client = Client::builder(at.api_url()).auth_url(at.auth_url()).build()?;
    let mut mails = demo.platform.mails.subscribe();

    client.send_code(EMAIL).await?;
    demo.say(format_args!("  POST /send-verification-code  a mail goes to {EMAIL}"))?;
    let mail = tokio::time::timeout(PATIENCE, mails.recv()).await.context("no mail came")?;
    let InboxMail { mail, .. } = mail?;
    let code = mail.code().context("the mail has no code")?;
    client.verify_email(EMAIL, code).await?;
    demo.say(format_args!("  POST /verify-email            with the code from it, {code}"))?;
    let password = Secret::new(PASSWORD);
    let account = Register {
        email: EMAIL.to_owned(),
        login: LOGIN.to_owned(),
        password: password.clone(),
        password_confirm: None,
        birth_date: None,
        phone_number: None,
    };
    client.register(&account).await?;
    demo.say(format_args!("  POST /register                as {LOGIN}"))?;
    client.sign_in(LOGIN, password).await?;
    demo.say("  POST /sign-in                 the tokens for what follows")?;
    Ok(client)
}
