//! `miniapp task cancel`: cancels tasks.

use super::report::report;
use super::task_ref::TaskRefs;
use crate::context::Context;

pub async fn run(context: &Context, args: TaskRefs) -> anyhow::Result<()> {
    let client = context.client()?;
    for task in args.tasks {
        let id = task.resolve(&client).await?;
        report(context, &client.cancel(id).await?)?;
    }
    Ok(())
}
