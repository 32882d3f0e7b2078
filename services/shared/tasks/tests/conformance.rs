//! The SQLite engine does what every store of tasks has to do.

use std::sync::Arc;

use tasks::Engine;
use tasks::sqlite::SqliteEngine;
use testkit::conformance::tasks::{Processes, check};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_store_of_tasks() {
    let directory = tempfile::tempdir().expect("a directory");
    check(async || {
        let file = directory.path().join(format!("{}.db", uuid::Uuid::new_v4()));
        let url = format!("sqlite://{}", file.display());
        let open = async || {
            Arc::new(SqliteEngine::open(&url, false).await.expect("a store")) as Arc<dyn Engine>
        };
        [open().await, open().await] as Processes
    })
    .await;
}
