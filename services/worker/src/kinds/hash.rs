//! The kind `hash`: CPU-bound work.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{
    Context, Description, Kind, KindError, KindResult, parse_data, to_result, whole_number,
};

/// The number of rounds between two checks for a stop; a few milliseconds.
const CHUNK: u32 = 16 * 1024;

/// Applies SHA-256 repeatedly, on the blocking pool, with at most one thread per processor.
pub struct Hash {
    processors: Arc<Semaphore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `rounds`")]
struct Data {
    #[serde(deserialize_with = "whole_number")]
    rounds: u32,
}

impl Default for Hash {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { processors: Arc::new(Semaphore::new(processors)) }
    }
}

#[async_trait]
impl Kind for Hash {
    fn describe(&self) -> Description {
        Description {
            name: "hash".into(),
            description: "Applies SHA-256 to nothing, then to the hash before, for a number \
                          of rounds; the result is the last hash."
                .into(),
            data_schema: json!({
                "type": "object",
                "required": ["rounds"],
                "additionalProperties": false,
                "properties": {
                    "rounds": { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                },
            }),
            example: json!({ "rounds": 1_000_000 }),
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let Data { rounds } = parse_data(data)?;
        if rounds == 0 {
            return Err(KindError::invalid_data("rounds must be at least 1"));
        }
        let permit = context.unless_stopped(self.processors.clone().acquire_owned()).await?;
        let inner = context.clone();
        let hashing = spawn_blocking(move || {
            let hash = chain(&inner, rounds);
            // Held until the work ends, which may be after the attempt was dropped.
            drop(permit);
            hash
        });
        match hashing.await {
            Ok(hash) => to_result(&hash?),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime shuts down.
                Err(_) => Err(KindError::Stopped),
            },
        }
    }
}

fn chain(context: &Context, rounds: u32) -> Result<String, KindError> {
    let mut hash = digest(&SHA256, &[]);
    let mut done = 1;
    while done < rounds {
        if context.is_stopped() {
            return Err(KindError::Stopped);
        }
        context.progress(f64::from(done) / f64::from(rounds), format!("{done} of {rounds} rounds"));
        let chunk = CHUNK.min(rounds - done);
        for _ in 0..chunk {
            hash = digest(&SHA256, hash.as_ref());
        }
        done += chunk;
    }
    Ok(hex(hash.as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attempt::Stop;
    use crate::context::tests::test_context;
    use crate::kinds::tests::{raw, run};

    #[tokio::test]
    async fn hashes_repeatedly() {
        let once = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let twice = "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456";
        let hash = Hash::default();
        assert_eq!(run(&hash, json!({ "rounds": 1 }), 1).await, Ok(json!(once)));
        assert_eq!(run(&hash, json!({ "rounds": 2 }), 1).await, Ok(json!(twice)));
        assert_eq!(run(&hash, json!({ "rounds": 2.0 }), 1).await, Ok(json!(twice)));
        for rounds in [json!(0), json!(1.5), json!(-1), json!(4_294_967_296_u64), json!(1e300)] {
            assert!(run(&hash, json!({ "rounds": rounds }), 1).await.is_err(), "{rounds}");
        }
    }

    #[tokio::test]
    async fn stop_releases_the_processor() {
        let hash = Hash { processors: Arc::new(Semaphore::new(1)) };
        let (context, attempt) = test_context(1, Duration::from_mins(1), 0);
        let data = raw(&json!({ "rounds": u32::MAX }));
        let running = async {
            let ended = hash.run(&context, &data).await;
            assert_eq!(ended.map(drop), Err(KindError::Stopped));
        };
        tokio::join!(running, async {
            while attempt.due_progress(tokio::time::Instant::now(), Duration::ZERO).is_err() {
                tokio::task::yield_now().await;
            }
            attempt.stop(Stop::Canceled);
        });
        assert_eq!(hash.processors.available_permits(), 1);
    }
}
