//! `miniapp task cancel`: cancels tasks.

use super::each::change_each;
use super::report::report;
use super::task_ref::TaskRefs;
use crate::context::Context;
use crate::exit::Outcome;

pub async fn run(context: &Context, args: TaskRefs) -> anyhow::Result<Outcome> {
    let client = context.client()?;
    let cancel = async |id| client.cancel(id).await;
    let list = async |query| client.tasks(&query).await;
    change_each(context, args, list, cancel, |_, task| report(context, task)).await
}
