//! `miniapp openapi`: prints the OpenAPI document of a service.

use clap::ValueEnum;
use miniapp_http::openapi::to_version_3_0;

use crate::context::Context;
use crate::ui::Text;

#[derive(Debug, clap::Args)]
pub struct Args {
    service: Service,
    /// Version of OpenAPI; 3.0 is for generators that do not read 3.1, and simpler
    #[arg(long, value_name = "VERSION", default_value = "3.1")]
    openapi_version: Version,
}

/// A service with an HTTP API.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Service {
    /// Accounts, sessions and tokens
    Auth,
    /// Tasks
    Api,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    #[value(name = "3.0")]
    V3_0,
    #[value(name = "3.1")]
    V3_1,
}

pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let document = match args.service {
        Service::Auth => miniapp_auth::openapi(),
        Service::Api => miniapp_api::openapi(),
    };
    let text = match args.openapi_version {
        Version::V3_0 => serde_json::to_string_pretty(&to_version_3_0(&document)?)?,
        Version::V3_1 => document.to_pretty_json()?,
    };
    Ok(context.ui.line(Text::from_lines(&text))?)
}
