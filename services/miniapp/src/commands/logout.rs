//! `miniapp logout`: signs out and forgets the tokens.

use contracts::problem::Code;

use crate::context::Context;

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let api = client.endpoints().api.clone();
    if client.session().is_none() {
        ui.note(format_args!("Nobody was signed in at {api}."));
        return Ok(());
    }
    let ended = client.sign_out().await;
    // A session that the platform has ended already is out, too; and tokens that can't be
    // told to it any more are forgotten all the same.
    client.forget()?;
    match ended {
        Err(refusal) if matches!(refusal.code(), Some(Code::TokenRevoked | Code::TokenReused)) => {}
        ended => ended?,
    }
    ui.note(format_args!("Signed out at {api}."));
    Ok(())
}
