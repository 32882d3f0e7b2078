//! The table of metrics is generated from `/metrics` of a platform on embedded engines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::Program;
use miniapp_types::task::Status;
use serde_json::json;

use crate::readme::pages::{Generated, cell};

const TABLE: Generated = Generated { page: "docs/reference/metrics.md", name: "metrics" };

#[tokio::test]
async fn metrics_match_the_exposition() {
    let platform = Program::new(env!("CARGO_BIN_EXE_miniapp")).start().await;
    // Some are registered with their first use.
    let user = platform.sign_up("ada").await;
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
    let url = format!("{}/metrics", platform.admin());
    let answer = Answer::to(client().get(&url)).await.expect(200);
    TABLE.check(&table(&String::from_utf8_lossy(&answer.body)));
}

fn table(exposition: &str) -> String {
    let mut metrics: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            metrics.entry(name).or_default().1 = help;
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            metrics.entry(name).or_default().0 = kind;
        }
    }
    let mut table = "| metric | type | description |\n|---|---|---|\n".to_owned();
    for (name, (kind, help)) in metrics {
        writeln!(table, "| `{name}` | {kind} | {} |", cell(help)).expect("a text");
    }
    table
}
