//! `miniapp admin`: administers accounts directly in the database.

use miniapp_accounts::grant_admin;

use crate::context::Context;
use crate::database;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Grant the role admin to an account, effective from its next sign-in
    Grant {
        /// Login or e-mail address of the account
        login: String,
    },
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    let Command::Grant { login } = command;
    let config = context.config()?;
    let store = database::open_accounts(&config).await?;
    let account = grant_admin(&config, store.as_ref(), &context.clock, &login).await?;
    if context.ui.json {
        return Ok(context.ui.json(&account)?);
    }
    if account.disabled {
        context
            .ui
            .note("The account is disabled; an admin can enable it with `miniapp users enable`.");
    }
    let roles: Vec<String> = account.roles.iter().map(ToString::to_string).collect();
    let (login, roles) = (&account.login, roles.join(", "));
    Ok(context
        .ui
        .line(format_args!("{login} now has the roles {roles}. Sign in again to use them."))?)
}
