//! What becomes of a session's tokens, by the news and by what auth says.

use super::*;

#[tokio::test]
async fn a_token_ends_with_its_session() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.refusal(&token).await, None);
    world.auth.sign_out(&token).await;
    world.becomes(&token, Some(VerifyError::Revoked)).await;
    assert_eq!(world.auth.validations(), 1, "the news were enough");
}

#[tokio::test]
async fn a_new_token_replaces_the_one_before() {
    let world = World::new().await;
    let first = world.auth.sign_in();
    assert_eq!(world.refusal(&first).await, None);
    let second = world.auth.refresh(&first).await;
    world.becomes(&first, Some(VerifyError::Revoked)).await;
    assert_eq!(world.refusal(&second).await, None);
    assert_eq!(world.auth.validations(), 1, "the news were enough");
    // One whose news haven't arrived yet.
    let third = Token { epoch: 2, ..second.clone() };
    world.broker.pause();
    let third = world.auth.refresh(&third).await;
    assert_eq!(world.refusal(&third).await, None);
    assert_eq!(world.refusal(&second).await, Some(VerifyError::Revoked));
    assert_eq!(world.auth.validations(), 2);
}

#[tokio::test]
async fn news_that_got_lost_are_asked_for() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.refusal(&token).await, None);
    world.broker.pause();
    world.auth.end_in_silence(&token);
    world.broker.resume();
    world.becomes(&token, Some(VerifyError::Revoked)).await;
}

#[tokio::test(start_paused = true)]
async fn knowledge_holds_while_the_broker_answers() {
    let broker = MemoryBroker::new();
    let sessions = Sessions::new();
    let session = Uuid::from_u128(7);
    let listening = sessions.follow(&broker as &dyn Broker);
    let living = async {
        eventually("it listens", async || sessions.hears()).await;
        let learned = Instant::now();
        sessions.learn(session, Standing::Current(1), learned);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(sessions.judge(session, 1), Verdict::Valid);
        assert_eq!(sessions.judge(session, 2), Verdict::Unknown);
        broker.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let verdict = sessions.judge(session, 1);
        assert!(
            matches!(verdict, Verdict::Aged(age) if age < Duration::from_secs(2)),
            "{verdict:?}"
        );
        broker.resume();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let verdict = sessions.judge(session, 1);
        let age = learned.elapsed();
        assert_eq!(verdict, Verdict::Aged(age), "what came before the gap counts from then");
        sessions.learn(session, Standing::Current(1), Instant::now());
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(sessions.judge(session, 1), Verdict::Valid);
    };
    tokio::select! {
        never = listening => match never {},
        () = living => {}
    }
}

#[test]
fn whatever_comes_last_the_later_state_wins() {
    use Standing::{Current, Ended, Past};
    let cases = [
        (Current(1), Current(2), Current(2)),
        (Current(2), Past(1), Current(2)),
        (Current(2), Past(2), Past(2)),
        (Past(1), Past(3), Past(3)),
        (Current(9), Ended, Ended),
        (Past(9), Ended, Ended),
    ];
    for (one, other, expected) in cases {
        assert_eq!(one.or_later(other), expected, "{one:?} {other:?}");
        assert_eq!(other.or_later(one), expected, "{other:?} {one:?}");
    }
}

#[tokio::test]
async fn an_answer_does_not_undo_news() {
    let world = World::new().await;
    let (token, other) = (world.auth.sign_in(), world.auth.sign_in());
    world.auth.hold();
    let checking = tokio::spawn({
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        async move { verifier.verify(&text).await.map(drop) }
    });
    eventually("it is asked", async || world.auth.validations() > 0).await;
    world.auth.sign_out(&token).await;
    world.auth.sign_out(&other).await;
    let judged = |token: &Token| world.verifier.0.sessions.judge(token.session, token.epoch);
    eventually("the news are heard", async || judged(&other) == Verdict::Revoked).await;
    world.auth.let_go();
    assert_eq!(checking.await.expect("no panic"), Err(VerifyError::Revoked));
    assert_eq!(world.refusal(&token).await, Some(VerifyError::Revoked));
}

#[tokio::test]
async fn auth_is_asked_once_about_a_session() {
    let world = World::new().await;
    let token = world.auth.sign_in_as_admin();
    for _ in 0..100 {
        let principal = world.verifier.verify(&token.text).await.expect("a principal");
        assert_eq!((principal.user_id, principal.session_id), (token.user, token.session));
        assert!(principal.is_admin && principal.login == "ada");
    }
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn many_first_requests_ask_once() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    world.auth.hold();
    let mut checks = JoinSet::new();
    for _ in 0..50 {
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        checks
            .spawn(async move { verifier.verify(&text).await.map(|principal| principal.user_id) });
    }
    eventually("it is asked", async || world.auth.validations() > 0).await;
    world.auth.let_go();
    for checked in checks.join_all().await {
        assert_eq!(checked, Ok(token.user));
    }
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn a_question_is_asked_to_its_end() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    world.auth.hold();
    let impatient = tokio::spawn({
        let (verifier, text) = (world.verifier.clone(), token.text.clone());
        async move { verifier.verify(&text).await.map(drop) }
    });
    eventually("it is asked", async || world.auth.validations() > 0).await;
    impatient.abort();
    world.auth.let_go();
    assert_eq!(world.refusal(&token).await, None);
    assert_eq!(world.auth.validations(), 1);
}
