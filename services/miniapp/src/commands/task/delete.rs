//! `miniapp task delete`: removes tasks.

use super::Chosen;
use crate::context::Context;

/// Runs the command.
pub async fn run(context: &Context, args: Chosen) -> anyhow::Result<()> {
    let client = context.client()?;
    for task in args.tasks {
        let id = task.resolve(&client).await?;
        client.delete(id).await?;
        if context.ui.json {
            context.ui.json(&serde_json::json!({"taskId": id, "deleted": true}))?;
        } else {
            context.ui.line(format_args!("{id}  deleted"))?;
        }
    }
    Ok(())
}
