//! `miniapp config`: shows the effective configuration.

use miniapp_config::Source;
use serde_json::json;

use crate::context::Context;
use crate::ui::{Table, Text, Tone};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the defaults with comments, as a file to start from
    #[arg(long)]
    defaults: bool,
    /// Show only values that differ from the defaults
    #[arg(long, conflicts_with = "defaults")]
    changed: bool,
}

pub fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let ui = context.ui;
    if args.defaults {
        let defaults = context.extension.schemas().iter().map(|schema| schema.defaults.trim_end());
        let defaults: Vec<&str> = defaults.collect();
        return Ok(ui.line(Text::from_lines(&defaults.join("\n\n")))?);
    }
    let config = context.config()?;
    let selected = || {
        let settings = config.settings().iter();
        settings.filter(|setting| !args.changed || setting.source != Source::Default)
    };
    if ui.json {
        let settings: Vec<_> = selected()
            .map(|it| json!({"key": it.key, "value": it.value, "source": it.source.to_string()}))
            .collect();
        return Ok(ui.json(&json!({ "settings": settings }))?);
    }
    if selected().next().is_none() {
        ui.note("All settings have their defaults.");
        return Ok(());
    }
    let mut table = Table::new(ui.palette, &["SETTING", "VALUE", "SOURCE"]);
    for setting in selected() {
        let tone = if setting.source == Source::Default { Tone::Dim } else { Tone::Good };
        table.row([
            (setting.key.as_str(), Tone::Strong),
            (&setting.value, Tone::Strong),
            (&setting.source.to_string(), tone),
        ]);
    }
    Ok(ui.line(table.to_text())?)
}
