//! Outages of auth and the broker.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn broker_outage_falls_back_to_introspection() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.error(&token).await, None);
    world.broker.pause();
    world.auth.end_silently(&token);
    let began = Instant::now();
    world.wait_for(&token, Some(VerifyError::Revoked)).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn auth_outage_accepts_only_known_sessions() {
    let world = World::new().await;
    let (known, unknown) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.error(&known).await, None);
    world.auth.go_down();
    assert_eq!(world.error(&unknown).await, Some(VerifyError::Unavailable));
    assert_eq!(world.error(&known).await, None);
    world.broker.pause();
    let is_stale = |token: &Token| {
        matches!(world.verifier.0.sessions.status_of(token.session, 1), TokenStatus::Stale(_))
    };
    eventually("the session is stale", async || is_stale(&known)).await;
    assert_eq!(world.error(&known).await, None);
    world.auth.rotate(2, true);
    let of_unknown_key = world.auth.sign_in();
    world.wait_for(&of_unknown_key, Some(VerifyError::Unavailable)).await;
    world.auth.come_back();
    world.wait_for(&unknown, None).await;
    world.wait_for(&of_unknown_key, None).await;
    world.auth.end_silently(&known);
    world.wait_for(&known, Some(VerifyError::Revoked)).await;
}

/// An auth that accepts connections and never responds.
#[tokio::test]
async fn silent_auth_delays_concurrent_requests_together() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let checks = TokenVerifier::new(&url, world.clock.clone()).expect("a client");
    let token = world.auth.sign_in();
    let began = Instant::now();
    let verified = join_all((0..10).map(|_| checks.verify(&token.text))).await;
    assert!(verified.iter().all(|it| matches!(it, Err(VerifyError::Unavailable))));
    assert!(began.elapsed() < Duration::from_secs(4), "took {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stale_session_is_accepted_for_a_limited_time() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(ManualClock::default());
    // Nothing listens there.
    let verifier = TokenVerifier::new("http://127.0.0.1:9", clock.clone()).expect("a client");
    let sessions = &verifier.0.sessions;
    let session = Uuid::from_u128(7);
    let expires_at = clock.now().as_second() + 900;
    let principal = Arc::new(Principal::of_test(session, 1, expires_at));
    let revalidate = async || verifier.revalidate(&principal).await.map(drop);
    sessions.update(session, SessionState::Current(1), Instant::now());
    assert_eq!(revalidate().await, Ok(()));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(revalidate().await, Ok(()), "waits for the introspection to fail");
    assert!(verifier.0.auth.is_failing());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(revalidate().now_or_never(), Some(Ok(())), "does not wait");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(revalidate().await, Err(VerifyError::Unavailable));
    sessions.update(session, SessionState::Ended, Instant::now());
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(revalidate().await, Err(VerifyError::Revoked), "revocations do not become stale");
}
