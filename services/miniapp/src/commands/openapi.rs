//! `miniapp openapi`: the OpenAPI document of a service, from the code.

use clap::ValueEnum;

use crate::context::Context;

/// Whose.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    service: Described,
}

/// A service that speaks HTTP.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Described {
    /// Accounts, sessions and tokens
    Auth,
    /// Tasks
    Api,
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let document = match args.service {
        Described::Auth => miniapp_auth::openapi(),
        Described::Api => miniapp_api::openapi(),
    };
    Ok(context.ui.line(document.to_pretty_json()?)?)
}
