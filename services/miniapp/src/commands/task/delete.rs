//! `miniapp task delete`: deletes tasks.

use serde_json::json;

use super::each::change_each;
use super::task_ref::TaskRefs;
use crate::context::Context;
use crate::exit::Outcome;

pub async fn run(context: &Context, args: TaskRefs) -> anyhow::Result<Outcome> {
    let (ui, client) = (context.ui, context.client()?);
    let delete = async |id| client.delete(id).await;
    let list = async |query| client.tasks(&query).await;
    change_each(context, args, list, delete, |id, ()| {
        if ui.json {
            ui.json(&json!({"taskId": id, "deleted": true}))
        } else {
            ui.line(format_args!("{id}  deleted"))
        }
    })
    .await
}
