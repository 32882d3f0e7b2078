//! `miniapp logout`: signs out and removes the stored session.

use miniapp_client::Code;
use serde_json::json;

use crate::context::Context;

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let api = client.api_url();
    let report = |login: Option<&str>| match login {
        _ if ui.json => ui.json(&json!({"url": api.as_str(), "signedOut": login})),
        Some(login) => ui.line(format_args!("Signed out {login} from {api}.")),
        None => ui.line(format_args!("Not signed in to {api}.")),
    };
    let Some(session) = client.session() else { return Ok(report(None)?) };
    let result = client.sign_out().await;
    // The tokens are removed even if the server cannot be reached.
    client.forget_session()?;
    match result {
        // The server has ended the session before.
        Err(error) if matches!(error.code(), Some(Code::TokenRevoked | Code::TokenReused)) => {}
        result => result?,
    }
    Ok(report(Some(&session.login))?)
}
