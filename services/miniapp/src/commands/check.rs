//! `miniapp check`: whether the tasks in the database keep to the rules.

use anyhow::bail;
use miniapp_tasks::engine::InvariantReport;
use serde_json::json;

use crate::context::Context;
use crate::store;
use crate::ui::{Table, Tone};

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let ui = context.ui;
    let config = context.config()?;
    let engine = store::tasks(&config).await?;
    let checked = engine.check_invariants(context.now()).await?;
    if ui.json {
        let rules: Vec<_> = checked
            .iter()
            .map(|it| json!({"rule": it.invariant, "broken": it.violations, "examples": it.examples}))
            .collect();
        ui.json(&json!({ "rules": rules }))?;
    } else {
        let mut table = Table::new(ui.palette, &["RULE", "BROKEN BY", "SUCH AS"]);
        for InvariantReport { invariant, violations, examples } in &checked {
            let (count, tone) = match violations {
                0 => ("none".to_owned(), Tone::Good),
                count => (count.to_string(), Tone::Bad),
            };
            let example = examples.first().map(ToString::to_string).unwrap_or_default();
            table.row([(*invariant, Tone::Strong), (&count, tone), (&example, Tone::Strong)]);
        }
        ui.line(table)?;
    }
    match checked.iter().filter(|it| it.violations > 0).count() {
        0 => Ok(()),
        1 => bail!("a rule is broken"),
        count => bail!("{count} rules are broken"),
    }
}
