//! The kind `sleep`: waits.

use std::time::Duration;

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use miniapp_types::limits;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

const MAX_TTL: u32 = *limits::TTL.end();
/// The interval of progress reports.
const STEP: Duration = Duration::from_secs(1);

/// Waits for the given time.
pub struct Sleep;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `seconds`")]
#[schemars(example = json!({ "seconds": 1.5 }))]
pub struct Data {
    #[schemars(range(min = 0, max = MAX_TTL))]
    seconds: f64,
}

impl Kind for Sleep {
    const NAME: &'static str = "sleep";
    const DESCRIPTION: &'static str = "Waits for a number of seconds.";
    type Input = Data;
    type Output = Data;

    async fn run(&self, context: &Context, data: Data) -> Result<Data, KindError> {
        sleep_with_progress(context, Duration::from_secs_f64(data.seconds)).await?;
        Ok(data)
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
    use miniapp_kind::testing::TestAttempt;

    use super::*;
    use crate::kinds::tests::run;

    #[tokio::test(start_paused = true)]
    async fn sleeps_for_the_given_time() {
        let start = Instant::now();
        assert_eq!(run(Sleep, json!({ "seconds": 2.5 }), 1).await, Ok(json!({ "seconds": 2.5 })));
        assert_eq!(start.elapsed().as_millis() / 10, 250);
    }

    #[tokio::test]
    async fn rejects_invalid_times() {
        for seconds in [json!(-1), json!(86_401), json!(1e300), json!("1")] {
            let error = run(Sleep, json!({ "seconds": seconds }), 1).await.expect_err("refused");
            assert_eq!(error.code(), Some("invalid_data"));
        }
    }

    #[tokio::test]
    async fn stops_on_cancel() {
        let test = TestAttempt::new();
        test.stop();
        let stopped = Sleep.run(&test.context(), Data { seconds: 1000.0 }).await;
        assert_eq!(stopped.map(drop), Err(KindError::Stopped));
    }
}
