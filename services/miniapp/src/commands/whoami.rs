//! `miniapp whoami`: shows the signed-in account, or the owner of the API key.

use miniapp_client::Client;
use miniapp_types::account::Scope;

use crate::context::Context;
use crate::ui::text;

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    if client.api_key().is_some() {
        return show_key(context, &client).await;
    }
    let account = client.account().await?;
    if ui.json {
        return Ok(ui.json(&account)?);
    }
    let roles: Vec<&str> = account.roles.into_iter().map(<&str>::from).collect();
    Ok(ui.line(text![
        account.login,
        format_args!(" <{}>", account.email),
        format_args!(" with the roles {}", roles.join(", ")),
        format_args!(" at {}", client.api_url()),
    ])?)
}

async fn show_key(context: &Context, client: &Client) -> anyhow::Result<()> {
    let ui = context.ui;
    let info = client.token_info().await?;
    if ui.json {
        return Ok(ui.json(&info)?);
    }
    let scopes = info.api_key.into_iter().flat_map(|key| key.scopes);
    let scopes: Vec<&str> = scopes.map(Scope::name).collect();
    Ok(ui.line(text![
        info.login,
        format_args!(" with an API key for {}", scopes.join(", ")),
        format_args!(" at {}", client.api_url()),
    ])?)
}
