//! [`TaskRef`]: how a command line refers to a task.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap_complete::ArgValueCandidates;
use miniapp_client::{Client, Error, TaskQuery};
use miniapp_types::task::{Task, TaskPage};
use uuid::Uuid;

use crate::completion;

/// Digits of a shorter part would often fit several tasks.
const MIN_PART: usize = 6;
const DIGITS: usize = 32;
/// The API's limit.
const PAGE_SIZE: u32 = 200;
/// The newest tasks, among which an abbreviated id is searched.
const MAX_SEARCHED: usize = 2000;
/// Tasks that an error names.
const MAX_CANDIDATES: usize = 4;

/// A task by its id, by the first or last digits of its id, or the newest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskRef {
    Id(Uuid),
    /// Hexadecimal digits at either end of the id.
    Part(String),
    /// The caller's newest task.
    Last,
}

/// Arguments of commands that change tasks.
#[derive(Debug, clap::Args)]
pub struct TaskRefs {
    /// Ids of tasks, or their last 6 or more digits, or `last` for your newest one
    #[arg(required = true, value_name = "TASK", add = ArgValueCandidates::new(completion::tasks))]
    pub tasks: Vec<TaskRef>,
}

impl TaskRef {
    /// Returns the id of one of the caller's tasks.
    pub async fn resolve(&self, client: &Client) -> anyhow::Result<Uuid> {
        self.resolve_among(async |query| client.tasks(&query).await).await
    }

    /// Returns the id of one of the tasks that `list` returns.
    pub async fn resolve_among(
        &self,
        list: impl AsyncFn(TaskQuery) -> Result<TaskPage, Error>,
    ) -> anyhow::Result<Uuid> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Last => {
                let page = list(TaskQuery { limit: Some(1), ..TaskQuery::default() }).await?;
                let newest = page
                    .tasks
                    .first()
                    .context("you have no tasks; submit one with `miniapp task submit`")?;
                Ok(newest.task_id)
            }
            Self::Part(part) => only(part, &search(part, list).await?),
        }
    }
}

/// Returns the tasks whose ids begin or end with `part`.
async fn search(
    part: &str,
    list: impl AsyncFn(TaskQuery) -> Result<TaskPage, Error>,
) -> Result<Vec<Task>, Error> {
    let mut found = Vec::new();
    let mut searched = 0;
    let mut query = TaskQuery { limit: Some(PAGE_SIZE), ..TaskQuery::default() };
    loop {
        let page = list(query.clone()).await?;
        searched += page.tasks.len();
        found.extend(page.tasks.into_iter().filter(|task| is_part(part, task.task_id)));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() || searched >= MAX_SEARCHED {
            return Ok(found);
        }
    }
}

/// Returns whether `id` begins or ends with the digits.
pub fn is_part(part: &str, id: Uuid) -> bool {
    let digits = id.simple().to_string();
    digits.starts_with(part) || digits.ends_with(part)
}

fn only(part: &str, found: &[Task]) -> anyhow::Result<Uuid> {
    match found {
        [] => bail!("none of the newest {MAX_SEARCHED} tasks has such an id"),
        [task] => Ok(task.task_id),
        several => {
            let mut candidates: Vec<String> = several
                .iter()
                .take(MAX_CANDIDATES)
                .map(|task| format!("{} ({})", task.task_id, task.description))
                .collect();
            if several.len() > MAX_CANDIDATES {
                candidates.push(format!("and {} more", several.len() - MAX_CANDIDATES));
            }
            bail!("{part} fits several tasks: {}", candidates.join(", "))
        }
    }
}

impl FromStr for TaskRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "last" {
            return Ok(Self::Last);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits = text.replace('-', "").to_ascii_lowercase();
        let is_part = (MIN_PART..DIGITS).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_part {
            Ok(Self::Part(digits))
        } else {
            Err("expected the id of a task, 6 or more of its last digits, or `last`")
        }
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Part(part) => part.fmt(f),
            Self::Last => f.write_str("last"),
        }
    }
}

#[cfg(test)]
mod tests {
    use miniapp_types::task::Status;

    use super::*;
    use crate::fixtures;

    const ID: Uuid = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_00ab_cdef);

    #[test]
    fn task_ref_parses_an_id_a_part_or_last() {
        let part = |digits: &str| Ok(TaskRef::Part(digits.to_owned()));
        assert_eq!("last".parse(), Ok(TaskRef::Last));
        assert_eq!("01930000-0000-7000-8000-000000abcdef".parse(), Ok(TaskRef::Id(ID)));
        assert_eq!("ABCDEF".parse(), part("abcdef"));
        assert_eq!("01930000-0000-7".parse(), part("0193000000007"));
        for text in ["first", "abcde", "abcdeg", "", "01930000-0000-7000-8000-000000abcdef0"] {
            assert!(text.parse::<TaskRef>().is_err(), "{text}");
        }
    }

    async fn resolved(text: &str, ids: &[Uuid]) -> Result<Uuid, String> {
        let task = |id: &Uuid| Task { task_id: *id, ..fixtures::task(Status::Finished) };
        let tasks: Vec<Task> = ids.iter().map(task).collect();
        // One task a page.
        let list = async |query: TaskQuery| {
            let index: usize = query.cursor.map_or(0, |cursor| cursor.parse().expect("a number"));
            let next = index + 1;
            let next_cursor = (next < tasks.len()).then(|| next.to_string());
            Ok(TaskPage { tasks: tasks.get(index).cloned().into_iter().collect(), next_cursor })
        };
        let task: TaskRef = text.parse().expect("valid");
        task.resolve_among(list).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn part_is_resolved_if_it_is_unique() {
        let other = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0012_3456);
        assert_eq!(resolved("abcdef", &[other, ID]).await, Ok(ID));
        assert_eq!(resolved("00123456", &[other, ID]).await, Ok(other));
        assert_eq!(resolved("last", &[other, ID]).await, Ok(other));
        let error = resolved("01930000", &[other, ID]).await.expect_err("ambiguous");
        assert!(error.contains(&other.to_string()) && error.contains(&ID.to_string()), "{error}");
        assert!(resolved("fedcba", &[other, ID]).await.is_err());
    }
}
