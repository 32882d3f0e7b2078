//! The kind `simulate`: pretends to work.

use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::sleep::sleep_with_progress;
use super::{Context, Description, Kind, KindResult, parse_data, to_result};

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

#[async_trait]
impl Kind for Simulate {
    fn describe(&self) -> Description {
        Description {
            name: "simulate".into(),
            description: "Pretends to work for a random time, sometimes longer than the ttl. \
                          The same seed gives the same times."
                .into(),
            data_schema: json!({
                "description": "Any JSON; an object may hold a seed",
                "properties": { "seed": { "description": "A whole number that is not negative" } },
            }),
            example: json!({ "seed": 7 }),
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let data: Value = parse_data(data)?;
        let rng = match data.get("seed").and_then(Value::as_u64) {
            Some(seed) => Xoshiro256PlusPlus::seed_from_u64(seed),
            None => context.rng(),
        };
        let Plan { wait, work } = Plan::new(context.ttl(), rng);
        context.sleep(wait).await?;
        sleep_with_progress(context, work).await?;
        to_result(&json!({ "waitSeconds": rounded(wait), "workSeconds": rounded(work) }))
    }
}

/// Returns seconds, rounded to milliseconds.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::test_context;
    use crate::kinds::tests::raw;

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

    #[tokio::test(start_paused = true)]
    async fn seed_repeats_the_times() {
        let mut results = Vec::new();
        for seed in [1, 2] {
            let (context, _) = test_context(1, Duration::from_secs(4), seed);
            let result = Simulate.run(&context, &raw(&json!({ "seed": 7 }))).await;
            results.push(result.expect("a result").to_string());
        }
        assert_eq!(results[0], results[1]);
        assert_eq!(plan(4, 7), plan(4, 7));
        assert_ne!(plan(4, 7), plan(4, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn accepts_any_data() {
        for data in [json!(null), json!("text"), json!([1]), json!({ "seed": "x" })] {
            let (context, _) = test_context(1, Duration::from_secs(4), 1);
            assert!(Simulate.run(&context, &raw(&data)).await.is_ok(), "{data}");
        }
    }
}
