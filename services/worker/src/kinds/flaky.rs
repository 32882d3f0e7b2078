//! The kind `flaky`: fails before it succeeds.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{
    Context, Description, Kind, KindError, KindResult, parse_data, to_result, whole_number,
};

/// Fails a given number of attempts, then finishes, to demonstrate retries.
pub struct Flaky;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `failures`")]
struct Data {
    #[serde(deserialize_with = "whole_number")]
    failures: u32,
}

#[async_trait]
impl Kind for Flaky {
    fn describe(&self) -> Description {
        Description {
            name: "flaky".into(),
            description: "Fails the given number of attempts, then finishes.".into(),
            data_schema: json!({
                "type": "object",
                "required": ["failures"],
                "additionalProperties": false,
                "properties": {
                    "failures": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                },
            }),
            example: json!({ "failures": 1 }),
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let Data { failures } = parse_data(data)?;
        let attempt = context.attempt();
        if attempt <= failures {
            let message = format!("Failure {attempt} of {failures}, as requested");
            return Err(KindError::retryable("flaky", message));
        }
        to_result(&json!({ "attempt": attempt }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::tests::run;

    #[tokio::test]
    async fn fails_the_given_number_of_attempts() {
        for attempt in 1..=2 {
            let failed = run(&Flaky, json!({ "failures": 2 }), attempt).await;
            assert!(matches!(failed, Err(KindError::Retryable { .. })), "{failed:?}");
        }
        assert_eq!(run(&Flaky, json!({ "failures": 2 }), 3).await, Ok(json!({ "attempt": 3 })));
    }
}
