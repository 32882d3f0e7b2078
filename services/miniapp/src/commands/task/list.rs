//! `miniapp task list`: lists the caller's tasks.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap_complete::ArgValueCandidates;
use miniapp_client::TaskQuery;
use miniapp_types::task::{Status, TaskPage};
use strum::IntoEnumIterator as _;

use crate::completion;
use crate::context::Context;
use crate::ui::task_table;

/// The API's limit.
const PAGE_SIZE: u32 = 200;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only tasks with this status
    #[arg(long, short, ignore_case = true, value_parser = statuses())]
    status: Option<Status>,
    /// Show only tasks of this kind
    #[arg(long, short, add = ArgValueCandidates::new(completion::kinds))]
    kind: Option<String>,
    /// Maximum number of tasks
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show all tasks
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Continue a previous list from its `nextCursor` (see --json)
    #[arg(long)]
    cursor: Option<String>,
}

fn statuses() -> impl clap::builder::TypedValueParser<Value = Status> {
    let names = PossibleValuesParser::new(Status::iter().map(<&str>::from));
    names.try_map(|name| {
        Status::iter().find(|it| it.to_string().eq_ignore_ascii_case(&name)).ok_or("unknown status")
    })
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let is_filtered = args.status.is_some() || args.kind.is_some() || args.cursor.is_some();
    let mut remaining = if args.all { u32::MAX } else { args.limit };
    let mut query = TaskQuery {
        status: args.status,
        kind: args.kind,
        cursor: args.cursor,
        ..TaskQuery::default()
    };
    let mut all = TaskPage { tasks: Vec::new(), next_cursor: None };
    while remaining > 0 {
        query.limit = Some(remaining.min(PAGE_SIZE));
        let page = client.tasks(&query).await?;
        remaining = remaining.saturating_sub(u32::try_from(page.tasks.len()).unwrap_or(u32::MAX));
        all.tasks.extend(page.tasks);
        all.next_cursor.clone_from(&page.next_cursor);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if ui.json {
        return Ok(ui.json(&all)?);
    }
    if all.tasks.is_empty() {
        ui.note(if is_filtered {
            "No matching tasks."
        } else {
            "No tasks. Submit one with `miniapp task submit`."
        });
        return Ok(());
    }
    ui.line(task_table(ui.palette, ui.is_terminal(), &all.tasks, context.now()).to_text())?;
    if all.next_cursor.is_some() {
        ui.note("There are more tasks; use --all or a larger --limit.");
    }
    Ok(())
}
