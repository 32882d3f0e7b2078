//! `miniapp admin`: what needs the database itself rather than an account.

use miniapp_accounts::grant_admin;

use crate::context::Context;
use crate::store;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an account an admin, from its next sign-in on
    Grant {
        /// Its login or e-mail address
        login: String,
    },
}

/// Runs `command`.
pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    let Command::Grant { login } = command;
    let config = context.config()?;
    let store = store::accounts(&config).await?;
    let account = grant_admin(&config, store.as_ref(), &context.clock, &login).await?;
    if context.ui.json {
        return Ok(context.ui.json(&account)?);
    }
    let roles: Vec<String> = account.roles.iter().map(ToString::to_string).collect();
    let roles = roles.join(" and ");
    Ok(context
        .ui
        .line(format_args!("{} is {roles} now; sign in again to use it.", account.login))?)
}
