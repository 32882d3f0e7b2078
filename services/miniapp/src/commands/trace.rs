//! `miniapp trace`: shows the trace of a task.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use miniapp_config::Config;
use miniapp_program::AdminConfig;
use miniapp_telemetry::trace::{CompletedSpan, Trace};
use miniapp_types::task::Task;
use reqwest::Url;
use serde_json::{Value, json};

use super::task::TaskRef;
use crate::context::Context;
use crate::platform::reachable;
use crate::program::PROGRAM;
use crate::settings::JaegerConfig;
use crate::ui::format::count;
use crate::ui::{Tone, TraceTree, status_line};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(long_about = "Show the trace of a task as a tree: the duration of each request, wait, \
    message, commit and attempt.\n\nReads the trace from Jaeger if it is configured, otherwise \
    from the platform, which keeps recent traces in memory.")]
pub struct Args {
    /// Id of the task, or `last` for your newest one
    #[arg(value_name = "TASK")]
    task: TaskRef,
    /// URL of Jaeger [default: the setting `telemetry.jaeger_url`]
    #[arg(long, value_name = "URL")]
    jaeger: Option<Url>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = args.task.resolve(&client).await?;
    let task = client.task(id).await?;
    let trace_id = task.trace_id.as_deref().context("the task has no trace")?;
    let config = context.config()?;
    let JaegerConfig { jaeger_url } = config.section()?;
    let jaeger = args.jaeger.map(String::from).or(jaeger_url);
    let jaeger = jaeger.map(|url| url.trim_end_matches('/').to_owned());
    let trace = find(trace_id, jaeger.as_deref(), &config).await?;
    let link = jaeger.map(|jaeger| format!("{jaeger}/trace/{trace_id}"));
    if ui.json {
        return Ok(
            ui.json(&json!({ "traceId": trace_id, "trace": trace.to_json(), "link": link }))?
        );
    }
    ui.line(title(context, &task, &trace))?;
    let tree = TraceTree::new(&trace, ui.width()).colored(ui.palette.is_on());
    ui.line(tree.to_string().trim_end())?;
    if let Some(link) = link {
        ui.line(format_args!("{} {link}", ui.palette.paint(Tone::Dim, "In Jaeger:")))?;
    }
    Ok(())
}

fn title(context: &Context, task: &Task, trace: &Trace) -> String {
    let palette = context.ui.palette;
    let services: BTreeSet<&str> = trace.spans.iter().map(CompletedSpan::service).collect();
    let status = status_line(palette, task.status, task.status_message.as_deref());
    let services = services.into_iter().collect::<Vec<_>>().join(", ");
    let spans = count(trace.spans.len(), "span");
    format!("{}: {status}; {spans} of {services}", palette.paint(Tone::Strong, &task.description))
}

/// Reads the trace from Jaeger, or else from the platform.
async fn find(id: &str, jaeger: Option<&str>, config: &Config) -> anyhow::Result<Trace> {
    let mut reasons = Vec::new();
    if let Some(jaeger) = jaeger {
        match fetch(&format!("{jaeger}/api/v3/traces/{id}")).await {
            Ok(answer) => {
                let trace = Trace::from_json(&answer["result"]);
                if !trace.spans.is_empty() {
                    return Ok(trace);
                }
                reasons.push(format!("Jaeger at {jaeger} does not have it"));
            }
            Err(error) => reasons.push(format!("Jaeger at {jaeger}: {error:#}")),
        }
    }
    let admin: AdminConfig = config.section()?;
    let admin = reachable(admin.address(PROGRAM.admin_port));
    match fetch(&format!("http://{admin}/traces/{id}")).await {
        Ok(answer) => return Ok(Trace::from_json(&answer)),
        Err(error) => reasons.push(format!("the platform's admin listener at {admin}: {error:#}")),
    }
    bail!("trace {id} not found; it was not sampled, or has expired ({})", reasons.join("; "))
}

async fn fetch(url: &str) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let response = client.get(url).send().await.map_err(reqwest::Error::without_url)?;
    let response = response.error_for_status().map_err(reqwest::Error::without_url)?;
    Ok(response.json().await.map_err(reqwest::Error::without_url)?)
}
