//! Side effects of the tasks.

use std::collections::{HashMap, HashSet};

use miniapp_types::task::{Event, EventType, Status};
use serde_json::Value;
use uuid::Uuid;

use super::tasks::Stored;
use crate::effects::Row;
use crate::environment::Environment;
use crate::load::Submission;
use crate::request::Work;

/// Counts for the report.
#[derive(Default)]
pub struct Counts {
    pub rows: usize,
    /// Effects of attempts after a newer attempt of the task had started.
    pub stale: usize,
    /// Tasks with more than one effect.
    pub repeated: usize,
}

/// Checks the effects against the timelines of the tasks.
pub fn check(environment: &Environment, submissions: &[Submission], stored: &Stored) -> Counts {
    let counted = environment.effects.counted();
    for strange in &counted.strange {
        environment.findings.add("an effect names its attempt", strange);
    }
    let wanted: HashSet<Uuid> = submissions
        .iter()
        .filter(|submission| matches!(submission.request.work, Work::Effect { .. }))
        .flat_map(|submission| submission.ids.iter().copied())
        .collect();
    let mut by_task: HashMap<Uuid, usize> = HashMap::new();
    for (&(id, token), row) in &counted.rows {
        *by_task.entry(id).or_default() += 1;
        let detail = || format!("attempt {id}-{token} {} times", row.times);
        environment.findings.check(row.times == 1, "an attempt begins once", detail);
        let claims = stored.0.get(&id).map_or(0, |(task, _)| task.state.claim);
        let expected = stored.0.get(&id).map(|(_, timeline)| generation_of(timeline, token));
        let is_key_of_generation = expected.is_none_or(|expected| expected == row.generation);
        environment.findings.check(
            is_key_of_generation,
            "all attempts of a generation have one idempotency key",
            || format!("attempt {id}-{token} has the key of generation {}", row.generation),
        );
        let is_claimed = (1..=claims).contains(&token);
        environment.findings.check(is_claimed, "who has an effect has a claim", || {
            format!("attempt {id}-{token}, the newest claim is {claims}")
        });
    }
    for id in wanted {
        let Some((task, timeline)) = stored.0.get(&id) else { continue };
        for winner in winners(timeline) {
            let row = counted.rows.get(&(id, winner));
            let is_fenced = row.is_some_and(|row| !row.is_stale);
            environment.findings.check(
                is_fenced,
                "an outcome is of the newest attempt, and its effect is there",
                || format!("attempt {id}-{winner}: {:?}", row.map(|row| (row.times, row.is_stale))),
            );
        }
        if task.state.status == Status::Finished && !task.state.deleted {
            let result = task.state.result.as_ref().map_or("", |result| result.get());
            let result: Value = serde_json::from_str(result).unwrap_or_default();
            let is_winners = result["body"] == format!("{id}-{}", task.state.claim);
            environment.findings.check(
                is_winners,
                "a result is of the claim that holds the task",
                || format!("{id} at claim {}: {result}", task.state.claim),
            );
        }
    }
    Counts {
        rows: counted.rows.len(),
        stale: counted.rows.values().filter(|row: &&Row| row.is_stale).count(),
        repeated: by_task.values().filter(|count| **count > 1).count(),
    }
}

/// Returns the generation of the attempt with this fencing token.
fn generation_of(timeline: &[Event], token: u64) -> u32 {
    let (mut claims, mut generation) = (0, 1);
    for event in timeline {
        match event.kind {
            EventType::Started => claims += 1,
            EventType::Restarted => generation += 1,
            _ => {}
        }
        if claims == token {
            break;
        }
    }
    generation
}

/// The fencing tokens of the attempts whose results were accepted. Each claim increments the token.
fn winners(timeline: &[Event]) -> Vec<u64> {
    let mut token = 0;
    let mut winners = Vec::new();
    for event in timeline {
        match event.kind {
            EventType::Started => token += 1,
            EventType::Finished => winners.push(token),
            _ => {}
        }
    }
    winners
}
