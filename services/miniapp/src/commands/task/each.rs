//! Changes several tasks, each on its own.

use std::io;

use miniapp_client::{Code, Error, TaskQuery};
use miniapp_types::task::TaskPage;
use uuid::Uuid;

use super::task_ref::TaskRefs;
use crate::context::Context;
use crate::exit::{self, Outcome};

/// Changes each task and prints the result. Abbreviated ids are searched in `list`. A refusal is reported with its task, and the others
/// are still changed; any other error stops the command.
pub async fn change_each<T>(
    context: &Context,
    TaskRefs { tasks }: TaskRefs,
    list: impl AsyncFn(TaskQuery) -> Result<TaskPage, Error>,
    change: impl AsyncFn(Uuid) -> Result<T, Error>,
    print: impl Fn(Uuid, &T) -> io::Result<()>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Success;
    for task in tasks {
        let changed = async {
            let id = task.resolve_among(&list).await?;
            let changed = change(id).await.map_err(|error| (Some(id), error.into()))?;
            Ok((id, changed))
        };
        match changed.await {
            Ok((id, changed)) => print(id, &changed)?,
            Err(Refusal(id, error)) => {
                if !concerns_the_task_only(&error) {
                    return Err(error);
                }
                let name = id.map_or_else(|| task.to_string(), |id| id.to_string());
                exit::report_error(context.ui, &error, Some(&name));
                outcome = Outcome::Refused;
            }
        }
    }
    Ok(outcome)
}

/// An error, with the id of its task if that is known.
struct Refusal(Option<Uuid>, anyhow::Error);

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(None, error)
    }
}

impl From<(Option<Uuid>, anyhow::Error)> for Refusal {
    fn from((id, error): (Option<Uuid>, anyhow::Error)) -> Self {
        Self(id, error)
    }
}

/// Returns whether the next task may be changed: the tokens and the connection are fine.
fn concerns_the_task_only(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(error) => matches!(
            error.code(),
            Some(
                Code::TaskNotFound
                    | Code::TaskNotFinished
                    | Code::TaskAlreadyFinished
                    | Code::InvalidFields
            )
        ),
        // An abbreviated id that fits no task or several.
        None => true,
    }
}
