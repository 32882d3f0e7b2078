//! `miniapp check`: checks the consistency of all tasks in the database.

use anyhow::bail;
use miniapp_tasks::engine::InvariantReport;
use serde_json::json;

use crate::context::Context;
use crate::database;
use crate::ui::{Table, Tone};

pub async fn run(context: &Context) -> anyhow::Result<()> {
    let ui = context.ui;
    let config = context.config()?;
    let engine = database::open_tasks(&config).await?;
    let reports = engine.check_invariants(context.now()).await?;
    engine.close().await?;
    if ui.json {
        let rules: Vec<_> = reports
            .iter()
            .map(
                |it| json!({"rule": it.invariant, "broken": it.violations, "examples": it.examples}),
            )
            .collect();
        ui.json(&json!({ "rules": rules }))?;
    } else {
        let mut table = Table::new(ui.palette, &["VIOLATIONS", "EXAMPLE", "INVARIANT"]);
        for InvariantReport { invariant, violations, examples } in &reports {
            let (count, tone) = match violations {
                0 => ("none".to_owned(), Tone::Good),
                count => (count.to_string(), Tone::Bad),
            };
            let example = examples.first().map(ToString::to_string).unwrap_or_default();
            table.row([
                (count.as_str(), tone),
                (&example, Tone::Strong),
                (*invariant, Tone::Strong),
            ]);
        }
        ui.line(table.to_text())?;
    }
    match reports.iter().filter(|it| it.violations > 0).count() {
        0 => Ok(()),
        1 => bail!("1 invariant is violated"),
        count => bail!("{count} invariants are violated"),
    }
}
