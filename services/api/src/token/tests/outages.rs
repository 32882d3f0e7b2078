//! Auth or the broker are away.

use super::*;

#[tokio::test]
async fn without_the_broker_auth_is_asked() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.refusal(&token).await, None);
    world.broker.pause();
    world.auth.end_in_silence(&token);
    let began = Instant::now();
    world.becomes(&token, Some(VerifyError::Revoked)).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn while_auth_is_away_only_the_known_come_in() {
    let world = World::new().await;
    let (known, unknown) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.refusal(&known).await, None);
    world.auth.go_down();
    assert_eq!(world.refusal(&unknown).await, Some(VerifyError::Unavailable));
    assert_eq!(world.refusal(&known).await, None);
    world.broker.pause();
    let aged = |token: &Token| {
        matches!(world.verifier.0.sessions.judge(token.session, 1), Verdict::Aged(_))
    };
    eventually("knowledge has aged", async || aged(&known)).await;
    assert_eq!(world.refusal(&known).await, None);
    world.auth.rotate(2, true);
    let of_unknown_key = world.auth.sign_in();
    world.becomes(&of_unknown_key, Some(VerifyError::Unavailable)).await;
    world.auth.come_back();
    world.becomes(&unknown, None).await;
    world.becomes(&of_unknown_key, None).await;
    world.auth.end_in_silence(&known);
    world.becomes(&known, Some(VerifyError::Revoked)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_known_for_ever() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(ManualClock::default());
    // Nobody listens there.
    let verifier = TokenVerifier::new("http://127.0.0.1:9", clock.clone()).expect("a client");
    let sessions = &verifier.0.sessions;
    let session = Uuid::from_u128(7);
    let expires_at = clock.now().as_second() + 900;
    let principal = Arc::new(Principal::of_test(session, 1, expires_at));
    sessions.learn(session, Standing::Current(1), Instant::now());
    assert_eq!(verifier.revalidate(&principal).await, Ok(()));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(verifier.revalidate(&principal).await, Ok(()), "waits for auth, in vain");
    assert!(verifier.0.auth.is_failing());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(verifier.revalidate(&principal).now_or_never(), Some(Ok(())), "waits no more");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(verifier.revalidate(&principal).await, Err(VerifyError::Unavailable));
    sessions.learn(session, Standing::Ended, Instant::now());
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(
        verifier.revalidate(&principal).await,
        Err(VerifyError::Revoked),
        "that much is known"
    );
}
