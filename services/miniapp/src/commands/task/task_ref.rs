//! [`TaskRef`]: how a command line refers to a task.

use std::str::FromStr;

use anyhow::Context as _;
use miniapp_client::{Client, TaskQuery};
use uuid::Uuid;

/// A task by its id, or the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRef {
    Id(Uuid),
    /// The caller's newest task.
    Last,
}

/// Arguments of commands that change tasks.
#[derive(Debug, clap::Args)]
pub struct TaskRefs {
    /// Ids of tasks, or `last` for your newest one
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<TaskRef>,
}

impl TaskRef {
    /// Returns the id of the task.
    pub async fn resolve(self, client: &Client) -> anyhow::Result<Uuid> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Last => {
                let query = TaskQuery { limit: Some(1), ..TaskQuery::default() };
                let page = client.tasks(&query).await?;
                let newest = page
                    .tasks
                    .first()
                    .context("you have no tasks; submit one with `miniapp task submit`")?;
                Ok(newest.task_id)
            }
        }
    }
}

impl FromStr for TaskRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "last" => Ok(Self::Last),
            id => id.parse().map(Self::Id).map_err(|_| "expected the id of a task or `last`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ref_parses_an_id_or_last() {
        assert_eq!("last".parse(), Ok(TaskRef::Last));
        let id = "01930000-0000-7000-8000-000000000000";
        assert_eq!(
            id.parse(),
            Ok(TaskRef::Id(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000)))
        );
        assert!("first".parse::<TaskRef>().is_err());
    }
}
