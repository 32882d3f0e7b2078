//! Creates an account over HTTP.

use std::time::Duration;

use anyhow::Context as _;
use miniapp_accounts::mail::InboxMail;
use miniapp_client::Client;
use miniapp_types::account::{Register, Secret};

use super::console::Console;
use crate::platform::Platform;

const EMAIL: &str = "ada@example.com";
const LOGIN: &str = "ada";
const PASSWORD: &str = "seven quiet lanterns";
const MAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests and confirms a code, registers and signs in.
pub async fn sign_up(console: Console, platform: &Platform) -> anyhow::Result<Client> {
    let at = &platform.addresses;
    let client = Client::builder(at.api_url()).auth_url(at.auth_url()).build()?;
    let mut mails = platform.mails.subscribe();

    client.send_code(EMAIL).await?;
    console.print(format_args!("  POST /send-verification-code  sends a code to {EMAIL}"))?;
    let mail = tokio::time::timeout(MAIL_TIMEOUT, mails.recv()).await.context("no mail arrived")?;
    let InboxMail { mail, .. } = mail?;
    let code = mail.code().context("the mail has no code")?;
    let verified = client.verify_email(EMAIL, code).await?;
    console
        .print(format_args!("  POST /verify-email            confirms it with the code {code}"))?;
    let password = Secret::new(PASSWORD);
    let account = Register {
        email: EMAIL.to_owned(),
        registration_token: Some(verified.registration_token),
        login: LOGIN.to_owned(),
        password: password.clone(),
        password_confirm: None,
        birth_date: None,
        phone_number: None,
    };
    client.register(&account).await?;
    console.print(format_args!("  POST /register                creates the account {LOGIN}"))?;
    client.sign_in(LOGIN, password).await?;
    console.print("  POST /sign-in                 returns the tokens")?;
    Ok(client)
}
