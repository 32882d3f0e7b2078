//! The SQL invariant checks find no violation in the results of runs.

use miniapp_tasks::Engine;
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::{Change, Insert};
use miniapp_tasks::sqlite::SqliteEngine;
use miniapp_test_support::Row;
use miniapp_types::task::Status;
use tokio::runtime::Builder;

use crate::simulation::simulate;
use crate::simulation::world::{Run, Stored};

/// Few, because storing a run takes longer than simulating it.
const RUNS: u64 = 20;

/// Stores the result of a run.
async fn store(engine: &dyn Engine, rows: &[Row]) {
    let (mut inserts, mut changes, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for Row { task, events, dispatched_at, .. } in rows {
        let Task { id, owner, spec, state } = task;
        let begun = Task::new(*id, *owner, (**spec).clone(), state.run_at);
        inserts.push(Insert { task: begun, event: events[0].clone(), key: None });
        if state.version > 1 {
            let events = events[1..].to_vec();
            changes.push(Change { task: task.clone(), from_version: 1, events });
        }
        if let Some(at) = dispatched_at {
            sent.push((*at, *id, state.version));
        }
    }
    engine.write(&inserts, &[]).await.expect("a store");
    let written = engine.write(&[], &changes).await.expect("a store");
    assert!(written.changes.iter().all(|stored| *stored));
    for (at, id, version) in sent {
        engine.mark_dispatched(&[(id, version)], at).await.expect("a store");
    }
}

/// Returns the violated invariants.
async fn violations(Stored { at, rows }: &Stored) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("tasks.db").display());
    let engine = SqliteEngine::open(&url, false).await.expect("a store");
    store(&engine, rows).await;
    let checked = engine.check_invariants(*at).await.expect("an answer");
    let broken = checked.into_iter().filter(|rule| rule.violations > 0);
    broken.map(|rule| format!("{}: {:?}", rule.invariant, rule.examples)).collect()
}

#[test]
fn databases_find_no_violation_in_any_run() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut seen = Vec::new();
    for seed in 0..RUNS {
        let Run { stored, .. } = simulate(seed);
        for stored in stored {
            let broken = runtime.block_on(violations(&stored));
            assert!(broken.is_empty(), "seed {seed}: {}", broken.join("\n"));
            seen.extend(stored.rows.iter().map(|row| row.task.state.status));
        }
    }
    // Otherwise the runs exercise too little.
    let all =
        [Status::Awaiting, Status::Executing, Status::Finished, Status::Canceled, Status::Failed];
    assert!(all.iter().all(|status| seen.contains(status)));
}
