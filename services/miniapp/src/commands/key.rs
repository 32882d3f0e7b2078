//! `miniapp key`: creates, lists and revokes API keys.

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use jiff::{Timestamp, ToSpan as _};
use miniapp_client::Client;
use miniapp_types::account::{ApiKey, ApiKeys, CreateApiKey, NewApiKey, Scope};
use serde_json::json;
use strum::IntoEnumIterator as _;
use uuid::Uuid;

use super::task::is_part;
use crate::context::Context;
use crate::environment_key::VARIABLE;
use crate::ui::format::{relative, short_id};
use crate::ui::{Table, Tone};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create a key and print it; it is not shown again
    Create(CreateArgs),
    /// List your keys
    List,
    /// Revoke keys; they are refused at once
    Revoke(RevokeArgs),
    /// Create a key and print it as shell exports: eval "$(miniapp key env ci)"
    Env(CreateArgs),
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// What the key is for
    name: String,
    /// What the key may do; `worker`, `admin:read` and `admin:write` are for admins
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        default_values = ["tasks:read", "tasks:write"],
        value_parser = scopes()
    )]
    scopes: Vec<Scope>,
    /// When the key expires, such as 2030-01-31T12:00:00Z [default: never]
    #[arg(long, value_name = "TIME", conflicts_with = "days")]
    expires_at: Option<Timestamp>,
    /// The key expires after this number of days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Ids of keys, their last digits, or their prefixes
    #[arg(required_unless_present = "all", value_name = "KEY")]
    keys: Vec<String>,
    /// Revoke all your keys
    #[arg(long, conflicts_with = "keys")]
    all: bool,
}

fn scopes() -> impl clap::builder::TypedValueParser<Value = Scope> {
    let names = PossibleValuesParser::new(Scope::iter().map(Scope::name));
    names.try_map(|name| name.parse::<Scope>())
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(context, args).await,
        Command::List => list(context).await,
        Command::Revoke(args) => revoke(context, args).await,
        Command::Env(args) => env(context, args).await,
    }
}

impl CreateArgs {
    async fn create(self, context: &Context, client: &Client) -> anyhow::Result<NewApiKey> {
        let Self { name, scopes, expires_at, days } = self;
        let after = days.map(|days| (i64::from(days) * 24).hours());
        let after = after.map(|after| context.now().checked_add(after)).transpose()?;
        let expires_at = expires_at.or(after);
        Ok(client.create_api_key(&CreateApiKey { name, scopes, expires_at }).await?)
    }
}

async fn create(context: &Context, args: CreateArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let created = args.create(context, &client).await?;
    if ui.json {
        return Ok(ui.json(&created)?);
    }
    // The key alone on standard output, for scripts.
    ui.line(created.key.expose())?;
    ui.note(format_args!(
        "Store it now, it is not shown again. Commands use the key in {VARIABLE}."
    ));
    Ok(())
}

async fn env(context: &Context, args: CreateArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let created = args.create(context, &client).await?;
    let variables = [
        ("MINIAPP_URL", client.api_url().as_str()),
        ("MINIAPP_AUTH_URL", client.auth_url().as_str()),
        (VARIABLE, created.key.expose()),
    ];
    if ui.json {
        let variables: serde_json::Map<_, _> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        return Ok(ui.json(&variables)?);
    }
    for (name, value) in variables {
        ui.line(format_args!("export {name}={}", quoted(value)))?;
    }
    Ok(())
}

/// Quotes a value for a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let keys = client.api_keys().await?;
    if ui.json {
        return Ok(ui.json(&keys)?);
    }
    let now = context.now();
    let columns = ["KEY", "PREFIX", "NAME", "SCOPES", "LAST USED", "EXPIRES"];
    let mut table = Table::new(ui.palette, &columns);
    for key in &keys.api_keys {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| relative(at, now));
        let expires = key.expires_at.map_or_else(|| "never".to_owned(), |at| relative(at, now));
        let is_over = key.expires_at.is_some_and(|at| at <= now);
        table.row([
            (short_id(key.id).as_str(), Tone::Strong),
            (&key.prefix, Tone::Dim),
            (&key.name, Tone::Strong),
            (&scopes.join(" "), Tone::Strong),
            (&used, Tone::Dim),
            (&expires, if is_over { Tone::Bad } else { Tone::Dim }),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}

async fn revoke(context: &Context, args: RevokeArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let ApiKeys { api_keys } = client.api_keys().await?;
    let selected: Vec<Uuid> = if args.all {
        api_keys.iter().map(|key| key.id).collect()
    } else {
        // All are checked before the first one is revoked.
        args.keys.iter().map(|part| find(&api_keys, part)).collect::<Result<_, _>>()?
    };
    for id in selected {
        client.delete_api_key(id).await?;
        if ui.json {
            ui.json_line(&json!({ "id": id, "revoked": true }))?;
        } else {
            ui.line(format_args!("{id}  revoked"))?;
        }
    }
    Ok(())
}

fn find(keys: &[ApiKey], part: &str) -> anyhow::Result<Uuid> {
    let digits = part.replace('-', "").to_ascii_lowercase();
    // A leaked key can be pasted.
    let is_meant = |key: &&ApiKey| is_part(&digits, key.id) || part.starts_with(&key.prefix);
    let mut found = keys.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.id),
        (None, _) => bail!("no key of yours fits {part:.12}; see `miniapp key list`"),
        _ => bail!("{part:.12} fits several keys; use more digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u128, prefix: &str) -> ApiKey {
        ApiKey {
            id: Uuid::from_u128(id),
            name: String::new(),
            prefix: prefix.to_owned(),
            scopes: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn key_is_found_by_id_digits_or_prefix() {
        let keys = [key(0xab12_3456, "mak_aaaaaaaa"), key(0xcd12_3456, "mak_bbbbbbbb")];
        let found = |part: &str| find(&keys, part).ok();
        assert_eq!(found(&keys[1].id.to_string()), Some(keys[1].id));
        assert_eq!(found("ab123456"), Some(keys[0].id));
        assert_eq!(found("123456"), None, "both");
        assert_eq!(found("mak_bbbbbbbb"), Some(keys[1].id));
        assert_eq!(found("mak_bbbbbbbbccccccccccccccccc"), Some(keys[1].id), "the whole key");
        assert_eq!(found("mak_"), None);
        assert_eq!(found("mak_cccccccc"), None);
    }

    #[test]
    fn error_does_not_repeat_a_key() {
        let error = find(&[], "mak_bbbbbbbbsecret").expect_err("no key").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn values_are_quoted_for_shells() {
        assert_eq!(quoted("http://h:1/"), "'http://h:1/'");
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
