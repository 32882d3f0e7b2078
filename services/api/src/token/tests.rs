//! Tokens of every kind, in every weather.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, MemoryBroker};
use kit::clock::ManualClock;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::testing::{FakeAuth, Token, auth, eventually};

struct World {
    check: Check,
    auth: FakeAuth,
    broker: Arc<MemoryBroker>,
    clock: Arc<ManualClock>,
    _background: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (clock, broker) = (Arc::new(ManualClock::default()), Arc::new(MemoryBroker::new()));
        let auth = FakeAuth::start(clock.clone(), broker.clone()).await;
        let check = Check::new(auth.url(), clock.clone()).expect("a client");
        let mut background = JoinSet::new();
        background.spawn({
            let (check, broker) = (check.clone(), broker.clone());
            async move { match check.run(broker.as_ref()).await {} }
        });
        let world = Self { check, auth, broker, clock, _background: background };
        eventually("keys are known", async || world.check.0.keys.are_known()).await;
        eventually("news are heard", async || world.check.0.sessions.hears()).await;
        world
    }

    async fn refusal(&self, token: &Token) -> Option<Refusal> {
        self.check.check(&token.text).await.err()
    }

    async fn becomes(&self, token: &Token, refusal: Option<Refusal>) {
        eventually(&format!("{refusal:?}"), async || self.refusal(token).await == refusal).await;
    }
}

#[tokio::test]
async fn auth_is_asked_once_about_a_session() {
    let world = World::new().await;
    let token = world.auth.sign_in_as_admin();
    for _ in 0..100 {
        let caller = world.check.check(&token.text).await.expect("a caller");
        assert_eq!((caller.user_id, caller.session_id), (token.user, token.session));
        assert!(caller.is_admin && caller.login == "ada");
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
        let (check, text) = (world.check.clone(), token.text.clone());
        checks.spawn(async move { check.check(&text).await.map(|caller| caller.user_id) });
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
        let (check, text) = (world.check.clone(), token.text.clone());
        async move { check.check(&text).await.map(drop) }
    });
    eventually("it is asked", async || world.auth.validations() > 0).await;
    impatient.abort();
    world.auth.let_go();
    assert_eq!(world.refusal(&token).await, None);
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = World::new().await;
    let good = world.auth.sign_in();
    let claims = auth::claims(&good.text);
    let header = auth::header(1);
    let with = |value: &Value, name: &str, other: Value| {
        let mut value = value.clone();
        value[name] = other;
        value
    };
    let without = |value: &Value, name: &str| {
        let mut value = value.clone();
        value.as_object_mut().expect("an object").remove(name);
        value
    };
    let (signed, signature) = good.text.rsplit_once('.').expect("a signature");
    let (head, body) = signed.split_once('.').expect("a body");
    let other = auth::signed(&header, &with(&claims, "roles", json!(["admin"])), 1);
    let other_body = other.split('.').nth(1).expect("a body");
    let mut forged = vec![
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        "\u{1F980}.\u{1F980}.\u{1F980}".into(),
        "x".repeat(10_000),
        format!("{good}.x", good = good.text),
        format!("{good}=", good = good.text),
        format!("{signed}."),
        format!("{signed}.{}", signature.to_lowercase()),
        format!("{head}.{other_body}.{signature}"),
        format!("{body}.{body}.{signature}"),
        // Signed by someone else in the name of a known key.
        auth::signed(&header, &claims, 9),
    ];
    for header in [
        with(&header, "alg", json!("none")),
        with(&header, "alg", json!("HS256")),
        with(&header, "alg", json!("Ed25519")),
        with(&header, "typ", json!("JWT")),
        with(&header, "kid", json!("key-9")),
        with(&header, "crit", json!(["b64"])),
        without(&header, "kid"),
        without(&header, "typ"),
        json!([]),
    ] {
        forged.push(auth::signed(&header, &claims, 1));
    }
    for claims in [
        with(&claims, "iss", json!("someone")),
        with(&claims, "sub", json!("ada")),
        with(&claims, "epoch", json!(-1)),
        with(&claims, "exp", json!("tomorrow")),
        without(&claims, "sid"),
        without(&claims, "exp"),
        json!("text"),
    ] {
        forged.push(auth::signed(&header, &claims, 1));
    }
    for text in forged {
        let token = Token { text, ..good.clone() };
        assert_eq!(world.refusal(&token).await, Some(Refusal::Invalid), "{:.200}", token.text);
    }
    assert_eq!(world.auth.validations(), 0, "nothing forged reaches auth");
    let newer = auth::signed(&header, &with(&claims, "more", json!(1)), 1);
    assert_eq!(world.refusal(&Token { text: newer, ..good }).await, None);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let world = World::new().await;
    let (seen, unseen) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.refusal(&seen).await, None);
    world.clock.advance(Duration::from_secs(auth::TTL.unsigned_abs() - 1));
    assert_eq!(world.refusal(&seen).await, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.refusal(&seen).await, Some(Refusal::Expired));
    assert_eq!(world.refusal(&unseen).await, Some(Refusal::Expired));
}

#[tokio::test]
async fn a_token_ends_with_its_session() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.refusal(&token).await, None);
    world.auth.sign_out(&token).await;
    world.becomes(&token, Some(Refusal::Revoked)).await;
    assert_eq!(world.auth.validations(), 1, "the news were enough");
}

