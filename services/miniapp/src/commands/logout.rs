//! `miniapp logout`: signs out and forgets the tokens.

use miniapp_types::problem::Code;
use serde_json::json;

use crate::context::Context;

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let api = client.api_url().clone();
    let report = |login: Option<&str>| match login {
        _ if ui.json => ui.json(&json!({"url": api.as_str(), "signedOut": login})),
        Some(login) => ui.line(format_args!("Signed {login} out at {api}.")),
        None => ui.line(format_args!("Nobody was signed in at {api}.")),
    };
    let Some(session) = client.session() else { return Ok(report(None)?) };
    let ended = client.sign_out().await;
    // A session that the platform has ended already is out, too; and tokens that can't be
    // told to it any more are forgotten all the same.
    client.forget_session()?;
    match ended {
        Err(refusal) if matches!(refusal.code(), Some(Code::TokenRevoked | Code::TokenReused)) => {}
        ended => ended?,
    }
    Ok(report(Some(&session.login))?)
}
