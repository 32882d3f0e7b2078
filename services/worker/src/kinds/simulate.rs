//! The kind `simulate`: pretends to work.

use std::time::Duration;

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sleep::sleep_with_progress;

/// The maximum wait before the work and the minimum work, if the ttl is long enough.
const SECOND: Duration = Duration::from_secs(1);
/// The maximum work as a multiple of the ttl, so that some tasks exceed theirs.
const MAX_WORK: f64 = 1.5;

/// Waits, then works for a random time up to one and a half times the ttl.
pub struct Simulate;

#[derive(Debug, PartialEq)]
struct Plan {
    wait: Duration,
    work: Duration,
}

impl Plan {
    fn new(ttl: Duration, mut rng: Xoshiro256PlusPlus) -> Self {
        let short = (ttl / 10).min(SECOND);
        Self {
            wait: rng.random_range(Duration::ZERO..=short),
            work: rng.random_range(short..=ttl.mul_f64(MAX_WORK)),
        }
    }
}

/// Any JSON. The same `seed`, a whole number that is not negative, gives the same times.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = json!({ "seed": 7 }))]
pub struct Data(Value);

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    wait_seconds: f64,
    work_seconds: f64,
}

impl Kind for Simulate {
    const NAME: &'static str = "simulate";
    const DESCRIPTION: &'static str = "Pretends to work for a random time, sometimes longer than \
                                       the ttl. The same seed gives the same times.";
    type Input = Data;
    type Output = Times;

    async fn run(&self, context: &Context, Data(data): Data) -> Result<Times, KindError> {
        let seed = data.get("seed").and_then(Value::as_u64).unwrap_or_else(|| context.seed());
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let Plan { wait, work } = Plan::new(context.ttl(), rng);
        context.sleep(wait).await?;
        sleep_with_progress(context, work).await?;
        Ok(Times { wait_seconds: rounded(wait), work_seconds: rounded(work) })
    }
}

/// Returns seconds, rounded to milliseconds.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use miniapp_kind::testing::TestAttempt;

    use super::*;

    fn plan(ttl: u64, seed: u64) -> Plan {
        Plan::new(Duration::from_secs(ttl), Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    #[test]
    fn times_are_bounded_and_some_exceed_the_ttl() {
        let mut exceeding = 0;
        for seed in 0..1000 {
            let Plan { wait, work } = plan(20, seed);
            assert!(wait <= SECOND && work >= SECOND && work <= Duration::from_secs(30));
            exceeding += u32::from(wait + work > Duration::from_secs(20));
        }
        assert!((250..450).contains(&exceeding), "{exceeding} of 1000");
        assert!(plan(1, 3).work >= Duration::from_millis(100));
    }

    async fn simulate(data: Value, seed: u64) -> Result<Times, KindError> {
        let test = TestAttempt::new().with_ttl(Duration::from_secs(4)).with_seed(seed);
        Simulate.run(&test.context(), Data(data)).await
    }

    #[tokio::test(start_paused = true)]
    async fn seed_repeats_the_times() {
        let times = simulate(json!({ "seed": 7 }), 1).await;
        assert!(times.is_ok());
        assert_eq!(simulate(json!({ "seed": 7 }), 2).await, times);
        assert_ne!(simulate(json!({ "seed": 8 }), 2).await, times);
        assert_eq!(plan(4, 7), plan(4, 7));
        assert_ne!(plan(4, 7), plan(4, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn accepts_any_data() {
        for data in [json!(null), json!("text"), json!([1]), json!({ "seed": "x" })] {
            assert!(simulate(data.clone(), 1).await.is_ok(), "{data}");
        }
    }
}
