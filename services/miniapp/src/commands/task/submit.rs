//! `miniapp task submit`: submits a task.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use miniapp_client::NewTask;
use miniapp_types::task::{MAX_ATTEMPTS, MAX_TTL, SubmitTask};
use serde_json::value::{RawValue, to_raw_value};

use super::watch;
use crate::context::Context;
use crate::failure::Ended;
use crate::ui::task_sheet;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the task is about, for people [default: the kind]
    description: Option<String>,
    /// What to run; `miniapp kinds` shows them
    #[arg(long, short, default_value = "simulate")]
    kind: String,
    /// The kind's input: JSON, or text that isn't; @FILE reads a file, - standard input
    #[arg(long, short, default_value = "{}")]
    data: Data,
    /// Seconds that one execution may take
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TTL)))]
    ttl: u32,
    /// How often to try, the first time included [default: 3]
    #[arg(long, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ATTEMPTS)))]
    max_attempts: Option<u32>,
    /// Not before this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    run_at: Option<Timestamp>,
    /// Not before so long from now, such as 90s or 2h
    #[arg(long, value_name = "TIME SPAN")]
    after: Option<SignedDuration>,
    /// Makes a repeated submission give the same task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Follow it to its end; exit 3 if that isn't Finished
    #[arg(long, short)]
    wait: bool,
}

/// Where the input comes from.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    Given(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Given(text.to_owned()),
        })
    }
}

impl Data {
    fn read(self) -> anyhow::Result<Box<RawValue>> {
        let text = match self {
            Self::Given(text) => text,
            Self::File(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("can't read {}", path.display()))?,
            Self::Stdin => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("can't read standard input")?;
                text
            }
        };
        Ok(json_or_text(&text)?)
    }
}

fn json_or_text(text: &str) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_str(text).or_else(|_| to_raw_value(text))
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<Ended> {
    let (ui, client) = (context.ui, context.client()?);
    let later = args.after.map(|after| context.now().checked_add(after)).transpose();
    let mut task = NewTask::from(SubmitTask {
        description: args.description.unwrap_or_else(|| args.kind.clone()),
        data: args.data.read()?,
        ttl: args.ttl,
        kind: Some(args.kind),
        max_attempts: args.max_attempts,
        run_at: later.context("that is too far away")?.or(args.run_at),
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
            ui.line(task_sheet(ui.palette, &task, context.now()))?;
        }
        return Ok(watch::ended(&task));
    }
    if ui.json {
        ui.json(&task)?;
    } else {
        // The id alone, so that `task=$(miniapp task submit ...)` works.
        ui.line(task.task_id)?;
        ui.note("Follow it with `miniapp task watch last`.");
    }
    Ok(Ended::Well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_json_or_else_text() {
        let cases = [
            (r#"{"b": 18446744073709551617, "a": 1}"#, r#"{"b": 18446744073709551617, "a": 1}"#),
            ("5", "5"),
            ("hello", r#""hello""#),
            ("{broken", r#""{broken""#),
        ];
        for (text, expected) in cases {
            assert_eq!(json_or_text(text).expect("JSON").get(), expected);
            assert_eq!(text.parse(), Ok(Data::Given(text.to_owned())));
        }
        assert_eq!("@in.json".parse(), Ok(Data::File("in.json".into())));
        assert_eq!("-".parse(), Ok(Data::Stdin));
    }
}
