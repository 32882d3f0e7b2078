//! Revocation by broadcasts and by introspection.

use miniapp_broker::{Broker, Topic};

use super::*;

#[tokio::test]
async fn ended_session_revokes_its_token() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.error(&token).await, None);
    world.auth.sign_out(&token).await;
    world.wait_for(&token, Some(VerifyError::Revoked)).await;
    assert_eq!(world.auth.validations(), 1, "the broadcast was enough");
}

#[tokio::test]
async fn new_token_revokes_the_previous_one() {
    let world = World::new().await;
    let first = world.auth.sign_in();
    assert_eq!(world.error(&first).await, None);
    let second = world.auth.refresh(&first).await;
    world.wait_for(&first, Some(VerifyError::Revoked)).await;
    assert_eq!(world.error(&second).await, None);
    assert_eq!(world.auth.validations(), 1, "the broadcast was enough");
    // A token whose broadcast is lost.
    let third = Token { epoch: 2, ..second.clone() };
    world.broker.pause();
    let third = world.auth.refresh(&third).await;
    assert_eq!(world.error(&third).await, None);
    assert_eq!(world.error(&second).await, Some(VerifyError::Revoked));
    assert_eq!(world.auth.validations(), 2);
}

#[tokio::test]
async fn lost_broadcast_is_replaced_by_introspection() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.error(&token).await, None);
    world.broker.pause();
    world.auth.end_silently(&token);
    world.broker.resume();
    world.wait_for(&token, Some(VerifyError::Revoked)).await;
}

#[tokio::test(start_paused = true)]
async fn state_stays_fresh_while_probes_return() {
    let broker = MemoryBroker::new();
    let sessions = Sessions::new(Arc::new(ManualClock::default()));
    let session = Uuid::from_u128(7);
    let running = sessions.run(&broker as &dyn Broker, &|_, _| Ok(()));
    let scenario = async {
        eventually("broadcasts are received", async || sessions.is_receiving()).await;
        let known_at = Instant::now();
        sessions.update(session, SessionState::Current(1), known_at);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(sessions.status_of(session, 1), TokenStatus::Valid);
        assert_eq!(sessions.status_of(session, 2), TokenStatus::Unknown);
        broker.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = sessions.status_of(session, 1);
        assert!(
            matches!(status, TokenStatus::Stale(age) if age < Duration::from_secs(2)),
            "{status:?}"
        );
        broker.resume();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = sessions.status_of(session, 1);
        let age = known_at.elapsed();
        assert_eq!(status, TokenStatus::Stale(age), "a state from before the gap ages from then");
        sessions.update(session, SessionState::Current(1), Instant::now());
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(sessions.status_of(session, 1), TokenStatus::Valid);
    };
    tokio::select! {
        never = running => match never {},
        () = scenario => {}
    }
}

/// A verifier that missed the end of the session or has evicted it, and one that starts later.
#[tokio::test]
async fn replayed_change_does_not_make_a_revoked_token_valid() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    let opened = world.auth.session_changed(token.session, Some(token.epoch));
    world.auth.end_silently(&token);
    world.clock.advance(Duration::from_secs(2));
    let (later, _background) = world.start_verifier().await;
    let marker = world.auth.sign_in();
    world.broker.broadcast(Topic::Sessions, opened).await.expect("sent");
    world.auth.sign_out(&marker).await;
    for verifier in [&world.verifier, &later] {
        let is_received = async || {
            let status = verifier.0.sessions.status_of(marker.session, marker.epoch);
            status == TokenStatus::Revoked
        };
        eventually("the broadcasts are received", is_received).await;
        let status = |epoch| verifier.0.sessions.status_of(token.session, epoch);
        assert_eq!(status(token.epoch), TokenStatus::Unknown);
        assert_eq!(status(token.epoch - 1), TokenStatus::Revoked, "earlier tokens are revoked");
        let introspected = world.auth.validations();
        let verified = verifier.verify(&token.text).await;
        assert_eq!(verified.err(), Some(VerifyError::Revoked));
        assert_eq!(world.auth.validations(), introspected + 1);
    }
}

#[test]
fn merge_keeps_the_later_state() {
    use SessionState::{Current, Ended, Superseded};
    let cases = [
        (Current(1), Current(2), Current(2)),
        (Current(2), Superseded(1), Current(2)),
        (Current(2), Superseded(2), Superseded(2)),
        (Superseded(1), Superseded(3), Superseded(3)),
        (Current(9), Ended, Ended),
        (Superseded(9), Ended, Ended),
    ];
    for (one, other, expected) in cases {
        assert_eq!(one.merge(other), expected, "{one:?} {other:?}");
        assert_eq!(other.merge(one), expected, "{other:?} {one:?}");
    }
}

#[tokio::test]
async fn late_introspection_does_not_undo_a_broadcast() {
    let world = World::new().await;
    let (token, other) = (world.auth.sign_in(), world.auth.sign_in());
    world.auth.hold();
    let checking = tokio::spawn({
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        async move { verifier.verify(&text).await.map(drop) }
    });
    eventually("the introspection runs", async || world.auth.validations() > 0).await;
    world.auth.sign_out(&token).await;
    world.auth.sign_out(&other).await;
    let status = |token: &Token| world.verifier.0.sessions.status_of(token.session, token.epoch);
    eventually("the broadcasts are received", async || status(&other) == TokenStatus::Revoked)
        .await;
    world.auth.release();
    assert_eq!(checking.await.expect("no panic"), Err(VerifyError::Revoked));
    assert_eq!(world.error(&token).await, Some(VerifyError::Revoked));
}

#[tokio::test]
async fn session_is_introspected_once() {
    let world = World::new().await;
    let token = world.auth.sign_in_as_admin();
    for _ in 0..100 {
        let principal = world.verifier.verify(&token.text).await.expect("a principal");
        assert_eq!(
            (principal.user_id, principal.credential),
            (token.user, Credential::Session(token.session))
        );
        assert!(principal.require_admin().is_ok() && principal.login == "ada");
    }
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn concurrent_requests_share_an_introspection() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    world.auth.hold();
    let mut checks = JoinSet::new();
    for _ in 0..50 {
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        checks
            .spawn(async move { verifier.verify(&text).await.map(|principal| principal.user_id) });
    }
    eventually("the introspection runs", async || world.auth.validations() > 0).await;
    world.auth.release();
    for checked in checks.join_all().await {
        assert_eq!(checked, Ok(token.user));
    }
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn introspection_completes_after_the_caller_is_canceled() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    world.auth.hold();
    let canceled = tokio::spawn({
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        async move { verifier.verify(&text).await.map(drop) }
    });
    eventually("the introspection runs", async || world.auth.validations() > 0).await;
    canceled.abort();
    world.auth.release();
    assert_eq!(world.error(&token).await, None);
    assert_eq!(world.auth.validations(), 1);
}
