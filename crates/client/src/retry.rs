//! Retries of calls that fail because of a broken connection or a restarting server.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use crate::Error;

pub(crate) const MAX_DELAY: Duration = Duration::from_secs(5);

/// Ten retries, which take about half a minute.
pub(crate) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_DELAY)
        .with_max_times(10)
}

/// Repeats `call` with exponential backoff while it fails with a
/// [transient](Error::is_transient) error, for about half a minute.
///
/// ```no_run
/// # async fn example(client: miniapp_client::Client) -> Result<(), miniapp_client::Error> {
/// let stats = miniapp_client::retry(|| client.stats()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn retry<T, F>(call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    call.retry(backoff()).when(Error::is_transient).await
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn url() -> Url {
        Url::parse("http://127.0.0.1:8000").expect("a URL")
    }

    fn refused() -> Error {
        Error::ConnectionRefused(Box::new(url()))
    }

    #[tokio::test(start_paused = true)]
    async fn retry_repeats_after_transient_errors() {
        let mut calls = 0;
        let result = retry(|| {
            calls += 1;
            std::future::ready(if calls < 4 { Err(refused()) } else { Ok(calls) })
        });
        assert_eq!(result.await.expect("the fourth call succeeds"), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_gives_up_after_half_a_minute() {
        let start = tokio::time::Instant::now();
        let result = retry::<(), _>(|| async { Err(refused()) }).await;
        assert!(result.is_err());
        assert!((20..60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_returns_permanent_errors_at_once() {
        let start = tokio::time::Instant::now();
        let result = retry::<(), _>(|| async { Err(Error::NotSignedIn(Box::new(url()))) }).await;
        assert!(matches!(result, Err(Error::NotSignedIn(_))));
        assert!(start.elapsed().is_zero());
    }
}
