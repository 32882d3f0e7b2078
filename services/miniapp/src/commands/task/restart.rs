//! `miniapp task restart`: runs ended tasks again.

use super::{Chosen, report};
use crate::context::Context;

/// Runs the command.
pub async fn run(context: &Context, args: Chosen) -> anyhow::Result<()> {
    let client = context.client()?;
    for task in args.tasks {
        let id = task.resolve(&client).await?;
        report(context, &client.restart(id).await?)?;
    }
    Ok(())
}
