//! The kind `flaky`: fails before it succeeds.

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::whole_number;

/// Fails a given number of attempts, then finishes, to demonstrate retries.
pub struct Flaky;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `failures`")]
#[schemars(example = json!({ "failures": 1 }))]
pub struct Data {
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(max = u32::MAX))]
    failures: u32,
}

#[derive(Serialize)]
pub struct Success {
    attempt: u32,
}

impl Kind for Flaky {
    const NAME: &'static str = "flaky";
    const DESCRIPTION: &'static str = "Fails the given number of attempts, then finishes.";
    type Input = Data;
    type Output = Success;

    async fn run(&self, cx: &Context, Data { failures }: Data) -> Result<Success, KindError> {
        let attempt = cx.attempt();
        if attempt <= failures {
            let message = format!("Failure {attempt} of {failures}, as requested");
            return Err(KindError::retryable("flaky", message));
        }
        Ok(Success { attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::tests::run;

    #[tokio::test]
    async fn fails_the_given_number_of_attempts() {
        for attempt in 1..=2 {
            let failed = run(Flaky, json!({ "failures": 2 }), attempt).await;
            assert!(matches!(failed, Err(KindError::Retryable { .. })), "{failed:?}");
        }
        assert_eq!(run(Flaky, json!({ "failures": 2 }), 3).await, Ok(json!({ "attempt": 3 })));
    }
}
