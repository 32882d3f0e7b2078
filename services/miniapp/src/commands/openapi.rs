//! `miniapp openapi`: prints the OpenAPI document of a service.

use clap::ValueEnum;

use crate::context::Context;
use crate::ui::Text;

#[derive(Debug, clap::Args)]
pub struct Args {
    service: Service,
}

/// A service with an HTTP API.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Service {
    /// Accounts, sessions and tokens
    Auth,
    /// Tasks
    Api,
}

pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let document = match args.service {
        Service::Auth => miniapp_auth::openapi(),
        Service::Api => miniapp_api::openapi(),
    };
    Ok(context.ui.line(Text::from_lines(&document.to_pretty_json()?))?)
}
