//! `miniapp trace`: shows the trace of a task.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap_complete::ArgValueCandidates;
use miniapp_telemetry::trace::{CompletedSpan, Trace};
use miniapp_types::task::Task;
use reqwest::Url;
use serde_json::{Value, json};

use super::task::TaskRef;
use crate::completion;
use crate::context::{Context, base_url};
use crate::settings::JaegerConfig;
use crate::ui::format::count;
use crate::ui::{Text, Tone, TraceTree, status_line, text};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(long_about = "Show the trace of a task as a tree: the duration of each request, wait, \
    message, commit and attempt.\n\nReads the trace from Jaeger if it is configured, otherwise \
    from the platform, which keeps recent traces in memory.")]
pub struct Args {
    /// Id of the task, or its last 6 or more digits, or `last` for your newest one
    #[arg(value_name = "TASK", add = ArgValueCandidates::new(completion::tasks))]
    task: TaskRef,
    /// URL of Jaeger [default: the setting `telemetry.jaeger_url`]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    jaeger: Option<Url>,
    /// URL of the platform's admin listener [default: as configured, or port 9000 beside an API
    /// on port 8000]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    admin_url: Option<Url>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = args.task.resolve(&client).await?;
    let task = client.task(id).await?;
    let trace_id = task.trace_id.as_deref().context("the task has no trace")?;
    let JaegerConfig { jaeger_url } = context.config()?.section()?;
    let jaeger = args.jaeger.map(String::from).or(jaeger_url);
    let jaeger = jaeger.map(|url| url.trim_end_matches('/').to_owned());
    let admin = args.admin_url.map_or_else(|| context.admin_url(), |url| Ok(Some(url)))?;
    let trace = find(trace_id, jaeger.as_deref(), admin.as_ref()).await?;
    let link = jaeger.map(|jaeger| format!("{jaeger}/trace/{trace_id}"));
    if ui.json {
        return Ok(
            ui.json(&json!({ "traceId": trace_id, "trace": trace.to_json(), "link": link }))?
        );
    }
    ui.line(title(context, &task, &trace))?;
    let tree = TraceTree::new(&trace, ui.width()).colored(ui.palette.is_on());
    ui.line(tree.to_text())?;
    if let Some(link) = link {
        ui.line(text![ui.palette.paint(Tone::Dim, "In Jaeger:"), " ", link])?;
    }
    Ok(())
}

fn title(context: &Context, task: &Task, trace: &Trace) -> Text {
    let palette = context.ui.palette;
    let services: BTreeSet<&str> = trace.spans.iter().map(CompletedSpan::service).collect();
    let status = status_line(palette, task.status, task.status_message.as_deref());
    let services = services.into_iter().collect::<Vec<_>>().join(", ");
    let spans = count(trace.spans.len(), "span");
    let description = palette.paint(Tone::Strong, &task.description);
    text![description, ": ", status, "; ", spans, " of ", services]
}

/// Reads the trace from Jaeger, or else from the platform.
async fn find(id: &str, jaeger: Option<&str>, admin: Option<&Url>) -> anyhow::Result<Trace> {
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
    let Some(admin) = admin else {
        reasons.push("the address of its admin listener is unknown, set --admin-url".to_owned());
        bail!("trace {id} not found ({})", reasons.join("; "));
    };
    match fetch(&format!("{}/traces/{id}", admin.as_str().trim_end_matches('/'))).await {
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
