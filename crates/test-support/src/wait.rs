//! Waiting for what has to happen, without guessing how long it takes.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What hasn't happened by then never will: generous, because it is spent by tests alone
/// that fail.
pub const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer, and gives it. Panics with `what` should
/// there never be one.
pub async fn eventually<T>(what: impl Display, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(PAUSE).await;
    }
}
