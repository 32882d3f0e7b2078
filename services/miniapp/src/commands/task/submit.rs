//! `miniapp task submit`: submits a task.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use miniapp_client::NewTask;
use miniapp_types::limits;
use miniapp_types::task::SubmitTask;
use serde_json::value::{RawValue, to_raw_value};

use super::watch;
use crate::context::Context;
use crate::exit::Outcome;
use crate::ui::task_details;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Description for people [default: the kind]
    description: Option<String>,
    /// Kind of task; `miniapp kinds` lists them
    #[arg(long, short, default_value = "simulate")]
    kind: String,
    /// Input of the task: JSON or text; @FILE reads a file, - reads standard input
    #[arg(long, short, default_value = "{}")]
    data: Data,
    /// Time limit of one attempt in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(*limits::TTL.end())))]
    ttl: u32,
    /// Maximum number of attempts [default: 3]
    #[arg(long, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(*limits::ATTEMPTS.end())))]
    max_attempts: Option<u32>,
    /// Earliest start, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    run_at: Option<Timestamp>,
    /// Delay before the start, such as 90s or 2h
    #[arg(long, value_name = "DURATION")]
    after: Option<SignedDuration>,
    /// Return the same task for repeated submissions with this key
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until the task ends; exit with 3 if it is not Finished
    #[arg(long, short)]
    wait: bool,
}

/// The source of the input.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    Inline(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Inline(text.to_owned()),
        })
    }
}

impl Data {
    fn read(self) -> anyhow::Result<Box<RawValue>> {
        let text = match self {
            Self::Inline(text) => text,
            Self::File(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            Self::Stdin => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
                text
            }
        };
        Ok(json_or_text(&text)?)
    }
}

fn json_or_text(text: &str) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_str(text).or_else(|_| to_raw_value(text))
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<Outcome> {
    let (ui, client) = (context.ui, context.client()?);
    let delayed = args.after.map(|after| context.now().checked_add(after)).transpose();
    let mut task = NewTask::from(SubmitTask {
        description: args.description.unwrap_or_else(|| args.kind.clone()),
        data: args.data.read()?,
        ttl: args.ttl,
        kind: Some(args.kind),
        max_attempts: args.max_attempts,
        run_at: delayed.context("--after is too large")?.or(args.run_at),
    });
    if let Some(key) = args.idempotency_key {
        task = task.idempotency_key(key);
    }
    let task = client.submit(&task).await?;
    if args.wait {
        let task = watch::follow(context, &client, task.task_id, false).await?;
        if ui.json {
            ui.json(&task)?;
        } else {
            ui.line(task_details(ui.palette, &task, context.now()))?;
        }
        return Ok(watch::outcome(&task));
    }
    if ui.json {
        ui.json(&task)?;
    } else {
        // Only the id, so that `task=$(miniapp task submit ...)` works.
        ui.line(task.task_id)?;
        ui.note("Watch it with `miniapp task watch last`.");
    }
    Ok(Outcome::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_json_or_else_text() {
        let cases = [
            (r#"{"b": 18446744073709551617, "a": 1}"#, r#"{"b": 18446744073709551617, "a": 1}"#),
            ("5", "5"),
            ("hello", r#""hello""#),
            ("{broken", r#""{broken""#),
        ];
        for (text, expected) in cases {
            assert_eq!(json_or_text(text).expect("JSON").get(), expected);
            assert_eq!(text.parse(), Ok(Data::Inline(text.to_owned())));
        }
        assert_eq!("@in.json".parse(), Ok(Data::File("in.json".into())));
        assert_eq!("-".parse(), Ok(Data::Stdin));
    }
}