#[tokio::test]
async fn a_new_token_replaces_the_one_before() {
    let world = World::new().await;
    let first = world.auth.sign_in();
    assert_eq!(world.refusal(&first).await, None);
    let second = world.auth.refresh(&first).await;
    world.becomes(&first, Some(Refusal::Revoked)).await;
    assert_eq!(world.refusal(&second).await, None);
    assert_eq!(world.auth.validations(), 1, "the news were enough");
    // One whose news haven't arrived yet.
    let third = Token { epoch: 2, ..second.clone() };
    world.broker.pause();
    let third = world.auth.refresh(&third).await;
    assert_eq!(world.refusal(&third).await, None);
    assert_eq!(world.refusal(&second).await, Some(Refusal::Revoked));
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
    world.becomes(&token, Some(Refusal::Revoked)).await;
}

#[tokio::test]
async fn without_the_broker_auth_is_asked() {
    let world = World::new().await;
    let token = world.auth.sign_in();
    assert_eq!(world.refusal(&token).await, None);
    world.broker.pause();
    world.auth.end_in_silence(&token);
    let began = Instant::now();
    world.becomes(&token, Some(Refusal::Revoked)).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_does_not_undo_news() {
    let world = World::new().await;
    let (token, other) = (world.auth.sign_in(), world.auth.sign_in());
    world.auth.hold();
    let checking = tokio::spawn({
        let (check, text) = (world.check.clone(), token.text.clone());
        async move { check.check(&text).await.map(drop) }
    });
    eventually("it is asked", async || world.auth.validations() > 0).await;
    world.auth.sign_out(&token).await;
    world.auth.sign_out(&other).await;
    let judged = |token: &Token| world.check.0.sessions.judge(token.session, token.epoch);
    eventually("the news are heard", async || judged(&other) == Verdict::Revoked).await;
    world.auth.let_go();
    assert_eq!(checking.await.expect("no panic"), Err(Refusal::Revoked));
    assert_eq!(world.refusal(&token).await, Some(Refusal::Revoked));
}

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_them() {
    let world = World::new().await;
    let old = world.auth.sign_in();
    assert_eq!(world.refusal(&old).await, None);
    world.auth.rotate(2, true);
    let new = world.auth.sign_in();
    world.becomes(&new, None).await;
    assert_eq!(world.refusal(&old).await, None);
    world.auth.rotate(3, false);
    let newest = world.auth.sign_in();
    world.becomes(&newest, None).await;
    for retired in [old, new] {
        world.becomes(&retired, Some(Refusal::Invalid)).await;
    }
}

#[tokio::test]
async fn made_up_keys_do_not_trouble_auth() {
    let world = World::new().await;
    let good = world.auth.sign_in();
    let (before, began) = (world.auth.fetches(), Instant::now());
    for number in 0..200 {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("x{number}")});
        let text = auth::signed(&header, &auth::claims(&good.text), 9);
        let token = Token { text, ..good.clone() };
        assert_eq!(world.refusal(&token).await, Some(Refusal::Invalid));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a few");
    assert!(world.auth.fetches() - before <= seconds + 1);
    assert_eq!(world.refusal(&good).await, None);
}

#[tokio::test]
async fn while_auth_is_away_only_the_known_come_in() {
    let world = World::new().await;
    let (known, unknown) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.refusal(&known).await, None);
    world.auth.go_down();
    assert_eq!(world.refusal(&unknown).await, Some(Refusal::Unavailable));
    assert_eq!(world.refusal(&known).await, None);
    world.broker.pause();
    let aged =
        |token: &Token| matches!(world.check.0.sessions.judge(token.session, 1), Verdict::Aged(_));
    eventually("knowledge has aged", async || aged(&known)).await;
    assert_eq!(world.refusal(&known).await, None);
    world.auth.rotate(2, true);
    let of_unknown_key = world.auth.sign_in();
    world.becomes(&of_unknown_key, Some(Refusal::Unavailable)).await;
    world.auth.come_back();
    world.becomes(&unknown, None).await;
    world.becomes(&of_unknown_key, None).await;
    world.auth.end_in_silence(&known);
    world.becomes(&known, Some(Refusal::Revoked)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_known_for_ever() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(ManualClock::default());
    // Nobody listens there.
    let check = Check::new("http://127.0.0.1:9", clock.clone()).expect("a client");
    let sessions = &check.0.sessions;
    let session = Uuid::from_u128(7);
    let expires_at = clock.now().as_second() + 900;
    let caller = Arc::new(Caller::of_test(session, 1, expires_at));
    sessions.learn(session, Standing::Current(1), Instant::now());
    assert_eq!(check.recheck(&caller).await, Ok(()));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(check.recheck(&caller).await, Ok(()), "waits for auth, in vain");
    assert!(check.0.auth.is_failing());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(check.recheck(&caller).now_or_never(), Some(Ok(())), "waits no more");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(check.recheck(&caller).await, Err(Refusal::Unavailable));
    sessions.learn(session, Standing::Ended, Instant::now());
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(check.recheck(&caller).await, Err(Refusal::Revoked), "that much is known");
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
