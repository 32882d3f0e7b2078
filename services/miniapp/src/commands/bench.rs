//! `miniapp bench`: measures a platform.

use std::net::SocketAddr;

use anyhow::Context as _;
use miniapp_client::Client;
use miniapp_config::{Config, EngineUrl};
use reqwest::Url;
use tokio::net::lookup_host;

use crate::bench::{self, Bench, Bounds, Figures, Plan, Server, Subject};
use crate::context::Context;
use crate::ui::Tone;

/// How much to do.
#[derive(Debug, clap::Args)]
#[command(long_about = "Measure a platform over HTTP: the one at --url, otherwise one that is \
    started for it in a process of its own, on free ports and in a temporary directory. \
    The limits of the machine are measured in the same run: a bare server under the same load, \
    and rows that SQLite takes.")]
pub struct Args {
    #[command(flatten)]
    plan: Plan,
    /// Where the admin listener of the platform at --url is, for memory and processor time
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    admin: Option<SocketAddr>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, plan) = (context.ui, args.plan);
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
    let bounds = bounds(&config.database.url);
    if context.global.url.is_some() {
        let client = context.client()?;
        let subject = subject(&client, address(client.api_url()).await?).await?;
        let mut bench = Bench::new(&subject, plan, bounds, &mut figures, phase)?;
        bench::measure(&mut bench, args.admin).await?;
    } else {
        let mut server = Server::start(directory.path()).await?;
        bench::add_start_up(server.start_up, &mut figures);
        let client = server.sign_up().await?;
        phase("tokens");
        bench::measure_tokens(&client, &mut figures).await?;
        let addresses = server.addresses;
        let subject = subject(&client, addresses.api).await?;
        let mut bench = Bench::new(&subject, plan, bounds, &mut figures, phase)?;
        bench::measure(&mut bench, Some(addresses.admin)).await?;
        server.stop().await?;
    }
    if ui.json {
        return Ok(ui.json(&figures.json())?);
    }
    Ok(ui.line(figures.table(ui.palette))?)
}

/// What the platform of this environment can be held to.
fn bounds(database: &EngineUrl) -> Bounds {
    if database.scheme().starts_with("postgres") { Bounds::SERVERS } else { Bounds::EMBEDDED }
}

async fn subject(client: &Client, api: SocketAddr) -> anyhow::Result<Subject> {
    // Any call renews a token that is too old.
    client.stats().await?;
    let session = client.session().context("sign in first with `miniapp login`")?;
    Ok(Subject { api, token: session.access_token })
}

/// The load goes over plain HTTP, to one address.
async fn address(api: &Url) -> anyhow::Result<SocketAddr> {
    anyhow::ensure!(api.scheme() == "http", "the bench speaks plain HTTP only");
    let (host, port) = (api.host_str().unwrap_or_default(), api.port().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = lookup_host((host, port)).await?;
    found.next().with_context(|| format!("{host} has no address"))
}
