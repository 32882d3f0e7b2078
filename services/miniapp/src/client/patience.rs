//! Trying again what a broken connection or a restarting platform hinders.

use std::time::Duration;

use super::ClientError;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often in a row to fail before giving up; about half a minute.
const LIMIT: u32 = 10;

/// How often something has failed in a row.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// It went well; the next failure is a first one.
    pub fn restore(&mut self) {
        self.failures = 0;
    }

    /// Waits a while, longer each time.
    pub async fn pause(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures += 1;
        tokio::time::sleep(pause).await;
    }

    /// Waits a while where `error` may pass; gives it back where it won't, or hasn't for
    /// too long.
    pub async fn bear(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !error.is_passing() || self.failures >= LIMIT {
            return Err(error);
        }
        self.pause().await;
        Ok(())
    }
}

/// Makes a call until it succeeds or fails for good.
pub async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut patience = Patience::default();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => patience.bear(error).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn unreachable() -> ClientError {
        let url = Url::parse("http://127.0.0.1:8000").expect("a URL");
        ClientError::Unreachable(Box::new(url))
    }

    fn signed_out() -> ClientError {
        let url = Url::parse("http://127.0.0.1:8000").expect("a URL");
        ClientError::SignedOut(Box::new(url))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again() {
        let mut calls = 0;
        let answer = patiently(|| {
            calls += 1;
            let answer = if calls < 4 { Err(unreachable()) } else { Ok(calls) };
            std::future::ready(answer)
        });
        assert_eq!(answer.await.expect("the fourth answer"), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let begin = tokio::time::Instant::now();
        let answer = patiently::<(), _>(|| async { Err(unreachable()) }).await;
        assert!(answer.is_err());
        assert!((20..60).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        let answer = patiently::<(), _>(|| async { Err(signed_out()) }).await;
        assert!(matches!(answer, Err(ClientError::SignedOut(_))));
    }
}
