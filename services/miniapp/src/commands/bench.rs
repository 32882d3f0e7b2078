//! `miniapp bench`: measures a platform.

use std::net::SocketAddr;

use anyhow::Context as _;
use kit::config::Config;
use reqwest::Url;
use tokio::net::lookup_host;

use crate::bench::{self, Figures, Plan, Server, Subject};
use crate::client::Client;
use crate::context::Context;
use crate::ui::Tone;

/// How much to do.
#[derive(Debug, clap::Args)]
#[command(long_about = "Measure a platform over HTTP: the one at --url, otherwise one that is \
    started for it in a process of its own, on free ports and in a temporary directory. \
    The limits of the machine are measured in the same run: a bare server under the same load, \
    and rows that SQLite takes.")]
pub struct Args {
    /// Clients at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Tasks to submit at once
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
    /// Tasks to submit one after the other
    #[arg(long, default_value_t = 500)]
    idle: u32,
    /// Single tasks to read
    #[arg(long, default_value_t = 100_000)]
    gets: u64,
    /// Compare 1,000 stored tasks with so many
    #[arg(long, value_name = "TASKS")]
    growth: Option<u64>,
    /// Where the admin listener of the platform at --url is, for memory and processor time
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    admin: Option<SocketAddr>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let ui = context.ui;
    let plan = Plan {
        clients: args.clients.into(),
        tasks: args.tasks,
        rounds: args.idle,
        gets: args.gets,
        growth: args.growth,
    };
    if cfg!(debug_assertions) {
        ui.note(ui.notes.paint(Tone::Warn, "This is a debug build; its figures mean little."));
    }
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let phase = |name: &str| ui.note(format_args!("Measuring: {name} ..."));
    let mut figures = Figures::default();
    phase("the limits of this machine");
    let config = Config::load(context.global.config.as_deref())?;
    let synchronous = config.database.synchronous;
    bench::measure_limits(&plan, directory.path(), synchronous, &mut figures).await?;
    if context.global.url.is_some() {
        let client = context.client()?;
        let api = address(&client.endpoints().api).await?;
        let subject = subject(&client, api, args.admin).await?;
        bench::measure(&subject, &plan, &mut figures, phase).await?;
    } else {
        let mut server = Server::start(directory.path()).await?;
        bench::add_start_up(server.start_up, &mut figures);
        let client = server.sign_up().await?;
        phase("tokens");
        bench::measure_tokens(&client, &mut figures).await?;
        let addresses = server.addresses;
        let subject = subject(&client, addresses.api, Some(addresses.admin)).await?;
        bench::measure(&subject, &plan, &mut figures, phase).await?;
        server.stop().await?;
    }
    if ui.json {
        return Ok(ui.json(&figures.json())?);
    }
    Ok(ui.line(figures.table(ui.palette))?)
}

async fn subject(
    client: &Client,
    api: SocketAddr,
    admin: Option<SocketAddr>,
) -> anyhow::Result<Subject> {
    // Any call renews a token that is too old.
    client.stats().await?;
    let session = client.session().context("sign in first with `miniapp login`")?;
    Ok(Subject { api, admin, token: session.access })
}

/// The load goes over plain HTTP, to one address.
async fn address(api: &Url) -> anyhow::Result<SocketAddr> {
    anyhow::ensure!(api.scheme() == "http", "the bench speaks plain HTTP only");
    let (host, port) = (api.host_str().unwrap_or_default(), api.port().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = lookup_host((host, port)).await?;
    found.next().with_context(|| format!("{host} has no address"))
}
