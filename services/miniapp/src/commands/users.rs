//! `miniapp users`: lists accounts, changes their roles, disables and enables them.

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use miniapp_client::{Client, PageQuery};
use miniapp_types::account::{Account, AccountPage, Role};
use strum::IntoEnumIterator as _;
use uuid::Uuid;

use super::paging::PageArgs;
use crate::context::Context;
use crate::ui::format::relative;
use crate::ui::{Table, Tone};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all accounts, newest first
    List(PageArgs),
    /// Replace the roles of an account
    Roles(RolesArgs),
    /// Disable an account: its sessions end at once, and it cannot sign in. Its tasks continue
    Disable(AccountArgs),
    /// Enable an account that was disabled
    Enable(AccountArgs),
}

#[derive(Debug, clap::Args)]
pub struct AccountArgs {
    /// Login, e-mail address or id of the account
    #[arg(value_name = "ACCOUNT")]
    account: String,
}

#[derive(Debug, clap::Args)]
pub struct RolesArgs {
    /// Login, e-mail address or id of the account
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Its new roles
    #[arg(required = true, value_name = "ROLE", value_parser = roles())]
    roles: Vec<Role>,
}

fn roles() -> impl clap::builder::TypedValueParser<Value = Role> {
    let names = PossibleValuesParser::new(Role::iter().map(<&str>::from));
    names.try_map(|name| name.parse::<Role>())
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(context, &args).await,
        Command::Roles(args) => set_roles(context, &args).await,
        Command::Disable(args) => set_disabled(context, &args.account, true).await,
        Command::Enable(args) => set_disabled(context, &args.account, false).await,
    }
}

async fn list(context: &Context, args: &PageArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let listed = args.read(async |query| {
        let page = client.users(&query).await?;
        Ok((page.users, page.next_cursor))
    });
    let listed = listed.await?;
    if ui.json {
        let page = AccountPage { users: listed.entries, next_cursor: listed.next_cursor };
        return Ok(ui.json(&page)?);
    }
    let now = context.now();
    let mut table = Table::new(ui.palette, &["LOGIN", "ROLES", "STATE", "CREATED", "E-MAIL"]);
    for account in &listed.entries {
        table.row([
            (account.login.as_str(), Tone::Strong),
            (&names(&account.roles), Tone::Strong),
            if account.disabled { ("disabled", Tone::Bad) } else { ("enabled", Tone::Strong) },
            (&relative(account.created_at, now), Tone::Dim),
            (&account.email, Tone::Strong),
        ]);
    }
    ui.line(table.to_text())?;
    if listed.next_cursor.is_some() {
        ui.note("There are more accounts; use --all or a larger --limit.");
    }
    Ok(())
}

async fn set_roles(context: &Context, args: &RolesArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = find(&client, &args.account).await?;
    let account = client.set_roles(id, &args.roles).await?;
    if ui.json {
        return Ok(ui.json(&account)?);
    }
    let roles = names(&account.roles);
    Ok(ui.line(format_args!("{} now has the roles {roles}.", account.login))?)
}

async fn set_disabled(context: &Context, name: &str, disabled: bool) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = find(&client, name).await?;
    let account = client.set_disabled(id, disabled).await?;
    if ui.json {
        return Ok(ui.json(&account)?);
    }
    let state = if account.disabled { "disabled" } else { "enabled" };
    Ok(ui.line(format_args!("{} is {state} now.", account.login))?)
}

/// Returns the id of an account.
async fn find(client: &Client, name: &str) -> anyhow::Result<Uuid> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let is_named = |account: &&Account| account.login == name || account.email == name;
    let mut query = PageQuery::default();
    loop {
        let page = client.users(&query).await?;
        if let Some(account) = page.users.iter().find(is_named) {
            return Ok(account.user_id);
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            bail!("there is no account {name}; see `miniapp users list`");
        }
    }
}

fn names(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(Into::into).collect();
    names.join(", ")
}
