//! `miniapp register`: creates an account and signs in.

use jiff::SignedDuration;
use miniapp_client::account::Register;
use miniapp_client::{Client, Code, Error, Secret};

use super::login::report;
use crate::context::Context;
use crate::exit::{UsageError, with_advice};
use crate::pending::Pending;
use crate::ui::format::duration;
use crate::ui::prompt::{is_interactive, password_from_stdin, prompt, prompt_new_password};
use crate::ui::{Tone, Ui};

#[derive(Debug, clap::Args)]
#[command(long_about = "Create an account and sign in: sends a code to an e-mail address, and \
    prompts for the code, a login and a password.\n\nFor scripts, the first call sends the code \
    and ends, the second one has --code, --login and --password-stdin. A registration that was \
    interrupted continues with --code, or without it once the code was accepted.")]
pub struct Args {
    /// E-mail address [default: prompt]
    email: Option<String>,
    /// Code of the mail; no other mail is sent
    #[arg(long, requires = "email")]
    code: Option<String>,
    /// Login, 3 to 100 letters, digits, ., _ or - [default: prompt]
    #[arg(long)]
    login: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires_all = ["email", "login"])]
    password_stdin: bool,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let email = match &args.email {
        Some(email) => email.clone(),
        None => prompt("E-mail address").await?,
    };
    let pending = context.pending_registration()?;
    let token = match &args.code {
        Some(code) => Some(verify(&client, &pending, &email, code).await?),
        None => pending.load(&email, context.now()),
    };
    let token = if let Some(token) = token {
        token
    } else {
        send_code(ui, &client, &email).await?;
        if !is_interactive() {
            ui.note(format_args!(
                "Continue with `miniapp register {email} --code CODE --login LOGIN \
                 --password-stdin`."
            ));
            return Ok(());
        }
        verify_email(ui, &client, &pending, &email).await?
    };
    let (login, password) = create_account(ui, &client, &email, token, args).await?;
    pending.remove()?;
    let session = client.sign_in(&login, password).await?;
    report(context, client.api_url(), &session)
}

async fn send_code(ui: Ui, client: &Client, email: &str) -> anyhow::Result<()> {
    match client.send_code(email).await {
        Ok(sent) => {
            let valid_for = duration(SignedDuration::from_secs(sent.expires_in.try_into()?));
            ui.note(format_args!("A code was sent to {email}. It is valid for {valid_for}."));
            Ok(())
        }
        // The code of an interrupted registration is still valid.
        Err(error) if is_interactive() && error.code() == Some(Code::TooManyRequests) => {
            ui.note(format_args!("A code was sent to {email} a moment ago."));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The server's default limit for wrong codes.
const MAX_ATTEMPTS: u32 = 5;

/// Prompts for the code until it is right: starting again would need another mail. Returns the
/// token for the registration.
async fn verify_email(
    ui: Ui,
    client: &Client,
    pending: &Pending,
    email: &str,
) -> anyhow::Result<Secret> {
    for _ in 1..MAX_ATTEMPTS {
        match verify(client, pending, email, &prompt("Code").await?).await {
            Ok(token) => return Ok(token),
            Err(error) => {
                warn_if(ui, error.downcast()?, &[Code::CodeInvalid, Code::InvalidFields])?;
            }
        }
    }
    verify(client, pending, email, &prompt("Code").await?).await
}

/// Exchanges the code, which is valid once, for the token, and stores it until the account
/// exists.
async fn verify(
    client: &Client,
    pending: &Pending,
    email: &str,
    code: &str,
) -> anyhow::Result<Secret> {
    let verified = client.verify_email(email, code).await?;
    pending.save(email, &verified)?;
    Ok(verified.registration_token)
}

/// Creates the account. Prompts for login and password, if they are not given, until they are
/// accepted.
async fn create_account(
    ui: Ui,
    client: &Client,
    email: &str,
    token: Secret,
    args: Args,
) -> anyhow::Result<(String, Secret)> {
    let mut given = args.login;
    if given.is_none() && !is_interactive() {
        return Err(UsageError("without a terminal, --login is required".to_owned()).into());
    }
    loop {
        let login = match given.take() {
            Some(login) => login,
            None => prompt("Login (3 to 100 letters, digits, ., _ or -)").await?,
        };
        let password = if args.password_stdin {
            password_from_stdin()?
        } else {
            prompt_new_password(ui).await?
        };
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
            Err(error) if args.password_stdin => return Err(error.into()),
            Err(error) => warn_if(ui, error, &[Code::LoginTaken, Code::InvalidFields])?,
        }
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
