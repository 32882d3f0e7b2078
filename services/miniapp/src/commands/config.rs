//! `miniapp config`: the configuration in force, and where each value comes from.

use miniapp_config::{PLATFORM, Source};
use serde_json::json;

use crate::context::Context;
use crate::ui::{Table, Tone};

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the commented defaults instead, as a file to start from
    #[arg(long)]
    defaults: bool,
    /// Only what isn't at its default
    #[arg(long, conflicts_with = "defaults")]
    changed: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let ui = context.ui;
    if args.defaults {
        return Ok(ui.line(PLATFORM.defaults.trim_end())?);
    }
    let config = context.config()?;
    let shown = || {
        let settings = config.settings().iter();
        settings.filter(|setting| !args.changed || setting.source != Source::Default)
    };
    if ui.json {
        let settings: Vec<_> = shown()
            .map(|it| json!({"key": it.key, "value": it.value, "source": it.source.to_string()}))
            .collect();
        return Ok(ui.json(&json!({ "settings": settings }))?);
    }
    if shown().next().is_none() {
        ui.note("Every setting is at its default.");
        return Ok(());
    }
    let mut table = Table::new(ui.palette, &["SETTING", "VALUE", "COMES FROM"]);
    for setting in shown() {
        let tone = if setting.source == Source::Default { Tone::Dim } else { Tone::Good };
        table.row([
            (setting.key.as_str(), Tone::Strong),
            (&setting.value, Tone::Strong),
            (&setting.source.to_string(), tone),
        ]);
    }
    Ok(ui.line(table)?)
}
