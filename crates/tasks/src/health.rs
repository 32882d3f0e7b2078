//! The health check of the task store.

use miniapp_runtime::health::Health;

use crate::tasks::Tasks;

/// Adds the check `tasks` to `health`.
pub fn add(health: &Health, tasks: &Tasks) {
    let tasks = tasks.clone();
    health.add("tasks", move || {
        let tasks = tasks.clone();
        async move { Ok(tasks.condition().await?) }
    });
}
