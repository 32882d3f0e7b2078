//! `miniapp task delete`: deletes tasks.

use serde_json::json;

use super::task_ref::TaskRefs;
use crate::context::Context;

pub async fn run(context: &Context, args: TaskRefs) -> anyhow::Result<()> {
    let client = context.client()?;
    for task in args.tasks {
        let id = task.resolve(&client).await?;
        client.delete(id).await?;
        if context.ui.json {
            context.ui.json(&json!({"taskId": id, "deleted": true}))?;
        } else {
            context.ui.line(format_args!("{id}  deleted"))?;
        }
    }
    Ok(())
}
