//! `miniapp admin`: administers accounts directly in the database.

use miniapp_accounts::after_restore::deleted_accounts;
use miniapp_accounts::{KeyRotation, grant_admin};
use miniapp_config::{Config, Database, EngineUrl};
use serde_json::json;

use crate::after_restore::{Options, RestoredPlatform};
use crate::context::Context;
use crate::database;
use crate::ui::format::{count, timestamp};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Grant the role admin to an account, effective from its next sign-in
    Grant {
        /// Login or e-mail address of the account
        login: String,
    },
    /// Replace the key that signs access tokens
    ///
    /// The new key is published at once and signs after 90 seconds, when every verifier has it. The
    /// keys before it verify their tokens for `auth.key_overlap`. Running processes need no restart.
    RotateKeys {
        /// Remove the keys before it, because someone else may have them. Their access tokens become
        /// invalid within 15 seconds, and clients have to refresh them
        #[arg(long)]
        compromised: bool,
    },
    /// Print the ids of all accounts that were deleted, for a restore from a backup
    Deletions,
    /// Make a restored PostgreSQL database safe to use
    AfterRestore(AfterRestoreArgs),
}

#[derive(Debug, clap::Args)]
#[command(long_about = "Make a restored PostgreSQL database safe to use.\n\nStop all processes \
    first. All sessions end, deleted accounts are deleted again, and workers, messages and tokens \
    from before the restore become invalid. Passwords and roles are those of the backup. It can be \
    repeated.")]
pub struct AfterRestoreArgs {
    #[command(flatten)]
    options: Options,
    /// Database of the tasks, if it is not the one of the accounts
    #[arg(long, value_name = "URL", env = "MINIAPP_TASKS_DATABASE_URL", hide_env_values = true)]
    tasks_database: Option<String>,
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    let config = context.config()?;
    match command {
        Command::Grant { login } => grant(context, &config, &login).await,
        Command::RotateKeys { compromised } => rotate_keys(context, &config, compromised).await,
        Command::Deletions => print_deletions(context, &config).await,
        Command::AfterRestore(args) => finish_restore(context, &config, args).await,
    }
}

async fn grant(context: &Context, config: &Config, login: &str) -> anyhow::Result<()> {
    let store = database::open_accounts(config).await?;
    let account = grant_admin(config, store.as_ref(), &context.clock, login).await?;
    store.close().await?;
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

async fn rotate_keys(context: &Context, config: &Config, compromised: bool) -> anyhow::Result<()> {
    let store = database::open_accounts(config).await?;
    // Processes compare the times of keys with the clock of the database.
    let clock = database::open_clock(config).await?;
    let rotated =
        miniapp_accounts::rotate_keys(config, store.as_ref(), clock.as_ref(), compromised).await?;
    store.close().await?;
    let KeyRotation { kid, signs_from, replaced, retires_at } = rotated;
    if context.ui.json {
        let retiring = replaced.retiring.iter();
        let retiring: Vec<_> =
            retiring.map(|kid| json!({ "kid": kid, "retiresAt": retires_at })).collect();
        return Ok(context.ui.json(&json!({
            "kid": kid, "signsFrom": signs_from, "retiring": retiring, "removed": replaced.removed,
        }))?);
    }
    let start = timestamp(signs_from);
    context.ui.line(format_args!("The new signing key is {kid}. It signs from {start}."))?;
    if !replaced.removed.is_empty() {
        let removed = count(replaced.removed.len(), "key");
        context.ui.line(format_args!("Removed {removed}: {}.", replaced.removed.join(", ")))?;
    }
    if !replaced.retiring.is_empty() {
        let (kids, end) = (replaced.retiring.join(", "), timestamp(retires_at));
        context.ui.line(format_args!("Tokens of {kids} are valid until {end} at most."))?;
    }
    Ok(())
}

async fn print_deletions(context: &Context, config: &Config) -> anyhow::Result<()> {
    let store = database::open_accounts(config).await?;
    let deleted = deleted_accounts(store.as_ref()).await?;
    store.close().await?;
    if context.ui.json {
        return Ok(context.ui.json(&json!({ "accounts": deleted }))?);
    }
    for id in deleted {
        context.ui.line(format_args!("{id}"))?;
    }
    Ok(())
}

async fn finish_restore(
    context: &Context,
    config: &Config,
    args: AfterRestoreArgs,
) -> anyhow::Result<()> {
    let AfterRestoreArgs { options, tasks_database } = args;
    let accounts = database::existing_database(config)?;
    let tasks = match tasks_database {
        Some(url) => Database { url: EngineUrl::new(url), ..accounts.clone() },
        None => accounts.clone(),
    };
    let deleted = options.deleted()?;
    let platform = RestoredPlatform::open(config, &accounts, &tasks).await?;
    platform.ensure_unused().await?;
    let restored = platform.finish(config, &deleted, &options).await?;
    if let Some(note) = options.unnamed_deletions() {
        context.ui.note(note);
    }
    if context.ui.json {
        return Ok(context.ui.json(&restored)?);
    }
    restored.print(context.ui)
}
