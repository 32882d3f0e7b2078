//! A killed process loses no task.

use std::collections::HashSet;

use futures_util::future::join_all;
use miniapp_test_support::eventually;
use miniapp_test_support::platform::{Engines, User, task};
use miniapp_types::task::{EventType, Status, Task};
use serde_json::{Value, json};

use crate::platform::support::{new_user, program_on};

miniapp_test_support::on_all_engines!(
    accepted_tasks_end_once_across_two_kills,
    responses_before_kill_are_durable,
);

const TASKS: usize = 200;

/// Tasks that sleep, end at once, or use the CPU.
fn input(number: usize) -> (&'static str, Value) {
    match number % 3 {
        0 => ("sleep", json!({ "seconds": 0.4 })),
        1 => ("echo", json!({ "number": number })),
        _ => ("hash", json!({ "rounds": 5000 })),
    }
}

async fn submit(user: &User, number: usize) -> Task {
    let (kind, data) = input(number);
    user.submit(kind, &data).await
}

async fn accepted_tasks_end_once_across_two_kills(engines: Engines) {
    let program = program_on(engines).await.set("worker.concurrency", 4).set("worker.replicas", 2);
    let mut platform = program.start().await;
    let user = new_user(&platform).await;
    let submits = (0..TASKS).map(|number| submit(&user, number));
    let submitted: HashSet<_> =
        join_all(submits).await.into_iter().map(|task| task.task_id).collect();
    assert_eq!(submitted.len(), TASKS);

    for kill in 1..=2 {
        // Some tasks have ended, some are running and some are waiting.
        eventually(&format!("it is time for kill {kill}"), async || {
            let count = user.count_by_status().await;
            let has = |status| count.get(&status).copied().unwrap_or_default() > 0;
            let ended = count.get(&Status::Finished).copied().unwrap_or_default();
            (ended >= kill * TASKS / 4 && has(Status::Executing) && has(Status::Awaiting))
                .then_some(())
        })
        .await;
        platform = platform.kill().await.start().await;
    }

    eventually("all tasks have ended", async || {
        let count = user.count_by_status().await;
        (count.get(&Status::Finished) == Some(&TASKS)).then_some(())
    })
    .await;
    let tasks = user.tasks().await;
    assert_eq!(tasks.iter().map(|task| task.task_id).collect::<HashSet<_>>(), submitted);
    let mut lost_leases = 0;
    for task in &tasks {
        let types = user.event_types(task.task_id).await;
        let is_end = |event: &&EventType| {
            matches!(event, EventType::Finished | EventType::Canceled | EventType::Failed)
        };
        assert_eq!(types.iter().filter(is_end).count(), 1, "{task:?}: {types:?}");
        assert_eq!(types.last(), Some(&EventType::Finished), "{task:?}: {types:?}");
        let count = |kind| types.iter().filter(|event| **event == kind).count();
        // Each attempt ended with an outcome, or with the process.
        let lost = count(EventType::LeaseLost);
        assert_eq!(count(EventType::Started), 1 + lost, "{task:?}: {types:?}");
        lost_leases += lost;
    }
    assert!(lost_leases > 0, "nothing was running when the process was killed");
    let checked = platform.program().run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
}

async fn responses_before_kill_are_durable(engines: Engines) {
    let mut platform = program_on(engines).await.start().await;
    let user = new_user(&platform).await;
    let mut accepted = Vec::new();
    // After a third kill, a task that was running each time would fail as poisonous.
    for round in 0..2 {
        let submitting = async {
            for number in 0.. {
                let (kind, data) = input(number);
                let Ok(answer) = user.try_submit(&task(kind, &data)).await else { break };
                accepted.push(answer.expect(201).text("taskId"));
            }
        };
        // At a random point of a request.
        let killing = async {
            eventually("tasks come in", async || {
                (user.tasks().await.len() > round * 10 + 5).then_some(())
            })
            .await;
            platform.kill().await
        };
        let ((), program) = tokio::join!(submitting, killing);
        platform = program.start().await;
    }
    assert!(accepted.len() > 10, "{}", accepted.len());
    let stored: HashSet<_> =
        user.tasks().await.iter().map(|task| task.task_id.to_string()).collect();
    for id in &accepted {
        assert!(stored.contains(id), "{id} was accepted and is gone");
    }
    eventually("all tasks have ended", async || {
        let count = user.count_by_status().await;
        (count.get(&Status::Finished) == Some(&stored.len())).then_some(())
    })
    .await;
}
