//! Steps, whose results are remembered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::OnceCell;

use crate::{Host, KindError};

/// Bytes of the names and results of all steps of a task.
pub const MAX_STEPS_BYTES: usize = 256 * 1024;
/// Bytes of the name of a step.
const MAX_NAME: usize = 100;

/// The steps of an attempt. The remembered ones are loaded for the first step.
#[derive(Debug, Default)]
pub(crate) struct Steps(OnceCell<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// A caller waits for another one that runs the same step.
    results: HashMap<String, Arc<OnceCell<Arc<RawValue>>>>,
    /// Of names and results.
    bytes: usize,
}

impl Steps {
    pub async fn run<T, F>(
        &self,
        host: &dyn Host,
        name: &str,
        work: impl FnOnce() -> F,
    ) -> Result<T, KindError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, KindError>>,
    {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
            let message = format!("A step needs a name of 1 to {MAX_NAME} bytes: {name:?}");
            return Err(KindError::permanent("invalid_step", message));
        }
        let state = self.0.get_or_try_init(|| load(host)).await?;
        let cell = state.lock().results.entry(name.to_owned()).or_default().clone();
        let running = cell.get_or_try_init(|| async {
            let result = to_raw_value(&work().await?).map_err(|error| {
                KindError::permanent("invalid_result", format!("The step {name:?}: {error}"))
            })?;
            state.lock().reserve(name.len() + result.get().len())?;
            host.remember_step(name, &result).await?;
            Ok(result.into())
        });
        let result = running.await?;
        // Also for a new result, so that all attempts continue with the same value.
        serde_json::from_str(result.get()).map_err(|error| {
            // A worker of another release may have stored it, and may run the next attempt.
            let message =
                format!("The remembered result of the step {name:?} can't be read: {error}");
            KindError::retryable("invalid_step", message)
        })
    }
}

async fn load(host: &dyn Host) -> Result<Mutex<State>, KindError> {
    let mut state = State::default();
    for (name, result) in host.steps().await? {
        state.bytes += name.len() + result.get().len();
        state.results.insert(name, Arc::new(OnceCell::new_with(Some(result.into()))));
    }
    Ok(Mutex::new(state))
}

impl State {
    fn reserve(&mut self, bytes: usize) -> Result<(), KindError> {
        if self.bytes + bytes > MAX_STEPS_BYTES {
            let message =
                format!("The steps have more than {} KiB of JSON", MAX_STEPS_BYTES / 1024);
            return Err(KindError::permanent("steps_too_large", message));
        }
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::TestAttempt;

    #[tokio::test]
    async fn step_runs_once_over_all_attempts() {
        let runs = AtomicU32::new(0);
        let charge = || async { Ok(runs.fetch_add(1, Ordering::Relaxed) + 1) };
        let mut test = TestAttempt::new();
        for attempt in 1..=3 {
            let cx = test.context();
            assert_eq!(cx.attempt(), attempt);
            assert_eq!(cx.step("charge", charge).await, Ok(1));
            assert_eq!(cx.step("charge", charge).await, Ok(1));
            test = test.next_attempt();
        }
        let restarted = test.restarted().context();
        assert_ne!(restarted.idempotency_key(), test.context().idempotency_key());
        assert_eq!(restarted.step("charge", charge).await, Ok(2));
    }

    #[tokio::test]
    async fn failed_step_runs_again() {
        let cx = TestAttempt::new().context();
        let error = KindError::retryable("away", "No answer");
        let failed: Result<u32, _> = cx.step("charge", || async { Err(error.clone()) }).await;
        assert_eq!(failed, Err(error));
        assert_eq!(cx.step("charge", || async { Ok(2) }).await, Ok(2));
    }

    #[tokio::test]
    async fn concurrent_callers_share_a_step() {
        let cx = TestAttempt::new().context();
        let runs = AtomicU32::new(0);
        let work = || async {
            tokio::task::yield_now().await;
            Ok(runs.fetch_add(1, Ordering::Relaxed))
        };
        let both = tokio::join!(cx.step("charge", work), cx.step("charge", work));
        assert_eq!(both, (Ok(0), Ok(0)));
    }

    #[tokio::test]
    async fn size_of_all_steps_is_limited() {
        let test = TestAttempt::new();
        let store = async |context: &crate::Context, name: &str, bytes: usize| {
            context.step(name, || async { Ok("x".repeat(bytes)) }).await.map(drop)
        };
        let half = MAX_STEPS_BYTES / 2;
        store(&test.context(), "1", half - 10).await.expect("small enough");
        let cx = test.next_attempt().context();
        let error = store(&cx, "2", half + 10).await.expect_err("too large");
        assert_eq!(error.code(), Some("steps_too_large"));
        store(&cx, "3", half - 10).await.expect("small enough");
    }

    #[tokio::test]
    async fn names_are_checked() {
        let cx = TestAttempt::new().context();
        for name in ["", "a\0", "line\nbreak", &"x".repeat(101)] {
            let error = cx.step(name, || async { Ok(()) }).await.expect_err(name);
            assert_eq!(error.code(), Some("invalid_step"));
        }
        assert_eq!(cx.step(&"x".repeat(100), || async { Ok(()) }).await, Ok(()));
    }

    #[tokio::test]
    async fn result_of_another_type_can_be_retried() {
        let cx = TestAttempt::new().context();
        assert_eq!(cx.step("charge", || async { Ok("text".to_owned()) }).await, Ok("text".into()));
        let error = cx.step("charge", || async { Ok(7) }).await.expect_err("a text");
        assert!(matches!(error, KindError::Retryable { .. }), "{error}");
    }
}
