//! The kind `hash`: CPU-bound work.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::whole_number;

/// The number of rounds between two checks for a stop; a few milliseconds.
const CHUNK: u32 = 16 * 1024;

/// Applies SHA-256 repeatedly, on the blocking pool, with at most one thread per processor.
pub struct Hash {
    processors: Arc<Semaphore>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `rounds`")]
#[schemars(example = json!({ "rounds": 1_000_000 }))]
pub struct Data {
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = u32::MAX))]
    rounds: u32,
}

impl Default for Hash {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { processors: Arc::new(Semaphore::new(processors)) }
    }
}

impl Kind for Hash {
    const NAME: &'static str = "hash";
    const DESCRIPTION: &'static str = "Applies SHA-256 to nothing, then to the hash before, for a \
                                       number of rounds; the result is the last hash.";
    type Input = Data;
    type Output = String;

    async fn run(&self, context: &Context, Data { rounds }: Data) -> Result<String, KindError> {
        let permit = context.unless_stopped(self.processors.clone().acquire_owned()).await?;
        let inner = context.clone();
        let hashing = spawn_blocking(move || {
            let hash = chain(&inner, rounds);
            // Held until the work ends, which may be after the attempt was dropped.
            drop(permit);
            hash
        });
        match hashing.await {
            Ok(hash) => hash,
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
    use miniapp_kind::testing::TestAttempt;

    use super::*;
    use crate::kinds::tests::run;

    #[tokio::test]
    async fn hashes_repeatedly() {
        let once = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let twice = "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456";
        let hash = async |rounds| run(Hash::default(), json!({ "rounds": rounds }), 1).await;
        assert_eq!(hash(json!(1)).await, Ok(json!(once)));
        assert_eq!(hash(json!(2)).await, Ok(json!(twice)));
        assert_eq!(hash(json!(2.0)).await, Ok(json!(twice)));
        for rounds in [json!(0), json!(1.5), json!(-1), json!(4_294_967_296_u64), json!(1e300)] {
            assert!(hash(rounds.clone()).await.is_err(), "{rounds}");
        }
    }

    #[tokio::test]
    async fn stop_releases_the_processor() {
        let hash = Hash { processors: Arc::new(Semaphore::new(1)) };
        let test = TestAttempt::new();
        let context = test.context();
        let running = async {
            let ended = hash.run(&context, Data { rounds: u32::MAX }).await;
            assert_eq!(ended, Err(KindError::Stopped));
        };
        tokio::join!(running, async {
            while test.progress().is_none() {
                tokio::task::yield_now().await;
            }
            test.stop();
        });
        assert_eq!(hash.processors.available_permits(), 1);
    }
}
