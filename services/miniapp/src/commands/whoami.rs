//! `miniapp whoami`: shows the signed-in account.

use crate::context::Context;
use crate::ui::text;

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
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
