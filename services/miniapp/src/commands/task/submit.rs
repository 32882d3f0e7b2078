//! `miniapp task submit`: submits a task.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::ArgValueCandidates;
use jiff::Timestamp;
use miniapp_client::NewTask;
use miniapp_config::values::parse_duration;
use miniapp_types::limits;
use miniapp_types::name::QueueName;
use miniapp_types::task::{SubmitTask, Task};
use serde_json::value::{RawValue, to_raw_value};

use super::watch;
use crate::completion;
use crate::context::Context;
use crate::exit::{Outcome, UsageError};
use crate::ui::{Ui, task_details};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Description for people [default: the kind]
    description: Option<String>,
    /// Kind of task; `miniapp kinds` lists them
    #[arg(long, short, default_value = "simulate",
        add = ArgValueCandidates::new(completion::kinds))]
    kind: String,
    /// Queue of the task [default: that of the kind]
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// Input of the task as JSON; @FILE reads a file, - reads standard input [default: {}]
    #[arg(long, short, value_name = "JSON", value_parser = Data::parse_json)]
    data: Option<Data>,
    /// Input of the task as a string; @FILE reads a file, - reads standard input
    #[arg(long, short, conflicts_with = "data")]
    text: Option<Data>,
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
    /// Delay before the start, such as 90s, 15m, 1h30m or 1d
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    after: Option<Duration>,
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
    /// Parses the argument of `--data`.
    fn parse_json(text: &str) -> Result<Self, String> {
        let Ok(data) = text.parse();
        if let Self::Inline(text) = &data {
            json(text)?;
        }
        Ok(data)
    }

    fn read(self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Inline(text) => text,
            Self::File(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            Self::Stdin => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
                text
            }
        })
    }
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("not JSON: {error}; use --text for a string"))
}

fn delay(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("expected a duration such as 90s, 15m, 1h30m or 1d")
}

/// Reads the input of the task.
fn input(data: Option<Data>, text: Option<Data>) -> anyhow::Result<Box<RawValue>> {
    match (data, text) {
        (_, Some(text)) => Ok(to_raw_value(&text.read()?)?),
        (Some(data), None) => {
            let read = data.read()?;
            Ok(json(&read).map_err(|error| UsageError(format!("--data is {error}")))?)
        }
        (None, None) => Ok(json("{}").map_err(UsageError)?),
    }
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<Outcome> {
    let (ui, client) = (context.ui, context.client()?);
    let delayed = args.after.map(|after| context.now().checked_add(after)).transpose();
    let mut task = NewTask::from(SubmitTask {
        description: args.description.unwrap_or_else(|| args.kind.clone()),
        data: input(args.data, args.text)?,
        ttl: args.ttl,
        kind: Some(args.kind),
        queue: args.queue,
        max_attempts: args.max_attempts,
        run_at: delayed.context("--after is too large")?.or(args.run_at),
    });
    if let Some(key) = args.idempotency_key {
        task = task.idempotency_key(key);
    }
    let task = client.submit(&task).await?;
    if !args.wait {
        print_submitted(ui, &task)?;
        ui.note("Watch it with `miniapp task watch last`.");
        return Ok(Outcome::Success);
    }
    match watch::follow(context, &client, task.task_id, false).await {
        Ok(Some(task)) => {
            if ui.json {
                ui.json(&task)?;
            } else {
                ui.line(task_details(ui.palette, &task, context.now()))?;
            }
            Ok(watch::outcome(&task))
        }
        // The task was submitted; its id must not be lost.
        Ok(None) => {
            print_submitted(ui, &task)?;
            Ok(Outcome::Interrupted)
        }
        Err(error) => {
            print_submitted(ui, &task)?;
            Err(error)
        }
    }
}

/// Prints only the id, so that `task=$(miniapp task submit ...)` works.
fn print_submitted(ui: Ui, task: &Task) -> std::io::Result<()> {
    if ui.json { ui.json(task) } else { ui.line(task.task_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: Option<&str>, text: Option<&str>) -> anyhow::Result<String> {
        let data = data.map(|data| data.parse().expect("valid"));
        let text = text.map(|text| text.parse().expect("valid"));
        Ok(input(data, text)?.get().to_owned())
    }

    #[test]
    fn data_is_json_and_text_is_a_string() {
        let exact = r#"{"b": 18446744073709551617, "a": 1.50}"#;
        assert_eq!(read(Some(exact), None).expect("JSON"), exact);
        assert_eq!(read(None, None).expect("a default"), "{}");
        assert_eq!(read(None, Some("{broken")).expect("a string"), r#""{broken""#);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hello\n").expect("written");
        let at_file = format!("@{}", file.path().display());
        assert_eq!(read(None, Some(&at_file)).expect("a string"), r#""hello\n""#);
        let error = read(Some(&at_file), None).expect_err("not JSON");
        assert!(error.is::<UsageError>() && error.to_string().contains("--text"), "{error}");
    }

    #[test]
    fn data_is_checked_unless_it_must_be_read() {
        assert_eq!(Data::parse_json("5"), Ok(Data::Inline("5".to_owned())));
        assert_eq!(Data::parse_json("@in.json"), Ok(Data::File("in.json".into())));
        assert_eq!(Data::parse_json("-"), Ok(Data::Stdin));
        for text in ["", "hello", "{broken", "{} {}"] {
            assert!(Data::parse_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn delay_is_a_sum_of_parts() {
        let cases =
            [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1d", 86_400), ("1d12h", 129_600)];
        for (text, seconds) in cases {
            assert_eq!(delay(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "1y", "-1s"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }
}
