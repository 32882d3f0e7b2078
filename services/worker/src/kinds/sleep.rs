//! The kind `sleep`: waits.

use std::time::Duration;

use async_trait::async_trait;
use miniapp_types::limits;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Context, Description, Kind, KindError, KindResult, parse_data, to_result};

const MAX_TTL: u32 = *limits::TTL.end();
/// The interval of progress reports.
const STEP: Duration = Duration::from_secs(1);

/// Waits for the given time.
pub struct Sleep;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `seconds`")]
struct Data {
    seconds: f64,
}

#[async_trait]
impl Kind for Sleep {
    fn describe(&self) -> Description {
        Description {
            name: "sleep".into(),
            description: "Waits for a number of seconds.".into(),
            data_schema: json!({
                "type": "object",
                "required": ["seconds"],
                "additionalProperties": false,
                "properties": {
                    "seconds": { "type": "number", "minimum": 0, "maximum": MAX_TTL },
                },
            }),
            example: json!({ "seconds": 1.5 }),
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let Data { seconds } = parse_data(data)?;
        if !(0.0..=f64::from(MAX_TTL)).contains(&seconds) {
            let message = format!("seconds must be a number from 0 to {MAX_TTL}");
            return Err(KindError::invalid_data(message));
        }
        sleep_with_progress(context, Duration::from_secs_f64(seconds)).await?;
        to_result(&json!({ "seconds": seconds }))
    }
}

/// Sleeps for `duration` and reports progress.
pub(super) async fn sleep_with_progress(
    context: &Context,
    duration: Duration,
) -> Result<(), KindError> {
    let start = Instant::now();
    loop {
        let elapsed = start.elapsed();
        let rest = duration.saturating_sub(elapsed);
        if rest <= STEP {
            return context.sleep(rest).await;
        }
        context.sleep(STEP).await?;
        let elapsed = start.elapsed();
        let tenths = (duration.as_secs_f64() * 10.0).round() / 10.0;
        let message = format!("{} of {tenths} seconds", elapsed.as_secs());
        context.progress(elapsed.div_duration_f64(duration), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Stop;
    use crate::context::tests::test_context;
    use crate::kinds::tests::{code, raw, run};

    #[tokio::test(start_paused = true)]
    async fn sleeps_for_the_given_time() {
        let start = Instant::now();
        assert_eq!(run(&Sleep, json!({ "seconds": 2.5 }), 1).await, Ok(json!({ "seconds": 2.5 })));
        assert_eq!(start.elapsed().as_millis() / 10, 250);
    }

    #[tokio::test]
    async fn rejects_invalid_times() {
        for seconds in [json!(-1), json!(86_401), json!(1e300), json!("1")] {
            let error = run(&Sleep, json!({ "seconds": seconds }), 1).await.expect_err("refused");
            assert_eq!(code(&error), "invalid_data");
        }
    }

    #[tokio::test]
    async fn stops_on_cancel() {
        let (context, attempt) = test_context(1, Duration::from_secs(9), 0);
        attempt.stop(Stop::Canceled);
        let stopped = Sleep.run(&context, &raw(&json!({ "seconds": 1000 }))).await;
        assert_eq!(stopped.map(drop), Err(KindError::Stopped));
    }
}
